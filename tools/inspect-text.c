/* What `ferry inspect` found, for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/format.h"
#include "tools/inspect.h"

/* "2765 normal, 7637 zero"; "no pages". */
static char *pages(const FerryInspectPages *p)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (unsigned i = 0; i < FERRY_INSPECT_N_KINDS; i++) {
        if (p->of[i]) {
            g_string_append_printf(s, "%s%" PRIu64 " %s", s->len ? ", " : "", p->of[i],
                                   ferry_inspect_kind_name((FerryInspectKind)i));
        }
    }
    return g_strdup(s->len ? s->str : "no pages");
}

static void configuration(const FerryInspect *in)
{
    const FerryConfiguration *c = &in->configuration;

    printf("machine        %s\n", c->machine);
    printf("page size      %" PRIu64 "%s\n", (uint64_t)1 << in->page_bits,
           c->page_bits ? ", as the stream says" : "");
    for (unsigned i = 0; i < c->n_capabilities; i++) {
        printf("capability     %s\n", c->capabilities[i]);
    }
    if (c->has_uuid) {
        printf("uuid           ");
        for (unsigned i = 0; i < sizeof c->uuid; i++) {
            printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", c->uuid[i]);
        }
        putchar('\n');
    }
}

#define COMMANDS_SHOWN 20 /* a Ferry sends one or more in each round */

static void commands(const FerryInspect *in)
{
    uint64_t all = in->commands->len + in->commands_left_out;

    for (unsigned i = 0; i < MIN(in->commands->len, COMMANDS_SHOWN); i++) {
        const FerryInspectCommand *c = &g_array_index(in->commands, FerryInspectCommand, i);

        printf("command        %s", ferry_command_name(c->id));
        if (c->id == FERRY_COMMAND_PING) {
            printf(" 0x%" PRIx32, c->value);
        }
        printf(" at %" PRIu64 "\n", c->offset);
    }
    if (all > COMMANDS_SHOWN) {
        printf("               and %" PRIu64 " more commands\n", all - COMMANDS_SHOWN);
    }
}

static void blocks(const FerryInspect *in)
{
    int width = 0;

    for (unsigned i = 0; i < in->blocks->len; i++) {
        const FerryInspectBlock *b = &g_array_index(in->blocks, FerryInspectBlock, i);

        width = MAX(width, MIN((int)strlen(b->idstr), 40));
    }
    if (in->blocks->len) {
        puts("\nRAM blocks");
    }
    for (unsigned i = 0; i < in->blocks->len; i++) {
        const FerryInspectBlock *b = &g_array_index(in->blocks, FerryInspectBlock, i);
        g_autofree char *what = pages(&b->pages);
        g_autofree char *size = b->length ? ferry_format_bytes(b->length) : g_strdup("");

        printf("  %-*s %12s  %s\n", width, b->idstr, size, what);
        if (b->is_mapped) {
            printf("  %-*s bitmap at %" PRIu64 ", pages at %" PRIu64 "\n", width, "",
                   b->mapped.bitmap_offset, b->mapped.pages_offset);
        }
        if (b->sha256) {
            printf("  %-*s sha256 %s\n", width, "", b->sha256);
        }
    }
}

static void records(const FerryInspect *in)
{
    printf("\nRecords\n  PAGE %" PRIu64 ", ZERO %" PRIu64 " (%" PRIu64 " name their block, %" PRIu64
           " continue it), MEM_SIZE %" PRIu64 ", EOS %" PRIu64 "\n",
           in->pages.of[FERRY_INSPECT_NORMAL], in->pages.of[FERRY_INSPECT_ZERO], in->named,
           in->continued, in->lists, in->ends);
    if (in->pages.of[FERRY_INSPECT_XBZRLE]) {
        printf("  XBZRLE %" PRIu64 ", %" PRIu64 " bytes\n", in->pages.of[FERRY_INSPECT_XBZRLE],
               in->xbzrle_bytes);
    }
    if (in->pages.of[FERRY_INSPECT_COMPRESSED]) {
        printf("  COMPRESS_PAGE %" PRIu64 ", %" PRIu64 " bytes\n",
               in->pages.of[FERRY_INSPECT_COMPRESSED], in->compressed_bytes);
    }
    if (in->flushes) {
        printf("  MULTIFD_FLUSH %" PRIu64 "\n", in->flushes);
    }
}

static void sections(const FerryInspect *in)
{
    if (in->sections->len) {
        puts("\nSections\n        offset  type   id  instance  version       bytes  name");
    }
    for (unsigned i = 0; i < in->sections->len; i++) {
        const FerryInspectSection *s = &g_array_index(in->sections, FerryInspectSection, i);
        g_autofree char *what = s->type == FERRY_SECTION_FULL ? NULL : pages(&s->pages);

        printf("  %12" PRIu64 "  %-5s %3" PRIu32 "  %8" PRIu32 "  %7" PRIu32 "  %10" PRIu64 "  %s",
               s->offset, ferry_inspect_section_name(s->type), s->section_id, s->instance_id,
               s->version_id, s->bytes, s->idstr);
        if (what) {
            printf(": %s", what);
        }
        if (s->barriers) {
            printf(", %u barrier%s", s->barriers, s->barriers == 1 ? "" : "s");
        }
        puts(s->early ? " (early)" : "");
        if (s->sha256) {
            printf("  %12s  sha256 %s\n", "", s->sha256);
        }
    }
    if (in->sections_left_out) {
        printf("  and %" PRIu64 " more\n", in->sections_left_out);
    }
}

static void multifd(const FerryInspect *in)
{
    printf("\nMultifd: %u channel%s, method %s", in->channels->len,
           in->channels->len == 1 ? "" : "s",
           in->has_method ? ferry_multifd_method_name(in->method) : "not known");
    if (in->main) {
        printf(", %" PRIu64 " barriers, %s", in->barriers,
               in->per_round ? "one per round" : "one per section");
    }
    putchar('\n');
    for (unsigned i = 0; i < in->channels->len; i++) {
        const FerryInspectChannel *c = in->channels->pdata[i];

        printf("  %3u  %" PRIu64 " bytes, %" PRIu64 " packets: %" PRIu64 " with pages, %" PRIu64
               " SYNC (%" PRIu64 " on pages), %" PRIu64 " empty; %" PRIu64
               " normal pages in %" PRIu64 " bytes, %" PRIu64 " zero  %s\n",
               c->hello.id, ferry_inspect_input_place(c->input), c->packets, c->data_packets,
               c->sync_packets, c->sync_on_data, c->empty_packets, c->normal_pages,
               c->payload_bytes, c->zero_pages, ferry_inspect_input_name(c->input));
    }
}

static void stream(const FerryInspect *in)
{
    printf("%s: %s, %" PRIu64 " bytes, %s\n", ferry_inspect_input_name(in->main),
           in->is_mapped ? "mapped-ram snapshot" : "migration stream", in->stream_bytes,
           in->error ? ferry_inspect_status(in) : "whole");
    if (in->has_configuration) {
        configuration(in);
    }
    if (in->run_state) {
        printf("guest          %s\n", in->run_state);
    }
    printf("rounds         %" PRIu64 "\n", in->parts);
    if (in->described) {
        printf("description    %" PRIu64 " bytes\n", in->description_bytes);
    }
    commands(in);
    blocks(in);
    records(in);
}

void ferry_inspect_print_text(const FerryInspect *in)
{
    if (in->main) {
        stream(in);
    } else {
        printf("multifd channels without their main stream, %s\n",
               in->error ? ferry_inspect_status(in) : "whole");
        blocks(in);
    }
    if (in->channels->len) {
        multifd(in);
    }
    if (in->main) {
        sections(in);
    }
    for (unsigned i = 0; i < in->notes->len; i++) {
        printf("\nNote: %s.\n", (const char *)in->notes->pdata[i]);
    }
}

/* Pages for `ferry inspect`: counted, listed, and put where they belong when RAM is rebuilt. */
#include "tools/inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "protocol/ram.h"

static const char *const kind_names[FERRY_INSPECT_N_KINDS] = {
    "normal", "zero", "xbzrle", "compressed", "multifd-normal", "multifd-zero", "mapped",
};

const char *ferry_inspect_kind_name(FerryInspectKind kind) { return kind_names[kind]; }

FerryInspectBlock *ferry_inspect_block(FerryInspect *in, unsigned index)
{
    return &g_array_index(in->blocks, FerryInspectBlock, index);
}

static gboolean map(FerryInspect *in, FerryInspectBlock *b, GError **error)
{
    void *bytes = mmap(NULL, (size_t)b->length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (bytes == MAP_FAILED) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT,
                    "block '%s': no memory for its %" PRIu64 " bytes: %s", b->idstr, b->length,
                    g_strerror(errno));
        return FALSE;
    }
    b->bytes = bytes;
    b->received = g_malloc0((size_t)((b->length >> in->page_bits) + 7) / 8);
    return TRUE;
}

gboolean ferry_inspect_add_block(FerryInspect *in, const char *idstr, uint64_t length,
                                 GError **error)
{
    FerryInspectBlock block = {.length = length};

    if (__builtin_add_overflow(in->ram_bytes, length, &in->ram_bytes) ||
        (in->options.max_ram && in->ram_bytes > in->options.max_ram)) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT,
                    "block '%s': with its %" PRIu64 " bytes RAM is larger than --max-ram %" PRIu64,
                    idstr, length, in->options.max_ram);
        return FALSE;
    }
    block.idstr = g_strdup(idstr);
    g_array_append_val(in->blocks, block);
    if (!in->options.hash || length == 0) {
        return TRUE;
    }
    return map(in, ferry_inspect_block(in, in->blocks->len - 1), error);
}

static void print_page(const FerryInspect *in, const FerryInspectPage *page, const char *idstr)
{
    char channel[16] = "main";

    if (page->channel >= 0) {
        g_snprintf(channel, sizeof channel, "%d", page->channel);
    }
    if (in->options.json) {
        g_autoptr(JsonNode) name = json_node_init_string(json_node_alloc(), idstr);
        g_autofree char *quoted = json_to_string(name, FALSE);
        printf("{\"channel\":%s%s%s,\"offset\":%" PRIu64 ",\"block\":%s,\"page_offset\":%" PRIu64
               ",\"kind\":\"%s\",\"bytes\":",
               page->channel < 0 ? "\"" : "", channel, page->channel < 0 ? "\"" : "", page->place,
               quoted, page->offset, kind_names[page->kind]);
        if (page->bytes < 0) {
            puts("null}");
        } else {
            printf("%" PRId64 "}\n", page->bytes);
        }
        return;
    }
    printf("%-5s %12" PRIu64 "  %s 0x%" PRIx64 " %s ", channel, page->place, idstr, page->offset,
           kind_names[page->kind]);
    if (page->bytes < 0) {
        puts("-");
    } else {
        printf("%" PRId64 "\n", page->bytes);
    }
}

void ferry_inspect_page(FerryInspect *in, const FerryInspectPage *page)
{
    FerryInspectBlock *b = ferry_inspect_block(in, page->block);

    in->pages.of[page->kind]++;
    in->now.of[page->kind]++;
    b->pages.of[page->kind]++;
    if (in->options.pages) {
        print_page(in, page, b->idstr);
    }
}

uint8_t *ferry_inspect_ram(FerryInspect *in, unsigned block, uint64_t offset)
{
    const FerryInspectBlock *b = ferry_inspect_block(in, block);

    return b->bytes ? b->bytes + offset : in->scratch;
}

gboolean ferry_inspect_has_received(const FerryInspect *in, unsigned block, uint64_t offset)
{
    const FerryInspectBlock *b = &g_array_index(in->blocks, FerryInspectBlock, block);
    uint64_t page = offset >> in->page_bits;

    return !b->received || (b->received[page / 8] >> page % 8 & 1);
}

void ferry_inspect_set_received(FerryInspect *in, unsigned block, uint64_t offset)
{
    FerryInspectBlock *b = ferry_inspect_block(in, block);
    uint64_t page = offset >> in->page_bits;

    if (b->received) {
        b->received[page / 8] |= (uint8_t)(1u << page % 8);
    }
}

/* What was never received is zero as it is, and stays without memory. */
void ferry_inspect_zero(FerryInspect *in, unsigned block, uint64_t offset)
{
    FerryInspectBlock *b = ferry_inspect_block(in, block);

    if (b->bytes && ferry_inspect_has_received(in, block, offset)) {
        memset(b->bytes + offset, 0, (size_t)1 << in->page_bits);
    }
    ferry_inspect_set_received(in, block, offset);
}

void ferry_inspect_hash(FerryInspect *in)
{
    for (unsigned i = 0; i < in->blocks->len; i++) {
        FerryInspectBlock *b = ferry_inspect_block(in, i);
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

        for (uint64_t at = 0; at < b->length;) {
            uint64_t n = MIN(b->length - at, (uint64_t)1 << 30); /* its length is a gssize */
            g_checksum_update(sum, b->bytes + at, (gssize)n);
            at += n;
        }
        b->sha256 = g_strdup(g_checksum_get_string(sum));
    }
}

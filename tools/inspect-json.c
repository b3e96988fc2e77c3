/* What `ferry inspect` found, as one JSON object. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/inspect.h"

static void text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void number(JsonBuilder *b, const char *name, uint64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

static void flag(JsonBuilder *b, const char *name, gboolean value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

static void begin(JsonBuilder *b, const char *name)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
}

static void begin_list(JsonBuilder *b, const char *name)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
}

static void uuid(JsonBuilder *b, const uint8_t *bytes)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (unsigned i = 0; i < 16; i++) {
        g_string_append_printf(s, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                               bytes[i]);
    }
    text(b, "uuid", s->str);
}

/* Kinds that did not come are left out. */
static void pages(JsonBuilder *b, const FerryInspectPages *p)
{
    begin(b, "pages");
    for (unsigned i = 0; i < FERRY_INSPECT_N_KINDS; i++) {
        if (p->of[i]) {
            number(b, ferry_inspect_kind_name((FerryInspectKind)i), p->of[i]);
        }
    }
    json_builder_end_object(b);
}

static void configuration(JsonBuilder *b, const FerryConfiguration *c)
{
    begin(b, "configuration");
    text(b, "machine", c->machine);
    if (c->page_bits) {
        number(b, "page_bits", c->page_bits);
    }
    if (c->n_capabilities) {
        begin_list(b, "capabilities");
        for (unsigned i = 0; i < c->n_capabilities; i++) {
            json_builder_add_string_value(b, c->capabilities[i]);
        }
        json_builder_end_array(b);
    }
    if (c->has_uuid) {
        uuid(b, c->uuid);
    }
    json_builder_end_object(b);
}

static void commands(JsonBuilder *b, const FerryInspect *in)
{
    begin_list(b, "commands");
    for (unsigned i = 0; i < in->commands->len; i++) {
        const FerryInspectCommand *c = &g_array_index(in->commands, FerryInspectCommand, i);

        json_builder_begin_object(b);
        text(b, "name", ferry_command_name(c->id));
        number(b, "offset", c->offset);
        if (c->id == FERRY_COMMAND_PING) {
            number(b, "value", c->value);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    if (in->commands_left_out) {
        number(b, "commands_left_out", in->commands_left_out);
    }
}

static void blocks(JsonBuilder *b, const FerryInspect *in)
{
    begin_list(b, "blocks");
    for (unsigned i = 0; i < in->blocks->len; i++) {
        const FerryInspectBlock *block = &g_array_index(in->blocks, FerryInspectBlock, i);

        json_builder_begin_object(b);
        text(b, "name", block->idstr);
        if (in->main) {
            number(b, "length_bytes", block->length);
        }
        if (block->is_mapped) {
            number(b, "bitmap_offset", block->mapped.bitmap_offset);
            number(b, "pages_offset", block->mapped.pages_offset);
        }
        pages(b, &block->pages);
        if (block->sha256) {
            text(b, "sha256", block->sha256);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void records(JsonBuilder *b, const FerryInspect *in)
{
    begin(b, "records");
    number(b, "MEM_SIZE", in->lists);
    number(b, "ZERO", in->pages.of[FERRY_INSPECT_ZERO]);
    number(b, "PAGE", in->pages.of[FERRY_INSPECT_NORMAL]);
    number(b, "XBZRLE", in->pages.of[FERRY_INSPECT_XBZRLE]);
    number(b, "COMPRESS_PAGE", in->pages.of[FERRY_INSPECT_COMPRESSED]);
    number(b, "MULTIFD_FLUSH", in->flushes);
    number(b, "EOS", in->ends);
    number(b, "named", in->named);
    number(b, "continued", in->continued);
    number(b, "xbzrle_bytes", in->xbzrle_bytes);
    number(b, "compressed_bytes", in->compressed_bytes);
    json_builder_end_object(b);
}

static void sections(JsonBuilder *b, const FerryInspect *in)
{
    begin_list(b, "sections");
    for (unsigned i = 0; i < in->sections->len; i++) {
        const FerryInspectSection *s = &g_array_index(in->sections, FerryInspectSection, i);

        json_builder_begin_object(b);
        text(b, "type", ferry_inspect_section_name(s->type));
        number(b, "offset", s->offset);
        number(b, "section_id", s->section_id);
        text(b, "idstr", s->idstr);
        number(b, "instance_id", s->instance_id);
        number(b, "version_id", s->version_id);
        number(b, "body_bytes", s->bytes);
        if (s->type == FERRY_SECTION_FULL) {
            flag(b, "early", s->early);
        } else {
            number(b, "flushes", s->flushes);
            number(b, "barriers", s->barriers);
            pages(b, &s->pages);
        }
        if (s->sha256) {
            text(b, "sha256", s->sha256);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    if (in->sections_left_out) {
        number(b, "sections_left_out", in->sections_left_out);
    }
}

static void channel(JsonBuilder *b, const FerryInspectChannel *c)
{
    json_builder_begin_object(b);
    text(b, "file", ferry_inspect_input_name(c->input));
    number(b, "id", c->hello.id);
    uuid(b, c->hello.uuid);
    number(b, "bytes", ferry_inspect_input_place(c->input));
    number(b, "packets", c->packets);
    number(b, "data_packets", c->data_packets);
    number(b, "sync_packets", c->sync_packets);
    number(b, "sync_on_data", c->sync_on_data);
    number(b, "empty_packets", c->empty_packets);
    number(b, "normal_pages", c->normal_pages);
    number(b, "zero_pages", c->zero_pages);
    number(b, "payload_bytes", c->payload_bytes);
    begin(b, "flags");
    for (unsigned i = 0; i < FERRY_INSPECT_FLAGS; i++) {
        char name[8];

        if (c->flags[i]) {
            g_snprintf(name, sizeof name, "%u", i);
            number(b, name, c->flags[i]);
        }
    }
    json_builder_end_object(b);
    json_builder_end_object(b);
}

static void multifd(JsonBuilder *b, const FerryInspect *in)
{
    begin(b, "multifd");
    if (in->main) {
        text(b, "sync_mode", in->per_round ? "per-round" : "per-section");
        number(b, "barriers", in->barriers);
    }
    if (in->has_method) {
        text(b, "method", ferry_multifd_method_name(in->method));
    }
    begin_list(b, "channels");
    for (unsigned i = 0; i < in->channels->len; i++) {
        channel(b, in->channels->pdata[i]);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void stream(JsonBuilder *b, const FerryInspect *in)
{
    text(b, "file", ferry_inspect_input_name(in->main));
    number(b, "bytes", in->stream_bytes);
    if (in->has_configuration) {
        configuration(b, &in->configuration);
        number(b, "page_size", (uint64_t)1 << in->page_bits);
    }
    commands(b, in);
    number(b, "ram_bytes", in->total_bytes);
    blocks(b, in);
    records(b, in);
    number(b, "rounds", in->parts);
    sections(b, in);
    if (in->run_state) {
        text(b, "run_state", in->run_state);
    }
    if (in->described) {
        begin(b, "description");
        number(b, "bytes", in->description_bytes);
        if (in->described_page_size) {
            number(b, "page_size", in->described_page_size);
        }
        json_builder_end_object(b);
    }
}

JsonNode *ferry_inspect_as_json(const FerryInspect *in)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    text(b, "status", ferry_inspect_status(in));
    if (in->error) {
        text(b, "error", in->error->message);
        text(b, "error_channel", in->error_channel);
    }
    text(b, "kind", !in->main ? "channels" : in->is_mapped ? "mapped-ram" : "stream");
    if (in->main) {
        stream(b, in);
    } else {
        blocks(b, in);
    }
    if (in->channels->len) {
        multifd(b, in);
    }
    begin_list(b, "notes");
    for (unsigned i = 0; i < in->notes->len; i++) {
        json_builder_add_string_value(b, in->notes->pdata[i]);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

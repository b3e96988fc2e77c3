#include <stdio.h>

#include "tools/format.h"
#include "tools/receive.h"

static uint64_t rate_of(const FerryProgress *p)
{
    return p->total_ns ? (uint64_t)((double)p->sent_bytes * 1e9 / (double)p->total_ns) : 0;
}

static void add_blocks(JsonBuilder *b, const FerryReceiveOptions *o, FerryCapture *c)
{
    const FerryMemory *memory = ferry_guest_memory(ferry_capture_guest(c));

    json_builder_set_member_name(b, "blocks");
    json_builder_begin_array(b);
    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        json_builder_begin_object(b);
        ferry_json_add_string(b, "name", block->idstr);
        ferry_json_add_int(b, "length_bytes", block->length);
        if (o->hash) {
            g_autofree char *sum = ferry_capture_sha256(c, i);
            ferry_json_add_string(b, "sha256", sum);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_sections(JsonBuilder *b, const FerryCapture *c)
{
    json_builder_set_member_name(b, "sections");
    json_builder_begin_array(b);
    for (unsigned i = 0; i < ferry_capture_n_sections(c); i++) {
        FerryCapturedSection s = ferry_capture_section(c, i);
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, s.body, s.length);
        json_builder_begin_object(b);
        ferry_json_add_string(b, "name", s.idstr);
        ferry_json_add_int(b, "instance", s.instance);
        ferry_json_add_int(b, "version", s.version);
        ferry_json_add_int(b, "bytes", s.length);
        json_builder_set_member_name(b, "early");
        json_builder_add_boolean_value(b, s.early);
        ferry_json_add_string(b, "sha256", sum);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void print_json(const FerryReceiveOptions *o, FerryCapture *c, const FerryProgress *p,
                       uint64_t cpu_ns)
{
    const FerryConfiguration *configuration = ferry_capture_configuration(c);
    g_autofree char *uuid = configuration->has_uuid ? ferry_format_uuid(configuration->uuid) : NULL;
    g_autoptr(JsonBuilder) b = json_builder_new();
    size_t description;

    (void)ferry_capture_description(c, &description);
    json_builder_begin_object(b);
    ferry_json_add_string(b, "status", "completed");
    ferry_json_add_string(b, "machine", configuration->machine);
    ferry_json_add_int(b, "page_size", 1u << ferry_capture_page_bits(c));
    ferry_json_add_string(b, "uuid", uuid);
    ferry_json_add_string(b, "run_state", ferry_capture_run_state(c));
    add_blocks(b, o, c);
    add_sections(b, c);
    ferry_json_add_int(b, "description_bytes", description);
    ferry_json_add_int(b, "ram_bytes", p->ram_total_bytes);
    ferry_json_add_int(b, "normal_pages", p->normal_pages);
    ferry_json_add_int(b, "zero_pages", p->zero_pages);
    ferry_json_add_int(b, "received_bytes", p->sent_bytes);
    ferry_json_add_ms(b, "total_ms", p->total_ns);
    ferry_json_add_ms(b, "cpu_ms", cpu_ns);
    ferry_json_add_int(b, "bytes_per_second", rate_of(p));
    json_builder_set_member_name(b, "from_ferry");
    json_builder_add_boolean_value(b, p->peer_is_ferry);
    ferry_json_add_string(b, "output", o->output);
    ferry_json_add_string(b, "ram_dir", o->ram_dir);
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), TRUE);
}

static void print_text(const FerryReceiveOptions *o, FerryCapture *c, const FerryProgress *p)
{
    const FerryMemory *memory = ferry_guest_memory(ferry_capture_guest(c));
    const char *state = ferry_capture_run_state(c);
    g_autofree char *received = ferry_format_bytes(p->sent_bytes);
    g_autofree char *time = ferry_format_ms((double)p->total_ns / 1e6);
    g_autofree char *rate = ferry_format_rate(rate_of(p));

    printf("machine   %s (%s), pages of %u bytes\n", ferry_capture_configuration(c)->machine,
           state ? state : "no run state", 1u << ferry_capture_page_bits(c));
    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        g_autofree char *length = ferry_format_bytes(block->length);
        g_autofree char *sum = o->hash ? ferry_capture_sha256(c, i) : g_strdup("");
        printf("RAM       %-28s %10s  %s\n", block->idstr, length, sum);
    }
    printf("devices   %u sections\n", ferry_capture_n_sections(c));
    printf("pages     %" G_GUINT64_FORMAT " normal, %" G_GUINT64_FORMAT " zero\n", p->normal_pages,
           p->zero_pages);
    printf("received  %s in %s, %s%s\n", received, time, rate,
           p->peer_is_ferry ? ", from a Ferry" : "");
    if (o->output || o->ram_dir) {
        printf("kept      %s\n", o->output ? o->output : o->ram_dir);
    } else {
        puts("kept      nowhere (neither --output nor --ram-dir was given)");
    }
}

void ferry_receive_report(const FerryReceiveOptions *o, FerryCapture *c, const FerryProgress *p,
                          uint64_t cpu_ns)
{
    if (o->json) {
        print_json(o, c, p, cpu_ns);
    } else {
        print_text(o, c, p);
    }
}

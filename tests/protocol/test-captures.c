/* test-captures DIRECTORY NAME: decodes NAME.mig.zst, which a real QEMU sent, and compares what
 * comes out with NAME.expected.json: RAM by its SHA-256, device sections, records, sections. */
#include <glib.h>
#include <inttypes.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>
#include "protocol/decoder.h"
#include "protocol/description.h"

static unsigned failures;

static void fail(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    failures++;
}

typedef struct {
    char *idstr;
    uint64_t used_length;
    uint8_t *bytes;
} Block;

typedef struct {
    char *idstr;
    uint32_t section_id, instance_id, version_id;
    uint64_t length;
} Device;

typedef struct {
    GArray *blocks, *devices;
    GString *order; /* "START PART ... END", commands by number */
    FerryDescription *description;
    char machine[FERRY_MACHINE_MAX + 1];
    gint64 pages, zeros, rounds, lists, flushes;
} Heard;

static GByteArray *decompress(const char *path, GError **error)
{
    g_autofree char *packed = NULL;
    gsize packed_n;
    GByteArray *out;
    size_t n;

    if (!g_file_get_contents(path, &packed, &packed_n, error)) {
        return NULL;
    }
    out = g_byte_array_new();
    n = (size_t)ZSTD_getFrameContentSize(packed, packed_n);
    g_assert_cmpuint(n, <, (size_t)1 << 30);
    g_byte_array_set_size(out, (guint)n);
    g_assert_cmpuint(ZSTD_decompress(out->data, n, packed, packed_n), ==, n);
    return out;
}

static void hear(Heard *h, const FerryStreamEvent *ev)
{
    static const char *const names[] = {"", "START ", "PART ", "END "};
    Block block = {0};
    Device device;

    switch (ev->type) {
    case FERRY_STREAM_HEADER:
        break;
    case FERRY_STREAM_CONFIGURATION:
        memcpy(h->machine, ev->configuration.machine, sizeof h->machine);
        break;
    case FERRY_STREAM_COMMAND:
        g_string_append_printf(h->order, "CMD%d ", (int)ev->command.id);
        break;
    case FERRY_STREAM_RAM_BLOCK:
        g_assert_cmpuint(ev->block.index, ==, h->blocks->len);
        block.idstr = g_strdup(ev->block.idstr);
        block.used_length = ev->block.used_length;
        block.bytes = g_malloc0(block.used_length);
        g_array_append_val(h->blocks, block);
        break;
    case FERRY_STREAM_RAM_LIST_END:
        h->lists++;
        break;
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
        block = g_array_index(h->blocks, Block, ev->page.block);
        g_assert_cmpuint(ev->page.offset, <=, block.used_length - FERRY_PAGE_SIZE);
        if (ev->page.data) {
            memcpy(block.bytes + ev->page.offset, ev->page.data, FERRY_PAGE_SIZE);
            h->pages++;
        } else {
            memset(block.bytes + ev->page.offset, 0, FERRY_PAGE_SIZE);
            h->zeros++;
        }
        break;
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        fail("a packed page in a plain stream");
        break;
    case FERRY_STREAM_FLUSH:
        h->flushes++;
        break;
    case FERRY_STREAM_ROUND_END:
        h->rounds++;
        g_string_append(h->order, names[ev->section]);
        break;
    case FERRY_STREAM_DEVICE:
        device = (Device){.idstr = g_strdup(ev->device.idstr),
                          .section_id = ev->device.section_id,
                          .instance_id = ev->device.instance_id,
                          .version_id = ev->device.version_id,
                          .length = ev->device.length};
        g_array_append_val(h->devices, device);
        break;
    case FERRY_STREAM_DESCRIPTION:
        h->description =
            ferry_description_parse(ev->description.text, ev->description.length, NULL);
        break;
    }
}

static gboolean decode(const GByteArray *wire, Heard *h, GError **error)
{
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(NULL);
    FerryDecode answer;
    FerryStreamEvent ev;

    for (guint at = 0; at < wire->len;) {
        guint n = MIN(wire->len - at, 4096 + at % 65537);

        ferry_decoder_push(decoder, wire->data + at, n);
        while ((answer = ferry_decoder_step(decoder, &ev, error)) == FERRY_DECODE_EVENT) {
            hear(h, &ev);
        }
        if (answer == FERRY_DECODE_BAD) {
            return FALSE;
        }
        at += n;
    }
    return ferry_decoder_finish(decoder, error);
}

static void check_blocks(const Heard *h, JsonArray *expected)
{
    if (json_array_get_length(expected) != h->blocks->len) {
        fail("%u blocks, expected %u", h->blocks->len, json_array_get_length(expected));
        return;
    }
    for (guint i = 0; i < h->blocks->len; i++) {
        const Block *b = &g_array_index(h->blocks, Block, i);
        JsonObject *o = json_array_get_object_element(expected, i);
        g_autofree char *sum =
            g_compute_checksum_for_data(G_CHECKSUM_SHA256, b->bytes, b->used_length);

        if (strcmp(json_object_get_string_member(o, "name"), b->idstr) != 0 ||
            (uint64_t)json_object_get_int_member(o, "length") != b->used_length ||
            strcmp(json_object_get_string_member(o, "sha256"), sum) != 0) {
            fail("block %u: %s, %" PRIu64 " bytes, sha256 %s", i, b->idstr, b->used_length, sum);
        }
    }
}

static void check_devices(const Heard *h, JsonArray *expected)
{
    const FerryDescribedDevice *described =
        h->description ? ferry_description_get_devices(h->description) : NULL;

    if (json_array_get_length(expected) != h->devices->len || !described ||
        ferry_description_get_n_devices(h->description) != h->devices->len) {
        fail("%u devices, expected %u", h->devices->len, json_array_get_length(expected));
        return;
    }
    for (guint i = 0; i < h->devices->len; i++) {
        const Device *d = &g_array_index(h->devices, Device, i);
        JsonObject *o = json_array_get_object_element(expected, i);

        if (strcmp(json_object_get_string_member(o, "idstr"), d->idstr) != 0 ||
            json_object_get_int_member(o, "section_id") != d->section_id ||
            json_object_get_int_member(o, "instance_id") != d->instance_id ||
            json_object_get_int_member(o, "version_id") != d->version_id ||
            (uint64_t)json_object_get_int_member(o, "body_bytes") != d->length) {
            fail("device %u: %s, %" PRIu64 " bytes", i, d->idstr, d->length);
        }
        if (strcmp(described[i].idstr, d->idstr) != 0 || described[i].body_bytes != d->length) {
            fail("device %u: described as %s, %" PRIu64 " bytes", i, described[i].idstr,
                 described[i].body_bytes);
        }
    }
}

static void check_count(JsonObject *counts, const char *what, gint64 got)
{
    gint64 expected =
        json_object_has_member(counts, what) ? json_object_get_int_member(counts, what) : 0;

    if (got != expected) {
        fail("%s records: %" PRId64 ", expected %" PRId64, what, got, expected);
    }
}

static void check_order(const Heard *h, JsonArray *expected)
{
    g_autoptr(GString) order = g_string_new(NULL);

    for (guint i = 0; i < json_array_get_length(expected); i++) {
        JsonArray *item = json_array_get_array_element(expected, i);
        const char *name = json_array_get_string_element(item, 0);

        if (strcmp(name, "CMD") == 0) {
            g_string_append_printf(order, "CMD%d ", (int)json_array_get_int_element(item, 1));
        } else {
            g_string_append_printf(order, "%s ", name);
        }
    }
    if (strcmp(order->str, h->order->str) != 0) {
        fail("sections: %s\nexpected: %s", h->order->str, order->str);
    }
}

static void check(const Heard *h, JsonObject *expected)
{
    JsonObject *counts = json_object_get_object_member(expected, "record_counts");

    if (strcmp(json_object_get_string_member(expected, "machine"), h->machine) != 0) {
        fail("machine %s", h->machine);
    }
    check_blocks(h, json_object_get_array_member(expected, "blocks"));
    check_devices(h, json_object_get_array_member(expected, "devices"));
    check_order(h, json_object_get_array_member(expected, "record_order"));
    check_count(counts, "PAGE", h->pages);
    check_count(counts, "ZERO", h->zeros);
    check_count(counts, "EOS", h->rounds);
    check_count(counts, "MEM", h->lists);
    check_count(counts, "FLUSH", h->flushes);
}

static void clear_block(void *p)
{
    g_free(((Block *)p)->idstr);
    g_free(((Block *)p)->bytes);
}

static void clear_device(void *p) { g_free(((Device *)p)->idstr); }

int main(int argc, char **argv)
{
    g_autofree char *stream = NULL, *json = NULL;
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GByteArray) wire = NULL;
    g_autoptr(GError) error = NULL;
    Heard heard = {.blocks = g_array_new(FALSE, FALSE, sizeof(Block)),
                   .devices = g_array_new(FALSE, FALSE, sizeof(Device)),
                   .order = g_string_new(NULL)};

    if (argc != 3) {
        fprintf(stderr, "usage: %s DIRECTORY NAME\n", argv[0]);
        return 2;
    }
    g_array_set_clear_func(heard.blocks, clear_block);
    g_array_set_clear_func(heard.devices, clear_device);
    stream = g_strdup_printf("%s/%s.mig.zst", argv[1], argv[2]);
    json = g_strdup_printf("%s/%s.expected.json", argv[1], argv[2]);
    if (!json_parser_load_from_file(parser, json, &error) || !(wire = decompress(stream, &error)) ||
        !decode(wire, &heard, &error)) {
        fail("%s: %s", argv[2], error->message);
    } else {
        check(&heard, json_node_get_object(json_parser_get_root(parser)));
    }
    printf("%s: %" PRId64 " pages, %" PRId64 " zero pages, %u devices\n", argv[2], heard.pages,
           heard.zeros, heard.devices->len);
    g_array_unref(heard.blocks);
    g_array_unref(heard.devices);
    g_string_free(heard.order, TRUE);
    ferry_description_free(heard.description);
    return failures ? 1 : 0;
}

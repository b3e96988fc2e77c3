/* test-captures DIRECTORY NAME: decodes what a real QEMU sent (NAME.mig, or NAME.main with the
 * channels NAME.ch0 and so on, or NAME.file, all .zst) and compares what comes out with
 * NAME.expected.json: RAM by its SHA-256, device sections, records, sections. What a compression
 * library packed is only counted here. */
#include <glib.h>
#include <inttypes.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>
#include "tests/protocol/capture.h"

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

static void check_blocks(const Capture *c, JsonArray *expected)
{
    if (json_array_get_length(expected) != c->blocks->len) {
        fail("%u blocks, expected %u", c->blocks->len, json_array_get_length(expected));
        return;
    }
    for (guint i = 0; i < c->blocks->len; i++) {
        const CaptureBlock *b = &g_array_index(c->blocks, CaptureBlock, i);
        JsonObject *o = json_array_get_object_element(expected, i);
        g_autofree char *sum =
            g_compute_checksum_for_data(G_CHECKSUM_SHA256, b->bytes, b->used_length);

        if (strcmp(json_object_get_string_member(o, "name"), b->idstr) != 0 ||
            (uint64_t)json_object_get_int_member(o, "length") != b->used_length ||
            (c->unpacked && strcmp(json_object_get_string_member(o, "sha256"), sum) != 0)) {
            fail("block %u: %s, %" PRIu64 " bytes, sha256 %s", i, b->idstr, b->used_length, sum);
        }
    }
}

static void check_devices(const Capture *c, JsonArray *expected)
{
    const FerryDescribedDevice *described =
        c->description ? ferry_description_get_devices(c->description) : NULL;

    if (json_array_get_length(expected) != c->devices->len || !described ||
        ferry_description_get_n_devices(c->description) != c->devices->len) {
        fail("%u devices, expected %u", c->devices->len, json_array_get_length(expected));
        return;
    }
    for (guint i = 0; i < c->devices->len; i++) {
        const CaptureDevice *d = &g_array_index(c->devices, CaptureDevice, i);
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

static void check_order(const Capture *c, JsonArray *expected)
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
    /* A long list is given by its beginning. */
    if (strncmp(order->str, c->order->str, order->len) != 0 ||
        (json_array_get_length(expected) < 60 && c->order->len != order->len)) {
        fail("sections: %s\nexpected: %s", c->order->str, order->str);
    }
}

static void check_configuration(const FerryConfiguration *c, JsonObject *expected)
{
    JsonArray *list = json_object_get_array_member(expected, "config_subsections");
    JsonArray *item = json_array_get_length(list) ? json_array_get_array_element(list, 0) : NULL;
    guint n = 0;

    if (strcmp(json_object_get_string_member(expected, "machine"), c->machine) != 0) {
        fail("machine %s", c->machine);
    }
    if (item && strcmp(json_array_get_string_element(item, 0), "configuration/capabilities") == 0) {
        JsonArray *names = json_array_get_array_element(item, 2);

        n = json_array_get_length(names);
        for (guint i = 0; i < n && i < c->n_capabilities; i++) {
            if (strcmp(json_array_get_string_element(names, i), c->capabilities[i]) != 0) {
                fail("capability %s", c->capabilities[i]);
            }
        }
    }
    if (n != c->n_capabilities || json_array_get_length(list) != (item != NULL)) {
        fail("%u capabilities, expected %u", c->n_capabilities, n);
    }
}

static void check(const Capture *c, JsonObject *expected)
{
    check_configuration(&c->configuration, expected);
    check_blocks(c, json_object_get_array_member(expected, "blocks"));
    check_devices(c, json_object_get_array_member(expected, "devices"));
    if (json_object_has_member(expected, "record_counts")) { /* not of a file */
        JsonObject *counts = json_object_get_object_member(expected, "record_counts");

        check_order(c, json_object_get_array_member(expected, "record_order"));
        check_count(counts, "PAGE", c->pages);
        check_count(counts, "ZERO", c->zeros);
        check_count(counts, "XBZ", c->deltas);
        check_count(counts, "COMP", c->compressed);
        check_count(counts, "EOS", c->rounds);
        check_count(counts, "MEM", c->lists);
        check_count(counts, "FLUSH", c->flushes);
        check_count(counts, "mf_normal", c->normal_pages);
        check_count(counts, "mf_zero", c->zero_pages);
        for (unsigned i = 0; i < G_N_ELEMENTS(c->packets); i++) {
            g_autofree char *name = g_strdup_printf("mf_flag%u", i);

            check_count(counts, name, c->packets[i]);
        }
    }
}

static GByteArray *load(const char *directory, const char *name, const char *suffix, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/%s.%s.zst", directory, name, suffix);

    return g_file_test(path, G_FILE_TEST_EXISTS) ? decompress(path, error) : NULL;
}

static GByteArray *load_main(const char *directory, const char *name, GError **error)
{
    static const char *const suffixes[] = {"mig", "main", "file"};
    GByteArray *main = NULL;

    for (unsigned i = 0; !main && i < G_N_ELEMENTS(suffixes); i++) {
        g_clear_error(error);
        main = load(directory, name, suffixes[i], error);
    }
    return main;
}

/* The channels' hellos, too. */
static void load_channels(Capture *c, const char *directory, const char *name)
{
    static const uint8_t nothing[16];

    for (unsigned i = 0;; i++) {
        g_autofree char *suffix = g_strdup_printf("ch%u", i);
        CaptureChannel channel = {.bytes = load(directory, name, suffix, NULL),
                                  .at = FERRY_MULTIFD_HELLO_SIZE};
        g_autoptr(GError) error = NULL;
        FerryMultifdHello hello;

        if (!channel.bytes) {
            return;
        }
        g_assert_cmpuint(channel.bytes->len, >=, FERRY_MULTIFD_HELLO_SIZE);
        if (!ferry_multifd_hello_decode(channel.bytes->data, &hello, &error)) {
            fail("channel %u: %s", i, error->message);
        } else if (hello.id != i || memcmp(hello.uuid, nothing, 16) != 0) {
            fail("channel %u: says it is %u, or has a uuid", i, hello.id);
        }
        g_array_append_val(c->channels, channel);
    }
}

int main(int argc, char **argv)
{
    g_autofree char *json = NULL;
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GByteArray) wire = NULL;
    g_autoptr(GError) error = NULL;
    Capture c;

    if (argc != 3) {
        fprintf(stderr, "usage: %s DIRECTORY NAME\n", argv[0]);
        return 2;
    }
    capture_init(&c);
    json = g_strdup_printf("%s/%s.expected.json", argv[1], argv[2]);
    load_channels(&c, argv[1], argv[2]);
    wire = load_main(argv[1], argv[2], &error);
    if (!wire || !json_parser_load_from_file(parser, json, &error)) {
        fail("%s: %s", argv[2], error ? error->message : "no stream of that name");
    } else if (!capture_decode(&c, wire)) {
        fail("%s: %s", argv[2], c.error->message);
    } else {
        check(&c, json_node_get_object(json_parser_get_root(parser)));
    }
    printf("%s: %" PRId64 " pages, %" PRId64 " zero pages, %" PRId64 " deltas, %" PRId64
           " compressed, %" PRId64 " trailing, %" PRId64 " and %" PRId64
           " zero in packets, %u devices\n",
           argv[2], c.pages, c.zeros, c.deltas, c.compressed, c.trailing, c.normal_pages,
           c.zero_pages, c.devices->len);
    for (guint i = 0; i < c.channels->len; i++) {
        g_byte_array_unref((GByteArray *)g_array_index(c.channels, CaptureChannel, i).bytes);
    }
    capture_clear(&c);
    return failures ? 1 : 0;
}

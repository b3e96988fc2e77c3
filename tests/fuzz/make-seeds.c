/* make-seeds CORPUS: writes the seeds of every target to CORPUS/TARGET/seed-*. Run it by hand after
 * the protocol grew; the files are kept in the repository. */
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include "protocol/description.h"
#include "protocol/multifd.h"
#include "protocol/return-path.h"
#include "tests/protocol/sample.h"

static gboolean write_seed(const char *corpus, const char *target, const char *name, int first,
                           const void *bytes, size_t n)
{
    g_autofree char *directory = g_build_filename(corpus, target, NULL);
    g_autofree char *file = g_strdup_printf("%s/seed-%s", directory, name);
    g_autoptr(GString) all = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    if (first >= 0) {
        g_string_append_c(all, (char)first);
    }
    g_string_append_len(all, bytes, (gssize)n);
    if (g_mkdir_with_parents(directory, 0777) != 0 ||
        !g_file_set_contents(file, all->str, (gssize)all->len, &error)) {
        fprintf(stderr, "%s: %s\n", file, error ? error->message : "no directory");
        return FALSE;
    }
    return TRUE;
}

static gboolean write_streams(const char *corpus)
{
    static const struct {
        const char *name;
        unsigned what;
    } streams[] = {
        {"plain",      0                                             },
        {"full",       SAMPLE_UUID | SAMPLE_FLUSH | SAMPLE_EARLY     },
        {"commands",   SAMPLE_COMMAND_BETWEEN | SAMPLE_COMMANDS_AFTER},
        {"empty-text", SAMPLE_EMPTY_TEXT                             },
        {"no-text",    SAMPLE_NO_TEXT | SAMPLE_EARLY                 },
    };
    static const char *const words[] = {
        "H C 05 \"configuration/target-page-bits 00000001 0000000a S L E F X E F N",
        "H C 05 \"configuration/capabilities 00000001 00000001 \"mapped-ram",
        "H C S L E F R 0000000000000008 \"pc.ram",
        "H C D S L E F D",
        "H C S L E F R B 0000000000000460 01 0003 000107 0000000000000120 00000002 789c E F",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(streams); i++) {
        g_autoptr(GByteArray) wire = sample_stream(streams[i].what);

        if (!write_seed(corpus, "decoder", streams[i].name, 7, wire->data, wire->len)) {
            return FALSE;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        g_autoptr(GByteArray) wire = sample_assemble(words[i], SAMPLE_PAGE_BITS);
        g_autofree char *name = g_strdup_printf("words-%u", i);

        if (!write_seed(corpus, "decoder", name, 15, wire->data, wire->len)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* A file of one block of two pages, and a channel with a packet of each kind. */
static gboolean write_methods(const char *corpus)
{
    static const char file[] =
        "H C 05 \"configuration/capabilities 00000001 00000001 \"mapped-ram S 0000000000000804 "
        "\"a 0000000000000800 00000001 0000000000000400 0000000000000088 0000000000000400 "
        "0300000000000000 @c00 E F R E F X E F D N";
    static const uint8_t delta[] = {0x08, 0x02, 0x4e, 0x8e, 0xf6, 0x0f, 0x01, 0x4e};
    static const uint64_t offsets[] = {0, 0x30000, 0x10000};
    static const FerryMultifdHello hello = {.id = 3};
    FerryMultifdPacket packet = {.method = FERRY_MULTIFD_ZLIB,
                                 .normal_pages = 2,
                                 .zero_pages = 1,
                                 .payload_bytes = 3,
                                 .idstr = "pc.ram"};
    g_autoptr(GByteArray) mapped = sample_assemble(file, SAMPLE_PAGE_BITS);
    uint8_t channel[FERRY_MULTIFD_HELLO_SIZE + 3 * 384 + 3] = {0};
    uint8_t *p = channel + FERRY_MULTIFD_HELLO_SIZE;

    ferry_multifd_hello_encode(&hello, channel);
    p += ferry_multifd_packet_encode(&packet, offsets, 16, p) + packet.payload_bytes;
    packet.normal_pages = 0;
    p += ferry_multifd_packet_encode(&packet, offsets, 16, p);
    packet.zero_pages = 0;
    packet.sync = TRUE;
    ferry_multifd_packet_encode(&packet, offsets, 16, p);
    return write_seed(corpus, "mapped", "two-pages", 1, mapped->data, mapped->len) &&
           write_seed(corpus, "multifd", "packets", 6, channel, sizeof channel) &&
           write_seed(corpus, "xbzrle", "delta", 1, delta, sizeof delta);
}

static gboolean write_others(const char *corpus)
{
    static const FerryDescribedDevice devices[] = {
        {"timer", 0, 24},
        {"a\"\n", 7, 0 },
    };
    static const char nested[] =
        "{\"page_size\": 4096, \"devices\": [{\"name\": \"x\", \"instance_id\": 3, \"fields\": "
        "[{\"size\": 2, \"array_len\": 10}], \"subsections\": [{\"vmsd_name\": \"x/one\", "
        "\"fields\": [{\"size\": 1}], \"subsections\": [{\"vmsd_name\": \"x/two\", \"fields\": "
        "[]}]}]}]}";
    static const char back[] = "\0\2\0\4\xfe\x77\0\1\0\7\0\0\0\1\0\4\0\0\0\0";
    static const char postcopy[] = "\0\3\0\xe\0";
    static const char *const addresses[] = {
        "tcp:localhost:4444",
        "tcp:[::1]:4444",
        "tcp::0",
        "unix:/run/ferry.sock",
        "fd:7",
        "exec:cat >/dev/null",
        "file:/var/tmp/guest.mig,offset=1M",
    };
    size_t n;
    g_autofree char *text = ferry_description_write(4096, devices, 2, &n);

    for (unsigned i = 0; i < G_N_ELEMENTS(addresses); i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        if (!write_seed(corpus, "address", name, -1, addresses[i], strlen(addresses[i]))) {
            return FALSE;
        }
    }
    return write_seed(corpus, "description", "opaque", -1, text, n) &&
           write_seed(corpus, "description", "nested", -1, nested, sizeof nested - 1) &&
           write_seed(corpus, "return-path", "good", 2, back, sizeof back - 1) &&
           write_seed(corpus, "return-path", "postcopy", 0, postcopy, sizeof postcopy - 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    return write_streams(argv[1]) && write_methods(argv[1]) && write_others(argv[1]) ? 0 : 1;
}

#include "tests/protocol/sample.h"
#include <inttypes.h>
#include <string.h>
#include "protocol/description.h"

static void add_hex(GByteArray *out, const char *word)
{
    g_assert(strlen(word) % 2 == 0);
    for (; *word; word += 2) {
        uint8_t byte =
            (uint8_t)(g_ascii_xdigit_value(word[0]) << 4 | g_ascii_xdigit_value(word[1]));

        g_assert(g_ascii_isxdigit(word[0]) && g_ascii_isxdigit(word[1]));
        g_byte_array_append(out, &byte, 1);
    }
}

static void add_text(GByteArray *out, const char *text)
{
    g_byte_array_append(out, (const uint8_t *)text, (guint)strlen(text));
}

static void add_name(GByteArray *out, const char *name)
{
    uint8_t length = (uint8_t)strlen(name);

    g_byte_array_append(out, &length, 1);
    add_text(out, name);
}

static void add_zeros(GByteArray *out, guint end)
{
    guint at = out->len;

    g_assert(end >= at);
    g_byte_array_set_size(out, end);
    memset(out->data + at, 0, end - at);
}

static void add_page(GByteArray *out, unsigned page_bits, uint8_t fill)
{
    guint at = out->len, size = 1u << page_bits;

    g_byte_array_set_size(out, at + size);
    memset(out->data + at, fill, size);
    out->data[at] = FERRY_SECTION_FOOTER; /* what a splitter must not fall for */
}

static void add_list(GByteArray *out, unsigned page_bits)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader h = {.offset = 5ull << page_bits, .flags = FERRY_RAM_MEM_SIZE};

    g_byte_array_append(out, bytes, (guint)ferry_ram_header_encode(&h, bytes));
    g_byte_array_append(out, bytes,
                        (guint)ferry_ram_block_encode("pc.ram", 4ull << page_bits, bytes));
    g_byte_array_append(out, bytes,
                        (guint)ferry_ram_block_encode("pc.bios", 1ull << page_bits, bytes));
}

static void add_record(GByteArray *out, uint64_t offset, unsigned flags)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader h = {.offset = offset, .flags = flags, .idstr = "pc.ram"};

    g_byte_array_append(out, bytes, (guint)ferry_ram_header_encode(&h, bytes));
}

static gboolean add_letter(GByteArray *out, char letter, unsigned page_bits)
{
    switch (letter) {
    case 'H':
        add_hex(out, "5145564d00000003");
        return TRUE;
    case 'C':
        add_hex(out, "070000000d");
        add_text(out, "pc-i440fx-7.2");
        return TRUE;
    case 'O':
        add_hex(out, "0800010000");
        return TRUE;
    case 'P':
        add_hex(out, "080002000400000001");
        return TRUE;
    case 'S':
        add_hex(out, "01000000020372616d0000000000000004");
        return TRUE;
    case 'L':
        add_list(out, page_bits);
        return TRUE;
    case 'R':
        add_hex(out, "0200000002");
        return TRUE;
    case 'X':
        add_hex(out, "0300000002");
        return TRUE;
    case 'E':
        add_hex(out, "0000000000000010");
        return TRUE;
    case 'F':
        add_hex(out, "7e00000002");
        return TRUE;
    case 'B':
        add_record(out, 0, FERRY_RAM_PAGE);
        add_page(out, page_bits, 0xa5);
        return TRUE;
    case 'Q':
        add_record(out, 1ull << page_bits, FERRY_RAM_PAGE | FERRY_RAM_CONTINUE);
        add_page(out, page_bits, 0x06);
        return TRUE;
    case 'Z':
        add_record(out, 2ull << page_bits, FERRY_RAM_ZERO | FERRY_RAM_CONTINUE);
        return TRUE;
    case 'D': /* its body looks a little like its own end */
        add_hex(out, "0400000005036465760000000000000001");
        add_hex(out, "7e000000057e0000000600060000000a7e00000005");
        return TRUE;
    case 'N':
        add_hex(out, "000600000000");
        return TRUE;
    default:
        return FALSE;
    }
}

GByteArray *sample_assemble(const char *words, unsigned page_bits)
{
    GByteArray *out = g_byte_array_new();
    g_auto(GStrv) list = g_strsplit(words, " ", -1);

    for (char **w = list; *w; w++) {
        if ((*w)[0] == '"') {
            add_name(out, *w + 1);
        } else if ((*w)[0] == '=') {
            add_text(out, *w + 1);
        } else if ((*w)[0] == '@') {
            add_zeros(out, (guint)strtoul(*w + 1, NULL, 16));
        } else if ((*w)[0] && ((*w)[1] || !add_letter(out, (*w)[0], page_bits))) {
            add_hex(out, *w);
        }
    }
    return out;
}

static void add_words(GByteArray *out, const char *words)
{
    g_autoptr(GByteArray) more = sample_assemble(words, SAMPLE_PAGE_BITS);

    g_byte_array_append(out, more->data, more->len);
}

/* Body: @n bytes among which are the section's own footer and the end mark. */
static void add_device(GByteArray *out, uint32_t id, FerryDescribedDevice device)
{
    uint8_t bytes[FERRY_SECTION_HEADER_MAX];
    FerrySectionHeader h = {.type = FERRY_SECTION_FULL,
                            .section_id = id,
                            .idstr = device.idstr,
                            .instance_id = device.instance_id,
                            .version_id = 3};

    g_byte_array_append(out, bytes, (guint)ferry_section_header_encode(&h, bytes));
    for (uint64_t i = 0; i < device.body_bytes; i++) {
        uint8_t byte = i % 16 == 0    ? FERRY_SECTION_FOOTER
                       : i % 16 == 4  ? (uint8_t)id
                       : i % 16 == 6  ? FERRY_SECTION_DESCRIPTION
                       : i % 16 == 10 ? 1
                                      : 0;

        g_byte_array_append(out, &byte, 1);
    }
    g_byte_array_append(out, bytes, (guint)ferry_section_footer_encode(id, bytes));
}

GByteArray *sample_stream(unsigned what)
{
    static const FerryDescribedDevice devices[] = {
        {"early/one",        0, 21},
        {"early/two",        0, 0 },
        {"timer",            0, 24},
        {"dma",              0, 75},
        {"dma",              1, 75},
        {"0000:00:01.0/ide", 0, 1 },
    };
    unsigned first = what & SAMPLE_EARLY ? 0 : 2;
    GByteArray *out = sample_assemble("H C", SAMPLE_PAGE_BITS);

    if (what & SAMPLE_UUID) {
        add_words(out,
                  "05 \"" FERRY_CONFIGURATION_UUID " 00000001 000102030405060708090a0b0c0d0e0f");
    }
    add_words(out, "O P");
    if (what & SAMPLE_EARLY) {
        add_device(out, 9, devices[0]);
    }
    add_words(out, what & SAMPLE_FLUSH ? "S L 0000000000000200 E F" : "S L E F");
    if (what & SAMPLE_EARLY) {
        add_device(out, 2, devices[1]);
    }
    add_words(out, "R B Q Z E F R E F P X 0000000000000008 \"pc.bios");
    add_page(out, SAMPLE_PAGE_BITS, 0);
    add_words(out, "E F 08000b0000");
    for (size_t i = 2; i < G_N_ELEMENTS(devices); i++) {
        add_device(out, i == 3 ? 2 : 100 + (uint32_t)i, devices[i]);
        if (i == 4 && what & SAMPLE_COMMAND_BETWEEN) {
            add_words(out, "P");
        }
    }
    if (what & SAMPLE_NO_TEXT) {
        add_words(out, "00");
    } else if (what & SAMPLE_EMPTY_TEXT) {
        add_words(out, "N");
    } else {
        size_t length;
        g_autofree char *text = ferry_description_write(1u << SAMPLE_PAGE_BITS, devices + first,
                                                        G_N_ELEMENTS(devices) - first, &length);
        uint8_t bytes[FERRY_DESCRIPTION_HEADER_SIZE];

        g_byte_array_append(out, bytes, (guint)ferry_end_encode((uint32_t)length, bytes));
        g_byte_array_append(out, (const uint8_t *)text, (guint)length);
    }
    if (what & SAMPLE_COMMANDS_AFTER && !(what & SAMPLE_NO_TEXT)) {
        add_words(out, "P P");
    }
    return out;
}

static guint hash(const void *bytes, size_t n)
{
    guint h = 2166136261u;

    for (size_t i = 0; i < n; i++) {
        h = (h ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    }
    return h;
}

static void say_event(GString *out, const FerryStreamEvent *ev, size_t page_size)
{
    g_string_append_printf(out, "%" PRIu64 ": ", ev->stream_offset);
    switch (ev->type) {
    case FERRY_STREAM_HEADER:
        g_string_append(out, "header");
        break;
    case FERRY_STREAM_CONFIGURATION:
        g_string_append_printf(out, "configuration %s bits %u uuid %d %08x",
                               ev->configuration.machine, ev->configuration.page_bits,
                               ev->configuration.has_uuid, hash(ev->configuration.uuid, 16));
        break;
    case FERRY_STREAM_COMMAND:
        g_string_append_printf(out, "command %s %u %08x", ferry_command_name(ev->command.id),
                               ev->command.length, hash(ev->command.payload, ev->command.length));
        break;
    case FERRY_STREAM_RAM_BLOCK:
        g_string_append_printf(out, "block %u %s %" PRIu64, ev->block.index, ev->block.idstr,
                               ev->block.used_length);
        if (ev->block.is_mapped) {
            g_string_append_printf(out, " mapped %" PRIu64 " %" PRIu64,
                                   ev->block.mapped.bitmap_offset, ev->block.mapped.pages_offset);
        }
        break;
    case FERRY_STREAM_RAM_LIST_END:
        g_string_append_printf(out, "list %" PRIu64, ev->total_bytes);
        break;
    case FERRY_STREAM_PAGE:
        g_string_append_printf(out, "page %u %" PRIx64 " %08x", ev->page.block, ev->page.offset,
                               hash(ev->page.data, page_size));
        break;
    case FERRY_STREAM_ZERO:
        g_string_append_printf(out, "zero %u %" PRIx64, ev->page.block, ev->page.offset);
        break;
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        g_string_append_printf(out, "%s %u %" PRIx64 " %zu %08x",
                               ev->type == FERRY_STREAM_XBZRLE ? "xbzrle" : "compressed",
                               ev->page.block, ev->page.offset, ev->page.length,
                               hash(ev->page.data, ev->page.length));
        break;
    case FERRY_STREAM_FLUSH:
        g_string_append(out, "flush");
        break;
    case FERRY_STREAM_ROUND_END:
        g_string_append_printf(out, "round end %d", (int)ev->section);
        break;
    case FERRY_STREAM_DEVICE:
        g_string_append_printf(out, "device %u %s %u %u %zu %08x%s", ev->device.section_id,
                               ev->device.idstr, ev->device.instance_id, ev->device.version_id,
                               ev->device.length, hash(ev->device.body, ev->device.length),
                               ev->device.early ? " early" : "");
        break;
    case FERRY_STREAM_DESCRIPTION:
        g_string_append_printf(out, "description %zu %08x", ev->description.length,
                               hash(ev->description.text, ev->description.length));
        break;
    }
    g_string_append_c(out, '\n');
}

typedef struct {
    FerryDecoder *decoder;
    GString *out;
    size_t page_size;
    uint64_t jump; /* where the stream goes on; 0: behind what was pushed */
} Listener;

static gboolean drain(Listener *l)
{
    g_autoptr(GError) error = NULL;
    FerryStreamEvent ev;

    for (;;) {
        switch (ferry_decoder_step(l->decoder, &ev, &error)) {
        case FERRY_DECODE_MORE:
            return TRUE;
        case FERRY_DECODE_EVENT:
            if (ev.type == FERRY_STREAM_CONFIGURATION && ev.configuration.page_bits) {
                l->page_size = (size_t)1 << ev.configuration.page_bits;
            }
            say_event(l->out, &ev, l->page_size);
            if (ev.type == FERRY_STREAM_RAM_BLOCK && ev.block.is_mapped) {
                l->jump = ferry_decoder_jump(l->decoder);
            }
            break;
        case FERRY_DECODE_BAD:
            g_assert(error->domain == FERRY_PROTOCOL_ERROR);
            g_string_append_printf(l->out, "bad: %s\n", error->message);
            return FALSE;
        }
    }
}

char *sample_events(const uint8_t *bytes, size_t n, const FerryDecoderOptions *options,
                    size_t piece, unsigned seed)
{
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(options);
    unsigned bits = options && options->page_bits ? options->page_bits : FERRY_PAGE_BITS;
    Listener l = {.decoder = decoder, .out = g_string_new(NULL), .page_size = (size_t)1 << bits};
    g_autoptr(GError) error = NULL;
    gboolean good = TRUE;

    for (size_t at = 0; at < n && good;) {
        size_t m = piece ? piece : n;
        g_autofree uint8_t *own = NULL;

        if (seed) {
            seed = seed * 1103515245u + 12345u;
            m = 1 + (seed >> 16) % m;
        }
        m = MIN(m, n - at);
        own = g_memdup2(bytes + at, m);
        ferry_decoder_push(decoder, own, m);
        good = drain(&l);
        at = l.jump ? MIN(l.jump - options->file_offset, n) : at + m;
        l.jump = 0;
    }
    if (good) {
        gboolean end = ferry_decoder_finish(decoder, &error);

        if (!end) {
            g_string_append_printf(l.out, "bad: %s\n", error->message);
        } else if (drain(&l)) {
            g_string_append(l.out, "end\n");
        }
    }
    return g_string_free(l.out, FALSE);
}

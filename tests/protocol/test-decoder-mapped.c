/* The stream of a mapped-ram file: where its blocks' pages are, and what may not stand in it. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/decoder.h"
#include "tests/protocol/sample.h"

/* Up to the first block's entry, of two pages, and that entry's header: at 108, it ends at 136. */
#define CAPS "05 \"configuration/capabilities 00000001 00000001 \"mapped-ram "
#define LIST "H C " CAPS "S 0000000000000c04 \"a 0000000000000800 "
#define HEADER "00000001 0000000000000400 0000000000000088 0000000000000400 "
/* The second block's entry is at 3072. */
#define SECOND                                                                                     \
    "@c00 \"b 0000000000000400 00000001 0000000000000400 0000000000000c26 0000000000001000 "
#define REST "@1400 E F R E F X E F N"

static const FerryDecoderOptions options = {.page_bits = SAMPLE_PAGE_BITS, .mapped_allowed = TRUE};

Test(decoder_mapped, pages_are_jumped_over)
{
    g_autoptr(GByteArray) wire = sample_assemble(LIST HEADER SECOND REST, SAMPLE_PAGE_BITS);
    g_autofree char *whole = NULL;

    memset(wire->data + 0x400, 0x06, 0x800); /* pages: whatever they are */
    memset(wire->data + 136, 0xff, 8);
    whole = sample_events(wire->data, wire->len, &options, 0, 0);
    cr_expect(strstr(whole, "block 0 a 2048 mapped 136 1024\n"), "%s", whole);
    cr_expect(strstr(whole, "3072: block 1 b 1024 mapped 3110 4096\n"), "%s", whole);
    cr_expect(strstr(whole, "5120: list 3072\n"), "%s", whole);
    cr_expect(g_str_has_suffix(whole, "\nend\n"), "%s", whole);
    for (unsigned piece = 1; piece < 1500; piece += 97) {
        g_autofree char *pieces = sample_events(wire->data, wire->len, &options, piece, 0);

        cr_expect_str_eq(pieces, whole, "pieces of %u", piece);
    }
}

/* file:PATH,offset=N: the places count from the start of the file, messages from the stream's. */
Test(decoder_mapped, stream_may_begin_later_in_its_file)
{
    static const FerryDecoderOptions later = {
        .page_bits = SAMPLE_PAGE_BITS, .mapped_allowed = TRUE, .file_offset = 0x10000};
    g_autoptr(GByteArray) wire = sample_assemble(
        "H C " CAPS "S 0000000000000804 \"a 0000000000000800 00000001 0000000000000400 "
        "0000000000010088 0000000000010400 @c00 E F X E F N",
        SAMPLE_PAGE_BITS);
    g_autofree char *text = sample_events(wire->data, wire->len, &later, 0, 0);

    cr_expect(strstr(text, "block 0 a 2048 mapped 65672 66560\n"), "%s", text);
    cr_expect(strstr(text, "3072: list 2048\n"), "%s", text);
    cr_expect(g_str_has_suffix(text, "\nend\n"), "%s", text);
}

Test(decoder_mapped, nothing_is_taken_before_the_jump)
{
    g_autoptr(GByteArray) wire = sample_assemble(LIST HEADER "@c00", SAMPLE_PAGE_BITS);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    FerryStreamEvent ev;

    ferry_decoder_push(decoder, wire->data, wire->len);
    do {
        cr_assert_eq(ferry_decoder_step(decoder, &ev, NULL), FERRY_DECODE_EVENT);
    } while (ev.type != FERRY_STREAM_RAM_BLOCK);
    cr_assert(ev.block.is_mapped);
    cr_expect_eq(ferry_decoder_step(decoder, &ev, NULL), FERRY_DECODE_MORE);
    cr_expect_eq(ferry_decoder_offset(decoder), 136);
    cr_expect_eq(ferry_decoder_jump(decoder), 0xc00);
    cr_expect_eq(ferry_decoder_offset(decoder), 0xc00);
    cr_expect_eq(ferry_decoder_step(decoder, &ev, NULL), FERRY_DECODE_MORE);
}

Test(decoder_mapped, configuration_says_so)
{
    g_autoptr(GByteArray) wire = sample_assemble("H C " CAPS "S", SAMPLE_PAGE_BITS);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    FerryStreamEvent ev;

    ferry_decoder_push(decoder, wire->data, wire->len);
    do {
        cr_assert_eq(ferry_decoder_step(decoder, &ev, NULL), FERRY_DECODE_EVENT);
    } while (ev.type != FERRY_STREAM_CONFIGURATION);
    cr_expect_eq(ev.configuration.n_capabilities, 1);
    cr_expect_str_eq(ev.configuration.capabilities[0], "mapped-ram");
}

/* A file may hold a stream without mapped pages, too. */
Test(decoder_mapped, plain_stream_in_a_file)
{
    g_autoptr(GByteArray) wire = sample_stream(0);
    g_autofree char *text = sample_events(wire->data, wire->len, &options, 0, 0);

    cr_expect(g_str_has_suffix(text, "\nend\n"), "%s", text);
}

typedef struct {
    char what[48];
    char words[360];
    char message[80];
} Row;
#define ONE "H C " CAPS "S 0000000000000804 \"a 0000000000000800 " HEADER "@c00 "
#define NAMED(flags) ONE "E F R 0000000000000" flags " \"a"
ParameterizedTestParameters(decoder_mapped, refuses)
{
    static Row rows[] = {
        {"capability twice",
         "H C 05 \"configuration/capabilities 00000001 00000002 \"mapped-ram \"mapped-ram",                     "capability 'mapped-ram' twice"                },
        {"another capability besides",
         "H C 05 \"configuration/capabilities 00000001 00000002 \"mapped-ram \"x-ignore-shared",                "capability 'x-ignore-shared' is not supported"},
        {"M56 version",                     LIST "00000002 0000000000000400 0000000000000088 0000000000000400",
         "byte 98: ram section: block 'a': mapped-ram: version 2"                                                                                              },
        {"M56 page size",                   LIST "00000001 0000000000001000 0000000000000088 0000000000000400",
         "block 'a': mapped-ram: pages of 4096 bytes"                                                                                                          },
        {"M56 bitmap elsewhere",            LIST "00000001 0000000000000400 0000000000000090 0000000000000400",
         "block 'a': mapped-ram: bitmap at 144, but the header ends at 136"                                                                                    },
        {"M56 pages over what came before",
         LIST "00000001 0000000000000400 0000000000000088 0000000000000000",                                    "pages at 0 "                                  },
        {"M56 second block over the first",
         LIST HEADER
         "@c00 \"b 0000000000000400 00000001 0000000000000400 0000000000000c26 0000000000000800",               "block 'b': mapped-ram: pages at 2048"         },
        {"M56 file ends inside the pages",  LIST HEADER "@800",
         "ended inside the list of ram blocks"                                                                                                                 },
        {"M56 file ends inside a header",   LIST "00000001 00000000",
         "ended inside the list of ram blocks"                                                                                                                 },
        {"M56 file ends behind the pages",  LIST HEADER "@c00",
         "ended inside the list of ram blocks"                                                                                                                 },
        {"page",                            NAMED("008"),                                                       "flags 0x8 in a mapped-ram stream"             },
        {"zero page",                       NAMED("002"),                                                       "flags 0x2 in a mapped"                        },
        {"xbzrle page",                     NAMED("040"),                                                       "flags 0x40 in a mapped"                       },
        {"compressed page",                 NAMED("100"),                                                       "flags 0x100 in a mapped"                      },
        {"hook",                            NAMED("080"),                                                       "flags 0x80 in a mapped"                       },
        {"flush",                           NAMED("200"),                                                       "flags 0x200 in a mapped"                      },
        {"continued page",                  NAMED("028"),                                                       "flags 0x28 in a mapped"                       },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, decoder_mapped, refuses)
{
    g_autoptr(GByteArray) wire = sample_assemble(row->words, SAMPLE_PAGE_BITS);
    g_autofree char *whole = sample_events(wire->data, wire->len, &options, 0, 0);
    g_autofree char *bytes = sample_events(wire->data, wire->len, &options, 1, 0);
    const char *bad = strstr(whole, "bad: ");

    cr_assert(bad, "%s: %s", row->what, whole);
    cr_expect(strstr(bad, row->message), "%s: %s", row->what, bad);
    cr_expect_str_eq(bytes, whole, "%s", row->what);
}

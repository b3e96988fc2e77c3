#include "protocol/mapped-ram.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/stream.h"

#define MIB (1ull << 20)
#define BAD FERRY_PROTOCOL_ERROR_MALFORMED

/* The first block of a QEMU 10.0 file: "pc.ram", 32 MiB. */
Test(mapped_ram, header_of_a_pc)
{
    static const uint8_t wire[] = "\0\0\0\1" /* version */
                                  "\0\0\0\0\0\0\x10\0"
                                  "\0\0\0\0\0\0\0\x8e"
                                  "\0\0\0\0\0\x10\0"; /* and its NUL */
    FerryMappedHeader h = ferry_mapped_header_place(0x8e - 28, 32 * MIB, 4096), again;
    uint8_t out[FERRY_MAPPED_HEADER_SIZE];

    ferry_mapped_header_encode(&h, out);
    cr_assert_eq(sizeof wire, sizeof out);
    cr_expect_arr_eq(out, wire, sizeof out);
    cr_assert(ferry_mapped_header_decode(out, 0x8e - 28, 32 * MIB, 4096, &again, NULL));
    cr_expect_eq(again.page_size, 4096);
    cr_expect_eq(again.bitmap_offset, 0x8e);
    cr_expect_eq(again.pages_offset, MIB);
}

Test(mapped_ram, bitmap_is_whole_words)
{
    cr_expect_eq(ferry_mapped_bitmap_size(4096, 4096), 8);
    cr_expect_eq(ferry_mapped_bitmap_size(64 * 4096, 4096), 8);
    cr_expect_eq(ferry_mapped_bitmap_size(65 * 4096, 4096), 16);
    cr_expect_eq(ferry_mapped_bitmap_size(32 * MIB, 4096), 1024);
}

Test(mapped_ram, pages_are_never_inside_the_bitmap)
{
    FerryMappedHeader h = ferry_mapped_header_place(MIB - 28 - 8, 4096, 4096);

    cr_expect_eq(h.pages_offset, MIB);
    h = ferry_mapped_header_place(MIB - 28 - 7, 4096, 4096);
    cr_expect_eq(h.pages_offset, 2 * MIB);
}

typedef struct {
    char what[48];
    uint32_t version;
    uint64_t page_size, bitmap_offset, pages_offset, used_length;
    int code; /* 0: accepted */
    char message[80];
} Row;
ParameterizedTestParameters(mapped_ram, judges)
{
    static Row rows[] = {
        {"as QEMU might",                1, 4096,       128,         4096,                               MIB,       0,                                ""                             },
        {"pages aligned to a page only", 1, 4096,       128,         8192,                               MIB,       0,                                ""                             },
        {"M56 version 2",                2, 4096,       128,         4096,                               MIB,       FERRY_PROTOCOL_ERROR_UNSUPPORTED,
         "version 2 is not supported"                                                                                                                                                },
        {"M56 version 0",                0, 4096,       128,         4096,                               MIB,       FERRY_PROTOCOL_ERROR_UNSUPPORTED,
         "version 0 is not supported"                                                                                                                                                },
        {"M56 page size 0",              1, 0,          128,         4096,                               MIB,       BAD,
         "pages of 0 bytes, but the stream's are 4096"                                                                                                                               },
        {"M56 page size 1",              1, 1,          128,         4096,                               MIB,       BAD,                              "pages of 1 bytes"             },
        {"M56 page size 2^63",           1, 1ull << 63, 128,         4096,                               MIB,       BAD,
         "pages of 9223372036854775808 bytes"                                                                                                                                        },
        {"M56 other page size",          1, 16384,      128,         16384,                              MIB,       BAD,                              "pages of 16384 bytes"         },
        {"M56 bitmap over the header",   1, 4096,       127,         4096,                               MIB,       BAD,
         "bitmap at 127, but the header ends at 128"                                                                                                                                 },
        {"M56 bitmap behind a hole",     1, 4096,       129,         4096,                               MIB,       BAD,                              "bitmap at 129"                },
        {"M56 bitmap at 2^64-1",         1, 4096,       G_MAXUINT64, 4096,                               MIB,       BAD,
         "bitmap at 18446744073709551615"                                                                                                                                            },
        {"M56 pages over the header",    1, 4096,       128,         0,                                  MIB,       BAD,
         "pages at 0 are not aligned or begin inside"                                                                                                                                },
        {"M56 pages inside the bitmap",  1, 4096,       128,         4096,                               256 * MIB, BAD,                              "(8192 bytes at 128)"          },
        {"M56 pages not aligned",        1, 4096,       128,         4608,                               MIB,       BAD,                              "pages at 4608 are not aligned"},
        {"M56 pages at 2^63",            1, 4096,       128,         1ull << 63,                         MIB,       BAD,                              "no file is that long"         },
        {"M56 pages at 2^64-4096",       1, 4096,       128,         G_MAXUINT64 - 4095,                 MIB,       BAD,
         "no file is that long"                                                                                                                                                      },
        {"M56 pages up to 2^63",         1, 4096,       128,         (uint64_t)G_MAXINT64 + 1 - MIB,     MIB,       BAD,
         "no file is that long"                                                                                                                                                      },
        {"M56 last page below 2^63",     1, 4096,       128,         (uint64_t)G_MAXINT64 + 1 - 2 * MIB, MIB,       0,                                ""                             },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, mapped_ram, judges)
{
    FerryMappedHeader h = {row->page_size, row->bitmap_offset, row->pages_offset}, got = {0};
    g_autoptr(GError) error = NULL;
    uint8_t wire[FERRY_MAPPED_HEADER_SIZE];
    gboolean good;

    ferry_mapped_header_encode(&h, wire);
    wire[3] = (uint8_t)row->version;
    good = ferry_mapped_header_decode(wire, 100, row->used_length, 4096, &got, &error);
    if (row->message[0] == '\0') {
        cr_assert(good, "%s: %s", row->what, error ? error->message : "");
        cr_expect_eq(got.pages_offset, row->pages_offset, "%s", row->what);
        return;
    }
    cr_assert_not(good, "%s", row->what);
    cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, row->code), "%s: %s", row->what,
              error->message);
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
    cr_expect_eq(got.page_size, 0, "%s: written", row->what);
}

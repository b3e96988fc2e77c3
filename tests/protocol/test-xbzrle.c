#include "protocol/xbzrle.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/stream.h"

#define PAGE 4096

/* Bytes of a QEMU 7.2 source, page 0x400000. */
Test(xbzrle, delta_that_qemu_sent)
{
    static const uint8_t wire[] = {0x08, 0x02, 0x4e, 0x8e, 0xf6, 0x0f, 0x01, 0x4e};
    uint8_t old[PAGE], new[PAGE], out[PAGE];

    memset(old, 0x11, PAGE);
    memcpy(new, old, PAGE);
    new[8] = 0x4e;
    new[9] = 0x8e;
    new[2048] = 0x4e;
    cr_assert_eq(ferry_xbzrle_encode(old, new, PAGE, out, PAGE), sizeof wire);
    cr_expect_arr_eq(out, wire, sizeof wire);
    cr_assert(ferry_xbzrle_decode(wire, sizeof wire, old, PAGE, NULL));
    cr_expect_arr_eq(old, new, PAGE);
}

Test(xbzrle, equal_pages_have_no_delta)
{
    uint8_t page[PAGE] = {1, 2, 3}, out[1];

    cr_expect_eq(ferry_xbzrle_encode(page, page, PAGE, out, 0), 0);
}

typedef struct {
    char what[40];
    unsigned page_size;
    unsigned changed[6]; /* pairs: from, bytes */
    int expected;        /* the delta's length */
} Shape;
ParameterizedTestParameters(xbzrle, shapes)
{
    static Shape rows[] = {
        {"first byte",                            PAGE,  {0, 1},                3  },
        {"last byte",                             PAGE,  {4095, 1},             4  },
        {"run of 127",                            PAGE,  {0, 127},              129},
        {"run of 128 takes two bytes",            PAGE,  {0, 128},              131},
        {"unchanged run of 127",                  PAGE,  {127, 1},              3  },
        {"unchanged run of 128 takes two",        PAGE,  {128, 1},              4  },
        {"two equal bytes go with the changed",   PAGE,  {16, 1, 19, 1},        6  },
        {"three equal bytes are a run",           PAGE,  {16, 1, 20, 1},        6  },
        {"equal bytes at the end are not sent",   PAGE,  {4093, 1},             4  },
        {"across words",                          PAGE,  {5, 20, 63, 2, 65, 9}, 35 },
        {"small page",                            1024,  {1000, 24},            27 },
        {"page of 16 KiB",                        16384, {16383, 1},            4  },
        {"longest unchanged run",                 65536, {16383, 1},            4  },
        {"unchanged run too long for the format", 65536, {16384, 1},            -1 },
        {"changed run too long for the format",   65536, {0, 16384},            -1 },
    };
    return cr_make_param_array(Shape, rows, G_N_ELEMENTS(rows));
}

static void make(const Shape *row, uint8_t *old, uint8_t *new)
{
    for (unsigned i = 0; i < row->page_size; i++) {
        old[i] = new[i] = (uint8_t)(i * 7);
    }
    for (unsigned i = 0; i < 6; i += 2) {
        for (unsigned k = 0; k < row->changed[i + 1]; k++) {
            new[row->changed[i] + k] ^= (uint8_t)(1 + k % 255);
        }
    }
}

ParameterizedTest(Shape *row, xbzrle, shapes)
{
    g_autofree uint8_t *old = g_malloc(row->page_size), *new = g_malloc(row->page_size);
    g_autofree uint8_t *out = g_malloc(row->page_size);
    gssize n;

    make(row, old, new);
    n = ferry_xbzrle_encode(old, new, row->page_size, out, row->page_size);
    cr_assert_eq(n, row->expected, "%s: %zd", row->what, n);
    if (n > 0) {
        g_autofree uint8_t *exact = g_memdup2(out, (gsize)n); /* a sanitizer sees its end */

        cr_assert(ferry_xbzrle_decode(exact, (size_t)n, old, row->page_size, NULL), "%s",
                  row->what);
        cr_expect_arr_eq(old, new, row->page_size, "%s", row->what);
    }
}

/* Pages that differ in @share of 256 bytes, in clusters; the same numbers every time. */
static void scatter(guint32 seed, unsigned share, uint8_t *old, uint8_t *new)
{
    for (unsigned i = 0, left = 0; i < PAGE; i++) {
        seed = seed * 1664525u + 1013904223u;
        old[i] = new[i] = (uint8_t)(seed >> 24);
        if (left == 0 && (seed >> 8 & 255) < share) {
            left = 1 + (seed >> 16 & 15);
        }
        if (left) {
            left--;
            new[i] ^= (uint8_t)(1 + (seed >> 4) % 255);
        }
    }
}

Test(xbzrle, what_is_encoded_decodes_and_takes_no_more_than_its_room)
{
    static uint8_t old[PAGE], new[PAGE], out[2 * PAGE], copy[PAGE];

    for (guint32 seed = 0; seed < 400; seed++) {
        gssize n, again;

        scatter(seed, seed % 64, old, new);
        n = ferry_xbzrle_encode(old, new, PAGE, out, sizeof out);
        cr_assert_geq(n, 0);
        if (n == 0) {
            cr_assert_arr_eq(old, new, PAGE);
            continue;
        }
        memset(out + n, 0xee, sizeof out - (size_t)n);
        again = ferry_xbzrle_encode(old, new, PAGE, out, (size_t)n);
        cr_assert_eq(again, n, "seed %u", seed);
        cr_assert_eq(ferry_xbzrle_encode(old, new, PAGE, out, (size_t)n - 1), -1, "seed %u", seed);
        cr_assert_eq(out[n], 0xee, "seed %u", seed);
        cr_assert_eq(ferry_xbzrle_encode(old, new, PAGE, out, (size_t)n), n);
        memcpy(copy, old, PAGE);
        cr_assert(ferry_xbzrle_decode(out, (size_t)n, copy, PAGE, NULL), "seed %u", seed);
        cr_assert_arr_eq(copy, new, PAGE, "seed %u", seed);
    }
}

typedef struct {
    char what[48];
    unsigned page_size, n;
    uint8_t delta[12];
    char message[64];
} Bad;
ParameterizedTestParameters(xbzrle, refuses)
{
    static Bad rows[] = {
        {"M28 length 0",                        PAGE, 0,  {0},          "byte 0 of 0: the length of an unchanged run is cut"},
        {"M29 unchanged run past the page",
         PAGE,                                        4,
         {0x81, 0x20, 1, 7},
         "byte 0 of 4: an unchanged run goes past"                                                                          },
        {"M29 unchanged run of the whole page",
         PAGE,                                        4,
         {0x80, 0x20, 1, 7},
         "byte 2 of 4: a changed run goes past"                                                                             },
        {"M29 changed run past the page",
         PAGE,                                        5,
         {0xff, 0x1f, 2, 7, 7},
         "byte 2 of 5: a changed run goes past"                                                                             },
        {"M29 sum of runs past the page",
         16,                                          11,
         {7, 1, 9, 7, 2, 9, 9, 0, 0, 0, 0},
         "byte 4 of 11: a changed run goes"                                                                                 },
        {"M29 unchanged run of 0 inside",
         PAGE,                                        6,
         {0, 1, 7, 0, 1, 7},
         "byte 3 of 6: an unchanged run of no bytes"                                                                        },
        {"M29 changed run of 0",                PAGE, 2,  {5, 0},       "byte 1 of 2: a changed run of no bytes"            },
        {"M29 changed run of 0, two bytes",
         PAGE,                                        3,
         {5, 0x80, 0},
         "byte 1 of 3: a changed run of no bytes"                                                                           },
        {"M29 length of three bytes",
         PAGE,                                        5,
         {0x80, 0x80, 1, 1, 7},
         "byte 0 of 5: the length of an unchanged"                                                                          },
        {"M29 changed length of three bytes",
         PAGE,                                        5,
         {0, 0x81, 0x80, 0, 7},
         "byte 1 of 5: the length of a changed"                                                                             },
        {"M29 cut inside a length",             PAGE, 1,  {0x80},       "byte 0 of 1: the length of an unchanged"           },
        {"M29 cut behind the unchanged run",
         PAGE,                                        1,
         {1},
         "byte 1 of 1: the length of a changed run"                                                                         },
        {"M29 cut inside the changed length",
         PAGE,                                        2,
         {1, 0x80},
         "byte 1 of 2: the length of a changed run"                                                                         },
        {"M29 cut inside literals",             PAGE, 4,  {0, 3, 7, 7}, "byte 1 of 4: a changed run is cut"                 },
        {"M29 ends with an unchanged run",
         PAGE,                                        4,
         {0, 1, 7, 5},
         "byte 4 of 4: the length of a changed"                                                                             },
    };
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bad *row, xbzrle, refuses)
{
    g_autofree uint8_t *delta = g_malloc(MAX(row->n, 1)), *page = g_malloc(row->page_size);
    g_autoptr(GError) error = NULL;

    memcpy(delta, row->delta, row->n);
    memset(page, 0x55, row->page_size);
    cr_assert_not(ferry_xbzrle_decode(delta, row->n, page, row->page_size, &error), "%s",
                  row->what);
    cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED));
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
    for (unsigned i = 0; i < row->page_size; i++) {
        cr_assert_eq(page[i], 0x55, "%s: the page changed", row->what);
    }
}

/* QEMU's decoder takes a short length in two bytes, and a first run of none. */
Test(xbzrle, accepts_long_forms_of_short_lengths)
{
    static const uint8_t delta[] = {0x80, 0x00, 0x81, 0x00, 9};
    uint8_t page[PAGE] = {0};

    cr_assert(ferry_xbzrle_decode(delta, sizeof delta, page, PAGE, NULL));
    cr_expect_eq(page[0], 9);
}

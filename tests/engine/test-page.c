#include <criterion/criterion.h>
#include <string.h>
#include "engine/page.h"

static _Alignas(4096) uint8_t pages[200][4096];

Test(page, a_bit_anywhere_makes_it_not_zero)
{
    cr_assert(ferry_page_is_zero(pages[0]));
    for (unsigned bit = 0; bit < 4096 * 8; bit++) {
        pages[0][bit / 8] = (uint8_t)(1u << (bit % 8));
        cr_assert_not(ferry_page_is_zero(pages[0]), "bit %u", bit);
        pages[0][bit / 8] = 0;
    }
}

/* The neighbours are not zero: a scan that reads too far says so. */
Test(page, every_scan_agrees_with_the_plain_one)
{
    const char *name = NULL;
    FerryPageScan plain = ferry_page_scan(0, &name), scan;

    cr_assert_str_eq(name, "plain");
    memset(pages[0], 0xff, 4096);
    memset(pages[2], 0xff, 4096);
    for (unsigned i = 0; (scan = ferry_page_scan(i, &name)); i++) {
        cr_assert(scan(pages[1]), "%s", name);
        for (unsigned byte = 0; byte < 4096; byte++) {
            for (unsigned value = 1; value < 256; value <<= 1) {
                pages[1][byte] = (uint8_t)value;
                cr_assert_eq(scan(pages[1]), plain(pages[1]), "%s, byte %u", name, byte);
                cr_assert_not(scan(pages[1]), "%s, byte %u", name, byte);
            }
            pages[1][byte] = 0;
        }
    }
}

Test(page, a_run_is_its_pages_one_by_one)
{
    for (unsigned i = 0; i < 200; i++) {
        pages[i][(i * 37) % 4096] = i % 3 == 1 || i % 7 == 2;
    }
    for (unsigned n = 0; n <= 200; n++) {
        uint64_t zero[5] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
        ferry_page_zero_run(pages, n, zero);
        for (unsigned i = 0; i < (n + 63) / 64 * 64; i++) {
            cr_assert_eq(zero[i / 64] >> (i % 64) & 1, i < n && ferry_page_is_zero(pages[i]),
                         "%u of %u", i, n);
        }
        cr_assert_eq(zero[(n + 63) / 64], ~0ull, "behind %u", n);
    }
}

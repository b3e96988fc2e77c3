#include <criterion/criterion.h>
#include <string.h>
#include "engine/page.h"

Test(page, a_bit_anywhere_makes_it_not_zero)
{
    static _Alignas(4096) uint8_t page[4096];
    cr_assert(ferry_page_is_zero(page));
    for (unsigned bit = 0; bit < 4096 * 8; bit++) {
        page[bit / 8] = (uint8_t)(1u << (bit % 8));
        cr_assert_not(ferry_page_is_zero(page), "bit %u", bit);
        page[bit / 8] = 0;
    }
}

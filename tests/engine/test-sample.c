#include <criterion/criterion.h>
#include <string.h>
#include "engine/source-sample.h"
#include "protocol/ram.h"

#define PAGES 6400u

static uint8_t *ram;
static FerryMemory *memory;
static FerrySample *sample;

static void set_up(void)
{
    ram = g_malloc0(PAGES * FERRY_PAGE_SIZE);
    memory = ferry_memory_new();
    cr_assert(ferry_memory_add(memory, "ram", ram, PAGES * FERRY_PAGE_SIZE, NULL));
    sample = ferry_sample_new(memory);
}

static void tear_down(void)
{
    ferry_sample_free(sample);
    ferry_memory_free(memory);
    g_free(ram);
}

static void send_all(uint64_t at_once)
{
    for (uint64_t page = 0; page < PAGES; page += at_once) {
        ferry_sample_pages(sample, 0, page, MIN(at_once, PAGES - page));
    }
}

TestSuite(sample, .init = set_up, .fini = tear_down);

Test(sample, nothing_is_sent_again_at_first)
{
    send_all(128);
    cr_expect_eq(ferry_sample_unchanged(sample), 0);
}

Test(sample, one_page_of_64_is_looked_at_however_they_go)
{
    send_all(128);
    send_all(128);
    cr_expect_eq(ferry_sample_unchanged(sample), 100);
    send_all(1);
    cr_expect_eq(ferry_sample_unchanged(sample), 200);
    send_all(37);
    cr_expect_eq(ferry_sample_unchanged(sample), 300);
}

Test(sample, what_was_written_is_not_the_same)
{
    send_all(128);
    for (uint64_t page = 0; page < PAGES; page++) {
        ram[page * FERRY_PAGE_SIZE + page % FERRY_PAGE_SIZE] = 1;
    }
    send_all(128);
    cr_expect_eq(ferry_sample_unchanged(sample), 0);
    memset(ram, 7, PAGES / 2 * FERRY_PAGE_SIZE);
    send_all(128);
    cr_expect_eq(ferry_sample_unchanged(sample), 50);
}

Test(sample, a_block_may_end_anywhere)
{
    g_autoptr(FerryMemory) small = ferry_memory_new();
    g_autoptr(FerrySample) of_small = NULL;

    cr_assert(ferry_memory_add(small, "rom", ram, 3 * FERRY_PAGE_SIZE, NULL));
    of_small = ferry_sample_new(small);
    ferry_sample_pages(of_small, 0, 0, 3);
    ferry_sample_pages(of_small, 0, 2, 1);
    ferry_sample_pages(of_small, 0, 0, 3);
    cr_expect_leq(ferry_sample_unchanged(of_small), 1);
}

#include "tools/vm/workload.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "tools/vm/error.h"

#define TICKS 1000000u /* a second */

static WorkloadFacts facts_of(const char *text, uint64_t ram_bytes, unsigned n_vcpus)
{
    WorkloadOptions options;
    WorkloadFacts facts;

    cr_assert(workload_parse(text, &options, NULL));
    cr_assert(workload_facts(&options, ram_bytes, n_vcpus, TICKS, &facts, NULL));
    return facts;
}

typedef struct {
    char text[48];
} Kind;

ParameterizedTestParameters(workload, every_page_is_written_and_none_outside)
{
    static Kind rows[] = {
        {"uniform,size=400K"}, {"hot-cold,size=400K"}, {"hot-cold,size=400K,hot=400K"},
        {"sweep,size=400K"},   {"zipf,size=400K"},     {"idle,size=400K"},
        {"zipf,size=4K"},      {"uniform,size=4K"}};
    return cr_make_param_array(Kind, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Kind *row, workload, every_page_is_written_and_none_outside)
{
    WorkloadFacts facts = facts_of(row->text, 64u << 20, 2);
    g_autofree unsigned *times = g_new0(unsigned, facts.pages);

    for (uint64_t counter = 1; counter <= 100000; counter++) {
        uint64_t page = workload_page(&facts, 1, counter);
        cr_assert_lt(page, facts.pages);
        times[page]++;
    }
    for (uint64_t page = 0; page < facts.pages; page++) {
        cr_assert_gt(times[page], 0, "%s: page %u", row->text, (unsigned)page);
    }
}

Test(workload, share_of_the_writes_goes_to_the_hot_set)
{
    WorkloadFacts facts = facts_of("hot-cold,size=4M,hot=400K,share=75", 64u << 20, 1);
    unsigned hot = 0;

    for (uint64_t counter = 1; counter <= 100000; counter++) {
        hot += workload_page(&facts, 0, counter) < facts.hot_pages;
    }
    cr_expect(hot > 74000 && hot < 76000, "%u of 100000", hot);
}

Test(workload, vcpus_and_seeds_have_their_own_sequences)
{
    WorkloadFacts facts = facts_of("uniform,size=4M", 64u << 20, 2);
    WorkloadFacts other = facts_of("uniform,size=4M,seed=2", 64u << 20, 2);
    unsigned same_vcpu = 0, same_seed = 0;

    for (uint64_t counter = 1; counter <= 1000; counter++) {
        uint64_t page = workload_page(&facts, 0, counter);
        same_vcpu += page == workload_page(&facts, 1, counter);
        same_seed += page == workload_page(&other, 0, counter);
    }
    cr_expect_lt(same_vcpu, 20);
    cr_expect_lt(same_seed, 20);
}

Test(workload, slice_does_what_is_due_and_rests)
{
    WorkloadFacts facts = facts_of("sweep,size=4M,rate=1000", 64u << 20, 1);
    g_autofree uint8_t *memory = g_malloc0(facts.pages * WORKLOAD_PAGE);
    WorkloadState state = {0};
    uint64_t now = 0, rest = 0;

    while (now < TICKS) {
        rest = workload_slice(&facts, &state, memory, 0, now);
        cr_assert_gt(rest, 0);
        now += rest;
    }
    cr_expect(state.counter >= 999 && state.counter <= 1001, "%u", (unsigned)state.counter);
    /* An hour's pause is not made up for, and a clock that went back changes nothing. */
    now += UINT64_C(3600) * TICKS;
    workload_slice(&facts, &state, memory, 0, now);
    cr_expect_leq(state.counter, 1030);
    rest = workload_slice(&facts, &state, memory, 0, 5);
    cr_expect_leq(rest, TICKS / 4);
    workload_slice(&facts, &state, memory, 0, 5 + rest);
    cr_expect_leq(state.counter, 1040);
    cr_expect_eq(((uint64_t *)memory)[0], workload_value(0, 1));
}

Test(workload, without_a_rate_there_is_no_rest)
{
    WorkloadFacts facts = facts_of("uniform,size=4M", 64u << 20, 1);
    g_autofree uint8_t *memory = g_malloc0(facts.pages * WORKLOAD_PAGE);
    WorkloadState state = {0};

    cr_expect_eq(workload_slice(&facts, &state, memory, 0, 1), 0);
    cr_expect_gt(state.counter, 0);
}

Test(workload, letters_come_in_order_and_not_too_often)
{
    WorkloadFacts facts = facts_of("idle,size=4M", 64u << 20, 2);
    WorkloadState state = {0};
    char text[32];
    unsigned n = 0;

    for (uint64_t now = 0; now < 7 * TICKS; now += TICKS / 100) {
        unsigned char letter = workload_letter(&facts, &state, 0, now);
        if (letter != 0) {
            text[n++] = (char)letter;
        }
        cr_assert_eq(workload_letter(&facts, &state, 1, now), 0);
    }
    text[n] = '\0';
    cr_expect_str_eq(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZAB");
}

Test(workload, what_does_not_fit_is_refused)
{
    WorkloadOptions options;
    WorkloadFacts facts;

    cr_assert(workload_parse("uniform,size=64M", &options, NULL));
    cr_expect_not(workload_facts(&options, 64u << 20, 1, TICKS, &facts, NULL));
    cr_expect(workload_facts(&options, 68u << 20, 1, TICKS, &facts, NULL));
    cr_assert(workload_parse("uniform", &options, NULL));
    cr_expect_not(workload_facts(&options, 4u << 20, 1, TICKS, &facts, NULL));
    cr_assert(workload_parse("hot-cold,size=1M,hot=2M", &options, NULL));
    cr_expect_not(workload_facts(&options, 64u << 20, 1, TICKS, &facts, NULL));
}

typedef struct {
    size_t offset; /* of a 64-bit member */
    uint64_t value;
} Lie;

ParameterizedTestParameters(workload, facts_of_a_peer_are_checked)
{
    static Lie rows[] = {
        {offsetof(WorkloadFacts, magic),            1                    },
        {offsetof(WorkloadFacts, kind),             UINT64_C(0x200000009)}, /* kind 9, 2 vCPUs */
        {offsetof(WorkloadFacts, kind),             UINT64_C(0x300000000)}, /* 3 vCPUs */
        {offsetof(WorkloadFacts, pages),            0                    },
        {offsetof(WorkloadFacts, pages),            UINT64_MAX           },
        {offsetof(WorkloadFacts, pages),            15361                },
        {offsetof(WorkloadFacts, hot_pages),        0                    },
        {offsetof(WorkloadFacts, hot_pages),        1u << 20             },
        {offsetof(WorkloadFacts, ticks_per_second), 0                    },
    };
    return cr_make_param_array(Lie, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Lie *row, workload, facts_of_a_peer_are_checked)
{
    WorkloadFacts facts = facts_of("uniform,size=60M", 64u << 20, 2);

    cr_assert(workload_facts_check(&facts, 64u << 20, 2, NULL));
    memcpy((uint8_t *)&facts + row->offset, &row->value, sizeof row->value);
    cr_expect_not(workload_facts_check(&facts, 64u << 20, 2, NULL));
}

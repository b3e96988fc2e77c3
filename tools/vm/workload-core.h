/* The built-in guest program, as far as it is the same inside a guest (workload-guest.c, ring 3 of
 * a vCPU) and in a thread of this process (process.c): plain functions of values, without calls,
 * constants in memory or a clock, so that the compiler's output can be copied anywhere and run.
 *
 * Guest memory (offsets in the RAM block; tests read them through -mem-path):
 *
 *   0x1000    page tables: PML4, PDPT; one page directory per GiB from 0x100000 on
 *   0x6000    WorkloadFacts, written before the guest starts and never again
 *   0x8000    code
 *   0x10000   WorkloadState of vCPU 0, the next one 0x1000 further; the vCPU's stack is the upper
 *             end of the same page
 *   0x400000  the working set, facts.pages pages of 4096 bytes
 *
 * A write adds one to the vCPU's counter and stores ((vCPU + 1) << 56 | counter) in the 8 bytes at
 * 8 * vCPU of a page, which page being a function of facts, vCPU and counter alone
 * (workload_page). So the counters say what every page must hold, and nothing can be lost,
 * repeated or torn unseen: at any instant each vCPU's latest value is its counter or one less. */
#pragma once
#include <stdint.h>

#define WORKLOAD_PAGE_TABLES 0x1000u
#define WORKLOAD_FACTS 0x6000u
#define WORKLOAD_CODE 0x8000u
#define WORKLOAD_STATES 0x10000u
#define WORKLOAD_DIRECTORIES 0x100000u
#define WORKLOAD_BASE 0x400000u
#define WORKLOAD_PAGE 4096u
#define WORKLOAD_MAX_VCPUS 4

/* The guest writes here how many clock ticks (32 bit) it has nothing to do: the vCPU thread sleeps
 * instead of burning a processor. */
#define WORKLOAD_REST_PORT 0xfe2u
#define WORKLOAD_SERIAL_PORT 0x3f8u

typedef enum {
    WORKLOAD_UNIFORM,  /* every page as likely as any other */
    WORKLOAD_HOT_COLD, /* hot_share of the writes go to the first hot_pages, the rest behind */
    WORKLOAD_SWEEP,    /* one page after the other */
    WORKLOAD_ZIPF,     /* the page of rank r with a likelihood of about 1 / r, ranks scattered */
    WORKLOAD_IDLE,     /* a sweep of one write a second */
    WORKLOAD_N_KINDS,
} WorkloadKind;

#define WORKLOAD_MAGIC UINT64_C(0x314b524f57595246) /* "FRYWORK1" */

typedef struct {
    uint64_t magic;
    uint32_t kind; /* WorkloadKind */
    uint32_t n_vcpus;
    uint64_t pages; /* of the working set; 1 .. 2^32 - 1 */
    uint64_t hot_pages;
    uint64_t hot_share; /* out of 2^32 */
    uint64_t seed;
    uint64_t ticks_per_second; /* of the clock that the program reads */
    uint64_t write_ticks_q8;   /* one vCPU's time from write to write, in 1/256 tick; 0 = unpaced */
} WorkloadFacts;

typedef struct {
    volatile uint64_t counter; /* writes begun */
    uint64_t letters;          /* printed by vCPU 0: A to Z and round again */
    uint64_t next_q8;          /* when the next write is due, in 1/256 tick */
    uint64_t letter_tick;      /* when the next letter is due */
} WorkloadState;

#define WORKLOAD_INLINE static inline __attribute__((always_inline, unused))

/* The finisher of SplitMix64: a random number for each number. */
WORKLOAD_INLINE uint64_t workload_random(uint64_t x)
{
    x *= UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* @random's upper 32 bits, scaled to 0 .. n - 1; n < 2^32. */
WORKLOAD_INLINE uint64_t workload_below(uint64_t random, uint64_t n)
{
    return ((random >> 32) * n) >> 32;
}

/* A power law of exponent 1 in steps: each octave of ranks (1, 2..3, 4..7, ...) is as likely as any
 * other, and uniform inside. */
WORKLOAD_INLINE uint64_t workload_zipf(uint64_t random, uint64_t pages)
{
    unsigned octaves = 64 - (unsigned)__builtin_clzll(pages);
    uint64_t first = UINT64_C(1) << (((random & 0xffff) * octaves) >> 16);
    uint64_t n = pages - first + 1 < first ? pages - first + 1 : first;
    uint64_t rank = first - 1 + workload_below(random, n);

    /* The factor is a prime above every number of pages, so every rank has its own page. */
    return rank * UINT64_C(4294967311) % pages;
}

/* The page that @vcpu's write number @counter (from 1) goes to. */
WORKLOAD_INLINE uint64_t workload_page(const WorkloadFacts *facts, unsigned vcpu, uint64_t counter)
{
    uint64_t random;

    if (facts->kind == WORKLOAD_SWEEP || facts->kind == WORKLOAD_IDLE) {
        return (counter - 1 + facts->pages * vcpu / facts->n_vcpus) % facts->pages;
    }
    random = workload_random(facts->seed + ((uint64_t)vcpu << 56) + counter);
    if (facts->kind == WORKLOAD_ZIPF) {
        return workload_zipf(random, facts->pages);
    }
    if (facts->kind == WORKLOAD_HOT_COLD) {
        uint64_t cold = facts->pages - facts->hot_pages;
        uint64_t within = random * UINT64_C(0xd6e8feb86659fd93); /* no part in the choice of set */
        return (random & 0xffffffff) < facts->hot_share || cold == 0
                   ? workload_below(within, facts->hot_pages)
                   : facts->hot_pages + workload_below(within, cold);
    }
    return workload_below(random, facts->pages);
}

WORKLOAD_INLINE uint64_t workload_value(unsigned vcpu, uint64_t counter)
{
    return ((uint64_t)vcpu + 1) << 56 | counter;
}

/* The counter goes first, so that no page is ever ahead of it. */
WORKLOAD_INLINE void workload_write(const WorkloadFacts *facts, WorkloadState *state,
                                    uint8_t *working_set, unsigned vcpu)
{
    uint64_t counter = state->counter + 1;
    uint64_t page = workload_page(facts, vcpu, counter);

    state->counter = counter;
    ((volatile uint64_t *)(working_set + page * WORKLOAD_PAGE))[vcpu] =
        workload_value(vcpu, counter);
}

/* Does the writes that are due at @now and answers how many ticks to rest; 0: there is more to do.
 * What is overdue by more than 20 ms (a pause, a migration) is dropped, not made up for. A clock
 * that went back (a TSC that this host cannot offset) does not hold the program up. */
WORKLOAD_INLINE uint64_t workload_slice(const WorkloadFacts *facts, WorkloadState *state,
                                        uint8_t *working_set, unsigned vcpu, uint64_t now)
{
    uint64_t interval = facts->write_ticks_q8, now_q8 = now << 8;
    uint64_t bound = ((facts->ticks_per_second / 50) << 8) + interval, left;

    if (interval != 0 && state->next_q8 + bound - now_q8 > 2 * bound) { /* further off than bound */
        state->next_q8 = now_q8;
    }
    for (left = 4096; left > 0 && (interval == 0 || state->next_q8 <= now_q8); left--) {
        workload_write(facts, state, working_set, vcpu);
        state->next_q8 += interval;
    }
    if (left == 0 || interval == 0) {
        return 0;
    }
    left = (state->next_q8 - now_q8) >> 8;
    /* Often enough for letters, seldom enough to cost nothing. */
    left = left < facts->ticks_per_second / 4 ? left : facts->ticks_per_second / 4;
    return left > facts->ticks_per_second / 1000 ? left : facts->ticks_per_second / 1000;
}

/* vCPU 0 prints a letter every quarter of a second; 0: none is due. */
WORKLOAD_INLINE unsigned char workload_letter(const WorkloadFacts *facts, WorkloadState *state,
                                              unsigned vcpu, uint64_t now)
{
    uint64_t interval = facts->ticks_per_second / 4;

    if (vcpu != 0 || state->letter_tick - now - 1 < interval) { /* in (now, now + interval] */
        return 0;
    }
    state->letter_tick = now + interval;
    return (unsigned char)('A' + state->letters++ % 26);
}

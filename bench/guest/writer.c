/* A guest that writes pages at a given rate, in ring 3 of long mode; boot.S starts it. Nothing else
 * runs there: between writes it spins, because nothing is there that would wake it. */
#include "bench/guest/writer.h"
#include "tools/vm/workload-core.h"

_Static_assert(sizeof(WorkloadFacts) == WRITER_FILL_OFFSET, "boot.S copies them");
_Static_assert(WRITER_FACTS == WORKLOAD_FACTS && WRITER_STATE == WORKLOAD_STATES &&
                   WRITER_DIRECTORIES == WORKLOAD_DIRECTORIES && WRITER_IDLE == WORKLOAD_IDLE,
               "as -workload has it");

static uint64_t read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

#define WORDS 32
static const char words[] = /* of 8 letters */
    "and the of pages in turnwritten\na source that ismemory, nothing 0.000000\tif (n !"
    "= NULL) return 0for (i = static unsigneduint64_t<tr><td></td></tclass=\"ahttp://w"
    "2026-01-T00:00:0INFO    request         --------========\r\n\r\n    content-length: "
    "keep-alive; q=0.";
_Static_assert(sizeof words == WORDS * 8 + 1, "32 words");

static void fill(uint64_t *to, uint64_t n_words, uint64_t kind, uint64_t seed)
{
    for (uint64_t i = 0; i < n_words; i++) {
        uint64_t random = workload_random(~seed - i);
        if (kind == WRITER_FILL_RANDOM) {
            to[i] = random;
        } else if (kind == WRITER_FILL_TEXT) {
            __builtin_memcpy(to + i, words + (random >> 59) * 8, sizeof *to);
        }
    }
}

__attribute__((noreturn)) void writer_main(void);
void writer_main(void)
{
    const WorkloadFacts *facts = (const WorkloadFacts *)(uintptr_t)WORKLOAD_FACTS;
    const uint32_t *how = (const uint32_t *)(uintptr_t)(WRITER_FACTS + WRITER_FILL_OFFSET);
    WorkloadState *state = (WorkloadState *)(uintptr_t)WORKLOAD_STATES;
    uint8_t *working_set = (uint8_t *)(uintptr_t)WORKLOAD_BASE;
    /* A busy host holds the guest up; so much is made up for, more (a migration's pause) is not. */
    const uint64_t bound = (facts->ticks_per_second * how[1] / 1000) << 8;

    if (*how != WRITER_FILL_ZERO) {
        fill((uint64_t *)working_set, facts->pages * WORKLOAD_PAGE / 8, *how, facts->seed);
    }
    *(volatile uint64_t *)(uintptr_t)WRITER_READY = 1;
    for (;;) {
        uint64_t now = read_tsc(), now_q8 = now << 8;
        if (now_q8 - state->next_q8 + bound > 2 * bound) { /* the start, or too far behind */
            state->next_q8 = now_q8;
        }
        for (; state->next_q8 <= now_q8; state->next_q8 += facts->write_ticks_q8) {
            workload_write(facts, state, working_set, 0);
        }
        while (read_tsc() - now < facts->ticks_per_second / 1000) {
            __asm__ volatile("pause");
        }
    }
}

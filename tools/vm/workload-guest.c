/* What a vCPU runs under -workload: the bytes of this one function are copied into guest memory and
 * entered in ring 3 of long mode, with addresses equal to offsets in the RAM block. Built so that
 * they need nothing else: no library, no SSE, no tables, no instrumentation. */
#include "tools/vm/workload-core.h"
#include "tools/vm/workload-guest.h"

static inline __attribute__((always_inline)) uint64_t read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* The only thing in its section, so the section's first byte is the entry. */
__attribute__((noreturn, used, section("ferry_guest"))) static void guest_entry(unsigned vcpu)
{
    const WorkloadFacts *facts = (const WorkloadFacts *)(uintptr_t)WORKLOAD_FACTS;
    WorkloadState *state =
        (WorkloadState *)((uintptr_t)WORKLOAD_STATES + (uintptr_t)vcpu * WORKLOAD_PAGE);
    uint8_t *working_set = (uint8_t *)(uintptr_t)WORKLOAD_BASE;

    for (;;) {
        uint64_t now = read_tsc();
        uint64_t rest = workload_slice(facts, state, working_set, vcpu, now);
        unsigned char letter = workload_letter(facts, state, vcpu, now);
        if (letter != 0) {
            __asm__ volatile("outb %0, %1" : : "a"(letter), "Nd"((uint16_t)WORKLOAD_SERIAL_PORT));
        }
        if (rest != 0) {
            uint32_t ticks = rest > UINT32_MAX ? UINT32_MAX : (uint32_t)rest;
            __asm__ volatile("outl %0, %1" : : "a"(ticks), "Nd"((uint16_t)WORKLOAD_REST_PORT));
        }
    }
}

extern const uint8_t __start_ferry_guest[], __stop_ferry_guest[]; /* from the linker */
const uint8_t *const workload_code = __start_ferry_guest;
const uint8_t *const workload_code_end = __stop_ferry_guest;

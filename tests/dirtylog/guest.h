/* A small guest on /dev/kvm for tests and benchmarks: its vCPUs run one of two programs in 64-bit
 * user mode on memory that the caller owns.
 *
 *   guest address   host
 *   0               page tables and code, private
 *   1 MiB           GuestControl, the caller's page
 *   1 GiB           the caller's memory, in one or more slots
 */
#pragma once
#include "dirtylog/dirtylog.h"

#define GUEST_PAGE 4096u
#define GUEST_N_HOT 128u
#define GUEST_N_WORDS 4u /* at most so many writers, each with its own word of every page */
#define GUEST_MEMORY_MAX (UINT64_C(16) << 30) /* bytes */

/* What the host tells the program and hears from it, while it runs: every access is atomic. The
 * program knows the offsets. */
typedef struct {
    uint64_t n_pages;
    uint64_t cold_limit; /* random: that many writes anywhere in memory, per vCPU */
    uint64_t stride;     /* sweep: in pages */
    uint64_t sweeps_wanted;
    uint64_t sweeps_done;
    uint64_t longest_gap; /* sweep: in TSC ticks, between two writes; set it to 0 at any time */
    uint64_t spare[2];
    uint64_t hot[GUEST_N_HOT]; /* random: the pages written all the time */
    /* For each word, the last number whose write is over, which for a writer that marks is later
     * than visible. UINT64_MAX: visible is over. For threads, not for the guest. */
    uint64_t over[GUEST_N_WORDS];
} GuestControl;
G_STATIC_ASSERT(sizeof(GuestControl) <= GUEST_PAGE);

typedef enum {
    /* Writes an ever increasing number into word v (the vCPU's index) of hot pages, now and then
     * of any page. */
    GUEST_RANDOM,
    /* Writes one word of every stride-th page in order, sweeps_wanted times over. */
    GUEST_SWEEP,
} GuestProgram;

typedef struct Guest Guest;
/* Borrows @memory and @control (page-aligned; n_pages is set). @slot_pages: how the memory is cut
 * into slots, each but the last a multiple of 64 pages. @ring_bytes: 0 for no dirty ring. The error
 * is FERRY_DIRTY_LOG_ERROR_UNSUPPORTED when this machine cannot do it: skip the test. */
Guest *guest_new(void *memory, GuestControl *control, const uint64_t *slot_pages, unsigned n_slots,
                 unsigned n_vcpus, uint32_t ring_bytes, GuestProgram program, uint64_t seed,
                 GError **error);
/* The slots of the caller's memory, all of block 0. */
const FerryKvmSlot *guest_slots(const Guest *guest);
int guest_vm_fd(const Guest *guest);
const int *guest_vcpu_fds(const Guest *guest);
/* Whom a vCPU asks to collect when its ring is full. Borrowed; before the guest runs. */
void guest_set_ring_log(Guest *guest, FerryDirtyLog *log);
void guest_run(Guest *guest);
/* Returns when no vCPU is in KVM_RUN. */
void guest_pause(Guest *guest);
/* Any thread: sends each vCPU's thread a signal whose handler does nothing. */
void guest_disturb(Guest *guest);
void guest_free(Guest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)

/* The threads that run a guest, one for each vCPU, whatever a vCPU is made of: they start together,
 * stand still together, and can be held to a share of the time. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* Why a vCPU cannot go on. */
typedef enum {
    VERDICT_NONE,
    VERDICT_SHUTDOWN,       /* a triple fault, or the guest reset the machine */
    VERDICT_INTERNAL_ERROR, /* the accelerator gave up; it has been reported on stderr */
} Verdict;

typedef struct Vcpus Vcpus;
typedef struct {
    /* In the vCPU's own thread: run the guest until vcpus_interrupted(), and leave nothing half
     * done: when it returns, the vCPU's state is complete. */
    Verdict (*run)(void *self, Vcpus *vcpus, unsigned index);
    /* In the vCPU's thread, without locks, after a verdict: must not wait for the vCPUs. */
    void (*stopped)(void *self, Verdict verdict);
} VcpuOps;

/* Threads that stand still until vcpus_start. Borrows @ops and @self. */
Vcpus *vcpus_new(unsigned n, const VcpuOps *ops, void *self);
/* The following four: any thread but a vCPU's. */
void vcpus_start(Vcpus *vcpus);
/* On return every vCPU is out of the guest and stands still. */
void vcpus_pause(Vcpus *vcpus);
/* Run (100 - @percent) % of the time, in periods of 10 ms of running; 0 ends it. Never delays
 * vcpus_pause. */
void vcpus_throttle(Vcpus *vcpus, unsigned percent);
/* The first verdict since vcpus_start; any thread. */
Verdict vcpus_verdict(Vcpus *vcpus);
void vcpus_free(Vcpus *vcpus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vcpus, vcpus_free)

/* For run(). Whether to come back. */
gboolean vcpus_interrupted(const Vcpus *vcpus);
/* Sleeps, at most until there is a reason to come back. */
void vcpus_rest(Vcpus *vcpus, uint64_t ns);
/* Names the byte (kvm_run.immediate_exit) that a kick of the calling thread sets to 1, so that no
 * kick is lost between the last look at vcpus_interrupted and the system call that enters the
 * guest. */
void vcpus_set_immediate_exit(volatile uint8_t *immediate_exit);

G_END_DECLS

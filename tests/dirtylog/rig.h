/* Guest memory, those who write it and the log that watches it, by the log's name:
 *
 *   kvm-bitmap, kvm-plain   a vCPU
 *   kvm-ring                two vCPUs, rings that fill up
 *   kvm-ring-signals        the same, while signals hail down on the vCPUs and on who made the rig
 *   kvm-ring-stops          the same, while the process is stopped and continued all the time
 *   pagemap-own             a vCPU, a thread that also discards pages, a thread in system calls
 *   pagemap-other           a child process with a vCPU and two such threads (no discarding)
 *   marks                   two threads that mark
 *   combined                a vCPU under kvm-bitmap and a thread that marks
 */
#pragma once
#include "tests/dirtylog/guest.h"

typedef struct {
    uint64_t *memory; /* as this process sees it */
    uint64_t n_pages;
    GuestControl *control;
    FerryDirtyLog *log; /* one block */
    struct RigPrivate *p;
} Rig;

/* 256 MiB and 16 pages, in two slots; nobody runs yet. FERRY_DIRTY_LOG_ERROR_UNSUPPORTED when this
 * machine cannot do it. */
Rig *rig_new(const char *name, uint64_t seed, GError **error);
void rig_run(Rig *rig);
/* Returns when nobody writes. */
void rig_pause(Rig *rig);
void rig_free(Rig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

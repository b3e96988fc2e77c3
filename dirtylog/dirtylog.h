/* Where dirty pages come from. A log covers the blocks of one guest's memory, by their index.
 *
 * The promise that keeps pages: a page is at every instant clean at the peer, or in the bitmap
 * handed out by a sync, or protected so that its next write is logged. Hence the order: sync,
 * ferry_dirty_log_clear() of a page, only then read the page.
 *
 * One thread calls start, sync, clear, stop. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <sys/types.h>
#include "dirtylog/bitmap.h"

G_BEGIN_DECLS

#define FERRY_DIRTY_LOG_ERROR (ferry_dirty_log_error_quark())
GQuark ferry_dirty_log_error_quark(void);
typedef enum {
    FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, /* the kernel lacks it; the message names the capability */
    FERRY_DIRTY_LOG_ERROR_IOCTL,       /* the kernel refused; pages may be missing: do not go on */
    FERRY_DIRTY_LOG_ERROR_INVALID,     /* a chunk size, slot or region that cannot be */
} FerryDirtyLogError;

/* Only set_chunk, clear and cleared_pages may be NULL. */
typedef struct {
    const char *name;
    /* How many bytes clear will be asked for at once, from now on. NULL: it does not matter. */
    void (*set_chunk)(void *self, uint64_t bytes);
    /* Begin tracking. Every page counts as dirty until the first sync, which reports all. */
    gboolean (*start)(void *self, GError **error);
    /* OR into @dirty the pages of @block written since they were last cleared (with no clear:
     * since the previous sync). */
    gboolean (*sync)(void *self, unsigned block, FerryBitmap *dirty, GError **error);
    /* Protect the dirty pages among [first, first + n) again, just before they are read. first is a
     * multiple of 64 and so is n, unless the range reaches the block's end; with clears_exactly it
     * may be any range. Asked for a second time between two syncs, it finds nothing left to do.
     * Pages found written that no sync has reported yet may be OR'ed into @dirty here instead of at
     * the next sync. NULL: sync did it. */
    gboolean (*clear)(void *self, unsigned block, uint64_t first, uint64_t n, FerryBitmap *dirty,
                      GError **error);
    /* Ends tracking: the guest writes at full speed again. Called once for each start, also after
     * a failed one; start may follow again. */
    void (*stop)(void *self);
    /* Frees self. */
    void (*free)(void *self);
    gboolean clears_exactly;
    /* How many pages clear has protected since start. NULL: all that it was asked for. */
    uint64_t (*cleared_pages)(const void *self);
} FerryDirtyLogOps;

typedef struct {
    uint64_t syncs, sync_ns;   /* calls of sync and time in them */
    uint64_t clears, clear_ns; /* calls of clear and time in them */
    uint64_t longest_clear_ns;
    uint64_t cleared_pages; /* that were dirty and are protected again */
} FerryDirtyLogStats;       /* since start */

#define FERRY_DIRTY_LOG_CHUNK_MIN (256u << 10) /* bytes: 64 pages, KVM's granularity */
#define FERRY_DIRTY_LOG_CHUNK_DEFAULT (2u << 20)
/* Only the pages that are asked for; those beside them stay writable until their turn comes. Where
 * the log cannot do that, as FERRY_DIRTY_LOG_CHUNK_MIN. */
#define FERRY_DIRTY_LOG_CHUNK_EXACT 4096u

typedef struct FerryDirtyLog FerryDirtyLog;
/* Takes @self. @block_pages (copied): the size of each block in 4 KiB pages. */
FerryDirtyLog *ferry_dirty_log_new(const FerryDirtyLogOps *ops, void *self,
                                   const uint64_t *block_pages, unsigned n_blocks);
/* Bytes cleared at once: a power of two from FERRY_DIRTY_LOG_CHUNK_MIN on, or
 * FERRY_DIRTY_LOG_CHUNK_EXACT. At any time. */
gboolean ferry_dirty_log_set_chunk(FerryDirtyLog *log, uint64_t bytes, GError **error);
uint64_t ferry_dirty_log_get_chunk(const FerryDirtyLog *log);
/* Sets the chunk that suits what clears cost here, and what was asked for since the last call and
 * how fast. To be called once per sync, before it. */
void ferry_dirty_log_suit_chunk(FerryDirtyLog *log);
gboolean ferry_dirty_log_start(FerryDirtyLog *log, GError **error);
gboolean ferry_dirty_log_sync(FerryDirtyLog *log, unsigned block, FerryBitmap *dirty,
                              GError **error);
/* To be called before pages [first, first + n) are read. Clears the chunks that hold them, each
 * once per sync; costs a bit test when they are clear already. A longer range, as all of memory, is
 * cleared in larger pieces, with time for the guest between them. */
gboolean ferry_dirty_log_clear(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t n,
                               FerryBitmap *dirty, GError **error);
/* Does nothing on a log that is not started. */
void ferry_dirty_log_stop(FerryDirtyLog *log);
const char *ferry_dirty_log_get_name(const FerryDirtyLog *log);
unsigned ferry_dirty_log_n_blocks(const FerryDirtyLog *log);
uint64_t ferry_dirty_log_block_pages(const FerryDirtyLog *log, unsigned block);
void ferry_dirty_log_get_stats(const FerryDirtyLog *log, FerryDirtyLogStats *out_stats);
void ferry_dirty_log_free(FerryDirtyLog *log); /* stops it first */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDirtyLog, ferry_dirty_log_free)

/* A KVM memory slot and the part of a block that it shows to the guest. */
typedef struct {
    uint32_t slot;          /* as given to KVM_SET_USER_MEMORY_REGION */
    uint64_t guest_address; /* of its first byte */
    void *host;
    uint64_t n_pages;
    unsigned block;
    uint64_t first_page; /* of the block, a multiple of 64 */
} FerryKvmSlot;

/* KVM_GET_DIRTY_LOG. With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (and its "initially set" where
 * offered) chunks are cleared by KVM_CLEAR_DIRTY_LOG just before they are read; without it GET
 * protects again at once. start enables the capability and sets KVM_MEM_LOG_DIRTY_PAGES on every
 * slot, stop takes the flag off. Borrows @vm_fd; copies @slots. */
FerryDirtyLog *ferry_dirty_log_kvm_bitmap_new(int vm_fd, const FerryKvmSlot *slots,
                                              unsigned n_slots, const uint64_t *block_pages,
                                              unsigned n_blocks, GError **error);
/* Use the plain log even where manual protect is offered. Before start. */
void ferry_dirty_log_kvm_bitmap_set_plain(FerryDirtyLog *log);

/* KVM_CAP_DIRTY_LOG_RING(_ACQ_REL), which the embedder has enabled on @vm_fd with @ring_bytes
 * before it made a vCPU. Borrows the descriptors. Has a thread of its own, which takes no signals.
 * When the process is stopped meanwhile, a sync may report every page again. */
FerryDirtyLog *ferry_dirty_log_kvm_ring_new(int vm_fd, const int *vcpu_fds, unsigned n_vcpus,
                                            uint32_t ring_bytes, const FerryKvmSlot *slots,
                                            unsigned n_slots, const uint64_t *block_pages,
                                            unsigned n_blocks, GError **error);
/* Any thread; a vCPU calls it on KVM_EXIT_DIRTY_RING_FULL before it runs again. */
gboolean ferry_dirty_log_kvm_ring_collect(FerryDirtyLog *log, GError **error);

/* Asynchronous write protection by userfaultfd, read with PAGEMAP_SCAN (Linux 6.7). Works on our
 * own memory (@pid 0, @uffd -1: one is opened) and on another process's (@uffd: a userfaultfd
 * opened inside that process, taken). One region per block, addresses as in that process. */
typedef struct {
    uint64_t address, n_pages;
} FerryPagemapRegion;
FerryDirtyLog *ferry_dirty_log_pagemap_new(pid_t pid, int uffd, const FerryPagemapRegion *regions,
                                           unsigned n_regions, GError **error);

/* Pages marked by writers that no kernel log sees: device emulation, DMA, vhost. */
typedef struct FerryDirtyMarks FerryDirtyMarks;
FerryDirtyMarks *ferry_dirty_marks_new(const uint64_t *block_pages, unsigned n_blocks);
/* Any thread, wait-free. Call it after the write. */
void ferry_mark_dirty(FerryDirtyMarks *marks, unsigned block, uint64_t first_page,
                      uint64_t n_pages);
/* Borrows @marks, which must outlive the log. */
FerryDirtyLog *ferry_dirty_log_marks_new(FerryDirtyMarks *marks);
void ferry_dirty_marks_free(FerryDirtyMarks *marks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDirtyMarks, ferry_dirty_marks_free)

/* Several logs of the same blocks as one: a page is dirty when any says so. Takes the logs. */
FerryDirtyLog *ferry_dirty_log_combined_new(FerryDirtyLog *const *logs, unsigned n_logs);

G_END_DECLS

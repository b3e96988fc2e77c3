/* Which pages of another process's memory were written, all its mappings as they come and go. Pages
 * are numbered through, as in a page dirty trace: an address keeps its number for good, also when
 * something else is mapped there later.
 *
 * Writes are seen as they go through this process's page tables: its own, the kernel's on its
 * behalf (read(2) into a buffer), and KVM's for a guest in its memory. Not seen are those of others
 * to memory that they share with it. One thread. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <sys/types.h>
#include "dirtylog/maps.h"

G_BEGIN_DECLS

/* Pages [first, first + n). */
typedef struct {
    uint64_t first, n;
} FerryPageRun;

typedef struct {
    char *name;              /* "/usr/bin/redis-server", "[heap]", "[stack]", "anon 7f0012340000" */
    uint64_t address, pages; /* in the process */
    uint64_t first;          /* its first page's number */
    gboolean shared;
} FerryProcessArea;

/* Which mappings to record, of those that are memory. NULL: all. */
typedef gboolean (*FerryProcessWants)(void *data, const FerryMapping *mapping);

typedef struct FerryProcessLog FerryProcessLog;
/* Takes @uffd, which was opened inside @pid (dirtylog/inject.h). Nothing is recorded yet. @n_pages
 * numbers pages and goes on from there; shared by the logs of a trace; outlives them. */
FerryProcessLog *ferry_process_log_new(pid_t pid, int uffd, uint64_t *n_pages,
                                       FerryProcessWants wants, void *data, GError **error);
/* Looks for mappings that have come and records them as well from now on. What is in them counts as
 * written. FALSE: the kernel refused; a process that is gone is no error. */
gboolean ferry_process_log_find(FerryProcessLog *log, GError **error);
/* Adds to @runs (FerryPageRun, in no order) what was written since the call before; the process
 * goes on meanwhile. NULL: what is written so far is forgotten. */
gboolean ferry_process_log_take(FerryProcessLog *log, GArray *runs, GError **error);
/* The memory is gone: the process has ended, or begun another program. */
gboolean ferry_process_log_gone(const FerryProcessLog *log);
/* FerryProcessArea, in the order in which they were found: only ever more. Borrowed. */
const GPtrArray *ferry_process_log_areas(const FerryProcessLog *log);
/* Mappings that the kernel would not track (another userfaultfd is on them, as a rule). */
unsigned ferry_process_log_refused(const FerryProcessLog *log);
/* Adds runs of pages that have something in them now: present, swapped out or in a file. */
gboolean ferry_process_log_present(FerryProcessLog *log, GArray *runs, GError **error);
/* What is at @address now. FALSE: it cannot be read. */
gboolean ferry_process_log_read(const FerryProcessLog *log, uint64_t address, void *to, gsize n);
/* Ends the tracking; the process is as it was. */
void ferry_process_log_free(FerryProcessLog *log);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryProcessLog, ferry_process_log_free)

/* Sorts runs and makes one of those that touch or overlap. */
void ferry_page_runs_merge(GArray *runs);

G_END_DECLS

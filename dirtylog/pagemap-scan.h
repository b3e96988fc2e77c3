/* What everything that reads PAGEMAP_SCAN has in common: a userfaultfd that protects
 * asynchronously, a pagemap, and the loop around the scan. Not for other rooms. */
#pragma once
#include <glib.h>
#include <sys/types.h>
#include "dirtylog/pagemap-abi.h"

G_BEGIN_DECLS

#define FERRY_PAGEMAP_PAGE_BYTES 4096u
#define FERRY_PAGEMAP_N_FOUND 4096 /* runs fetched by one PAGEMAP_SCAN */

/* Sets @error from errno: "@what: ...". FALSE, and errno as it was. */
gboolean ferry_pagemap_fail(GError **error, int code, const char *what);
/* Asynchronous write protection, on a userfaultfd that nobody has asked anything yet. */
gboolean ferry_pagemap_enable(int uffd, GError **error);
/* /proc/@pid/pagemap, of this process if @pid is 0; -1: the kernel has no PAGEMAP_SCAN, or we may
 * not. It stays with the memory that the process has now, also behind an exec. */
int ferry_pagemap_open(pid_t pid, GError **error);
/* Walks [arg->start, arg->end) and hands each run to @found, which may refuse. vec, vec_len and
 * size are filled in here. @room: FERRY_PAGEMAP_N_FOUND of them. */
typedef gboolean (*FerryPagemapFound)(void *data, const struct page_region *run, GError **error);
gboolean ferry_pagemap_scan(int pagemap, struct pm_scan_arg *arg, struct page_region *room,
                            FerryPagemapFound found, void *data, GError **error);

G_END_DECLS

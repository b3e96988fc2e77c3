#include "dirtylog/pagemap-scan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dirtylog/dirtylog.h"

gboolean ferry_pagemap_fail(GError **error, int code, const char *what)
{
    int why = errno;

    g_set_error(error, FERRY_DIRTY_LOG_ERROR, code, "%s: %s", what, g_strerror(why));
    errno = why;
    return FALSE;
}

gboolean ferry_pagemap_enable(int uffd, GError **error)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED};

    return ioctl(uffd, UFFDIO_API, &api) == 0 ||
           ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "UFFD_FEATURE_WP_ASYNC");
}

int ferry_pagemap_open(pid_t pid, GError **error)
{
    g_autofree char *path =
        pid ? g_strdup_printf("/proc/%d/pagemap", (int)pid) : g_strdup("/proc/self/pagemap");
    struct pm_scan_arg nothing = {
        .size = sizeof nothing, .return_mask = PAGE_IS_WRITTEN, .category_mask = PAGE_IS_WRITTEN};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, path);
        return -1;
    }
    if (ioctl(fd, PAGEMAP_SCAN, &nothing) < 0) {
        ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "PAGEMAP_SCAN");
        close(fd);
        return -1;
    }
    return fd;
}

gboolean ferry_pagemap_scan(int pagemap, struct pm_scan_arg *arg, struct page_region *room,
                            FerryPagemapFound found, void *data, GError **error)
{
    arg->size = sizeof *arg;
    arg->vec = (uintptr_t)room;
    arg->vec_len = FERRY_PAGEMAP_N_FOUND;
    while (arg->start < arg->end) {
        int n_found = ioctl(pagemap, PAGEMAP_SCAN, arg);

        if (n_found < 0 || arg->walk_end <= arg->start) {
            return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "PAGEMAP_SCAN");
        }
        for (int i = 0; i < n_found; i++) {
            if (!found(data, &room[i], error)) {
                return FALSE;
            }
        }
        arg->start = arg->walk_end;
    }
    return TRUE;
}

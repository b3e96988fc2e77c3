/* Files that lie in ram_dir already, on memory: somebody touched it so that a migration need not.
 * Their mappings are made, with page tables, before anybody connects: for 1 GiB that would be
 * 300 ms of faults while pages arrive. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "engine/capture-private.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older ones take the faults later */
#endif

typedef struct {
    dev_t device;
    ino_t number;
    void *mapping;
    size_t size;
} Warm;

static void clear(gpointer data)
{
    Warm *w = data;

    if (w->mapping) {
        munmap(w->mapping, w->size);
    }
}

static void map_one(FerryCapture *c, const char *name)
{
    g_auto(FerryFd) fd =
        openat(c->ram_directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
        st.st_blocks * 512 < st.st_size || /* holes would be filled */
        (c->max_ram_bytes && (uint64_t)st.st_size > c->max_ram_bytes)) {
        return;
    }
    Warm w = {st.st_dev, st.st_ino, NULL, (size_t)st.st_size};
    w.mapping = mmap(NULL, w.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (w.mapping != MAP_FAILED) {
        (void)madvise(w.mapping, w.size, MADV_HUGEPAGE);
        (void)madvise(w.mapping, w.size, MADV_DONTDUMP);
        (void)madvise(w.mapping, w.size, MADV_POPULATE_READ);
        g_array_append_val(c->warm, w);
    }
}

void ferry_capture_warm_up(FerryCapture *c)
{
    int fd = openat(c->ram_directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    struct statfs fs;

    c->warm = g_array_new(FALSE, FALSE, sizeof(Warm));
    g_array_set_clear_func(c->warm, clear);
    /* On a disk this would be reading, of files that are perhaps not even ours. */
    if (directory && fstatfs(fd, &fs) == 0 &&
        (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC)) {
        while ((entry = readdir(directory))) {
            map_one(c, entry->d_name);
        }
    }
    if (directory) {
        closedir(directory);
    } else if (fd >= 0) {
        close(fd);
    }
}

gboolean ferry_capture_take_warm(FerryCapture *c, FerryCaptureBlock *b)
{
    struct stat st;

    if (!c->warm || b->fd < 0 || fstat(b->fd, &st) < 0) {
        return FALSE;
    }
    for (unsigned i = 0; i < c->warm->len; i++) {
        Warm *w = &g_array_index(c->warm, Warm, i);
        if (w->mapping && w->device == st.st_dev && w->number == st.st_ino &&
            w->size == b->length) {
            b->mapping = b->host = g_steal_pointer(&w->mapping);
            b->mapping_size = w->size;
            return TRUE;
        }
    }
    return FALSE;
}

void ferry_capture_cool_down(FerryCapture *c) { g_clear_pointer(&c->warm, g_array_unref); }

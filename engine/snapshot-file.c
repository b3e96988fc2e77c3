/* A file that appears at its name only when it is whole. Until then it has no name at all where
 * the file system can do that: whatever ends this process leaves nothing behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "engine/capture-private.h"

#define NAME_TRIES 100

static gboolean refuse_errno(const FerryCapture *c, GError **error)
{
    return ferry_capture_refuse(error, "%s: %s", c->output, g_strerror(errno));
}

static gboolean try_temporary(FerrySnapshotFile *f, gboolean (*make)(FerrySnapshotFile *f))
{
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        g_free(f->temporary);
        f->temporary = g_strdup_printf(".ferry-%08x", g_random_int());
        if (make(f)) {
            return TRUE;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    g_clear_pointer(&f->temporary, g_free);
    return FALSE;
}

static gboolean make_named(FerrySnapshotFile *f)
{
    f->fd = openat(f->directory, f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return f->fd >= 0;
}

static gboolean make_link(FerrySnapshotFile *f)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", f->fd);

    return linkat(AT_FDCWD, path, f->directory, f->temporary, AT_SYMLINK_FOLLOW) == 0;
}

gboolean ferry_snapshot_begin(FerryCapture *c, GError **error)
{
    FerrySnapshotFile *f = &c->file;
    struct stat st;

    f->directory_path = g_path_get_dirname(c->output);
    f->name = g_path_get_basename(c->output);
    if (g_str_has_suffix(c->output, "/") || strcmp(f->name, ".") == 0 ||
        strcmp(f->name, "..") == 0) {
        return ferry_capture_refuse(error, "%s: not the name of a file", c->output);
    }
    f->directory = open(f->directory_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->directory < 0) {
        return refuse_errno(c, error);
    }
    if (fstatat(f->directory, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
        return ferry_capture_refuse(error, "%s: there is something that is not a regular file",
                                    c->output);
    }
    f->fd = openat(f->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        (void)try_temporary(f, make_named);
    }
    return f->fd >= 0 || refuse_errno(c, error);
}

/* What is there already is kept until it is certain that the new file stays. */
static gboolean take_name(FerrySnapshotFile *f)
{
    for (unsigned i = 0; i < NAME_TRIES; i++) {
        if (renameat2(f->directory, f->temporary, f->directory, f->name, RENAME_NOREPLACE) == 0) {
            g_clear_pointer(&f->temporary, g_free);
            return TRUE;
        }
        if (errno == EEXIST &&
            renameat2(f->directory, f->temporary, f->directory, f->name, RENAME_EXCHANGE) == 0) {
            f->exchanged = TRUE;
            return TRUE;
        }
        if (errno != ENOENT) { /* else it went between the two */
            break;
        }
    }
    if (errno == EINVAL && renameat(f->directory, f->temporary, f->directory, f->name) == 0) {
        g_clear_pointer(&f->temporary, g_free);
        return TRUE;
    }
    return FALSE;
}

gboolean ferry_snapshot_publish(FerryCapture *c, GError **error)
{
    FerrySnapshotFile *f = &c->file;

    if (fsync(f->fd) < 0 || (!f->temporary && !try_temporary(f, make_link)) || !take_name(f)) {
        return refuse_errno(c, error);
    }
    f->published = TRUE;
    return fsync(f->directory) == 0 || refuse_errno(c, error);
}

void ferry_snapshot_end(FerryCapture *c, gboolean discard)
{
    FerrySnapshotFile *f = &c->file;

    if (discard && f->published) {
        const char *ours = f->name;
        if (f->exchanged &&
            renameat2(f->directory, f->temporary, f->directory, f->name, RENAME_EXCHANGE) == 0) {
            ours = f->temporary;
        }
        (void)unlinkat(f->directory, ours, 0);
    } else if (f->temporary) {
        (void)unlinkat(f->directory, f->temporary, 0);
    }
    f->published = f->exchanged = FALSE;
    g_clear_pointer(&f->temporary, g_free);
    g_clear_pointer(&f->name, g_free);
    g_clear_pointer(&f->directory_path, g_free);
    pthread_mutex_lock(&f->lock);
    ferry_fd_clear(&f->fd);
    pthread_mutex_unlock(&f->lock);
    ferry_fd_clear(&f->directory);
}

void ferry_capture_write_back(FerryCapture *c)
{
    FerrySnapshotFile *f = &c->file;

    pthread_mutex_lock(&f->lock);
    if (f->fd >= 0) { /* it only saves time: the end tells whether it worked */
        (void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    pthread_mutex_unlock(&f->lock);
}

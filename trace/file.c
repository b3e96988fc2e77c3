#include "trace/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct FerryTraceFile {
    char *path, *part; /* part: NULL when read, or once it has its name */
    int fd;
    uint64_t size; /* when it was opened */
};

static gboolean failed(GError **error, const char *path, const char *what, int code)
{
    g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, "%s: %s%s", path, what,
                g_strerror(code));
    return FALSE;
}

FerryTraceFile *ferry_trace_file_create(const char *path, GError **error)
{
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    /* Not over what somebody else is writing now; where there are no locks nobody can tell. */
    gboolean taken = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    if (fd < 0 || taken || ftruncate(fd, 0) < 0) {
        failed(error, part, taken ? "another trace is being written there: " : "", errno);
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    FerryTraceFile *file = g_new0(FerryTraceFile, 1);
    file->path = g_strdup(path);
    file->part = g_steal_pointer(&part);
    file->fd = fd;
    return file;
}

FerryTraceFile *ferry_trace_file_open(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        failed(error, path, "", errno);
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                    "%s: not a regular file; a trace is read at any place", path);
        return NULL;
    }
    FerryTraceFile *file = g_new0(FerryTraceFile, 1);
    file->path = g_strdup(path);
    file->fd = fd;
    file->size = (uint64_t)st.st_size;
    return file;
}

static gboolean write_all(void *self, const void *data, size_t n, GError **error)
{
    FerryTraceFile *file = self;

    for (const uint8_t *at = data; n > 0;) {
        ssize_t got = write(file->fd, at, n);

        if (got < 0 && errno != EINTR) {
            return failed(error, file->part ? file->part : file->path, "", errno);
        }
        at += MAX(got, 0);
        n -= (size_t)MAX(got, 0);
    }
    return TRUE;
}

static gboolean read_all(void *self, uint64_t offset, void *data, size_t n, GError **error)
{
    const FerryTraceFile *file = self;

    for (uint8_t *at = data; n > 0;) {
        ssize_t got = pread(file->fd, at, n, (off_t)offset);

        if (got < 0 && errno != EINTR) {
            return failed(error, file->path, "", errno);
        }
        if (got == 0) {
            g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO,
                        "%s: shorter than it was when it was opened", file->path);
            return FALSE;
        }
        at += MAX(got, 0);
        offset += (uint64_t)MAX(got, 0);
        n -= (size_t)MAX(got, 0);
    }
    return TRUE;
}

FerryTraceSink ferry_trace_file_sink(FerryTraceFile *file)
{
    return (FerryTraceSink){.write = write_all, .self = file};
}

FerryTraceInput ferry_trace_file_input(FerryTraceFile *file)
{
    return (FerryTraceInput){.read = read_all, .self = file, .size = file->size};
}

gboolean ferry_trace_file_commit(FerryTraceFile *file, GError **error)
{
    g_return_val_if_fail(file->part, FALSE);
    if (fsync(file->fd) < 0 || rename(file->part, file->path) < 0) {
        return failed(error, file->part, "", errno);
    }
    g_clear_pointer(&file->part, g_free);

    g_autofree char *directory = g_path_get_dirname(file->path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    gboolean durable = fd >= 0 && fsync(fd) == 0;
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    return durable || code == EINVAL || code == EACCES /* it cannot be had here */
               ? TRUE
               : failed(error, directory, "", code);
}

void ferry_trace_file_free(FerryTraceFile *file)
{
    if (!file) {
        return;
    }
    close(file->fd);
    g_free(file->path);
    g_free(file->part);
    g_free(file);
}

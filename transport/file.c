#include "transport/media.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/descriptor.h"

static gboolean go_to_offset(int fd, uint64_t offset, gboolean cut, GError **error)
{
    if ((cut && ftruncate(fd, (off_t)offset) < 0) || lseek(fd, (off_t)offset, SEEK_SET) < 0) {
        ferry_set_errno(error, errno);
        return FALSE;
    }
    return TRUE;
}

int ferry_file_open(const FerryAddress *address, gboolean to_write, GError **error)
{
    /* O_NONBLOCK: opening a pipe must not wait for its other end. 0600: it is a guest's memory. */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (to_write ? O_WRONLY | O_CREAT : O_RDONLY);
    g_auto(FerryFd) fd = open(address->text, flags, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR,
                            errno == ENOENT || errno == ENOTDIR || errno == EISDIR
                                ? FERRY_TRANSPORT_ERROR_ADDRESS
                                : FERRY_TRANSPORT_ERROR_IO,
                            g_strerror(errno));
        return -1;
    }
    if (S_ISFIFO(st.st_mode)) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "the file is a pipe: open it and pass it as fd:N");
        return -1;
    }
    if ((S_ISREG(st.st_mode) || address->offset > 0) &&
        !go_to_offset(fd, address->offset, to_write && S_ISREG(st.st_mode), error)) {
        return -1;
    }
    return ferry_fd_steal(&fd);
}

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

static int open_file(const char *path, uint64_t bytes, GError **error)
{
    g_auto(FerryFd) fd = -1;
    struct stat status;

    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    } else {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    if (fd < 0 || fstat(fd, &status) < 0 ||
        ((uint64_t)status.st_size < bytes && ftruncate(fd, (off_t)bytes) < 0)) {
        g_set_error(error, VM_ERROR, VM_ERROR_HOST, "-mem-path %s: %s", path, g_strerror(errno));
        return -1;
    }
    return ferry_fd_steal(&fd);
}

/* RAM begins as zeros, also in a file that somebody used before; what is allocated there stays
 * allocated. */
static void clear_old_data(int fd, uint8_t *ram, uint64_t bytes)
{
    off_t end, data = lseek(fd, 0, SEEK_DATA);

    while (data >= 0 && (uint64_t)data < bytes) {
        end = lseek(fd, data, SEEK_HOLE);
        if (end < 0 || (uint64_t)end > bytes) {
            end = (off_t)bytes;
        }
        memset(ram + data, 0, (size_t)(end - data));
        data = lseek(fd, end, SEEK_DATA);
    }
}

gboolean memory_new(Vm *vm, const char *mem_path, GError **error)
{
    g_auto(FerryFd) fd = -1;
    int flags = MAP_NORESERVE | (mem_path == NULL ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *ram;

    if (mem_path != NULL) {
        fd = open_file(mem_path, vm->ram_bytes, error);
        if (fd < 0) {
            return FALSE;
        }
    }
    ram = mmap(NULL, vm->ram_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (ram == MAP_FAILED) {
        return vm_host_error(error, "mmap of guest RAM");
    }
    vm->ram = ram;
    if (mem_path != NULL) {
        clear_old_data(fd, vm->ram, vm->ram_bytes);
    }
    madvise(ram, vm->ram_bytes, MADV_DONTFORK); /* the child of exec: must not share or copy it */
    if (vm->accel == ACCEL_KVM) {
        /* Far fewer first-touch faults; the log splits KVM's own mapping, not this one. */
        madvise(ram, vm->ram_bytes, MADV_HUGEPAGE);
    }
    return TRUE;
}

void memory_free(Vm *vm)
{
    if (vm->ram != NULL) {
        munmap(vm->ram, vm->ram_bytes);
    }
}

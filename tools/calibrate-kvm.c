/* What KVM's dirty log takes, measured on a VM whose one vCPU writes a word of every page and
 * stops: 32-bit protected mode without paging, so that there is nothing to set up. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "engine/ferry.h"
#include "tools/calibrate.h"

#define PAGE 4096u
#define CODE_ADDRESS 0x1000u
#define MEMORY_ADDRESS 0x10000000u
#define SMALL_PAGES 64u     /* block 0, of which a sync takes next to nothing but the call */
#define LARGE_PAGES 262144u /* 1 GiB, nearly all of it never touched */
#define SWEPT_PAGES 16384u  /* of it the vCPU writes so many, and block 0 */
#define MEMORY_BYTES ((size_t)(SMALL_PAGES + LARGE_PAGES) * PAGE)
#define TSS_ADDRESS 0xfffbd000u
#define REPEATS 2u

/* mov %eax,(%edi); add %ecx,%edi; cmp %esi,%edi; jb to the first; hlt */
static const uint8_t program[] = {0x89, 0x07, 0x01, 0xcf, 0x39, 0xf7, 0x72, 0xf8, 0xf4};

typedef struct {
    int kvm_fd, vm_fd, vcpu_fd;
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *code, *memory;
} Vm;

static gboolean failed(const char *what, GError **error)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", what,
                g_strerror(errno));
    return FALSE;
}

static void vm_clear(Vm *vm)
{
    const int fds[] = {vm->vcpu_fd, vm->vm_fd, vm->kvm_fd};

    if (vm->run) {
        munmap(vm->run, vm->run_bytes);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (vm->code) {
        munmap(vm->code, PAGE);
    }
    if (vm->memory) {
        munmap(vm->memory, MEMORY_BYTES);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Vm, vm_clear)

static uint8_t *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static gboolean set_slot(const Vm *vm, uint32_t slot, uint64_t address, void *host, uint64_t bytes)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = address,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uintptr_t)host};

    return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static gboolean set_segments(const Vm *vm)
{
    const struct kvm_segment flat = {
        .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
    struct kvm_sregs s;

    if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s) < 0) {
        return FALSE;
    }
    s.ds = s.es = s.ss = s.fs = s.gs = s.cs = flat;
    s.cs.selector = 8;
    s.cs.type = 11;
    s.cr0 |= 1; /* protected mode */
    return ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) == 0;
}

static gboolean vm_init(Vm *vm, GError **error)
{
    *vm = (Vm){.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), .vm_fd = -1, .vcpu_fd = -1};
    if (vm->kvm_fd < 0) {
        return failed("/dev/kvm", error);
    }
    vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0) {
        return failed("KVM_CREATE_VM", error);
    }
    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS); /* only some Intel hosts want it */
    vm->code = map(PAGE);
    vm->memory = map(MEMORY_BYTES);
    if (!vm->code || !vm->memory) {
        return failed("mmap", error);
    }
    memcpy(vm->code, program, sizeof program);
    vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
    vm->run_bytes = (size_t)MAX(ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0), 0);
    if (vm->vcpu_fd < 0 || !set_slot(vm, 0, CODE_ADDRESS, vm->code, PAGE) ||
        !set_slot(vm, 1, MEMORY_ADDRESS, vm->memory, SMALL_PAGES * PAGE) ||
        !set_slot(vm, 2, MEMORY_ADDRESS + SMALL_PAGES * PAGE, vm->memory + SMALL_PAGES * PAGE,
                  LARGE_PAGES * PAGE) ||
        !set_segments(vm)) {
        return failed("KVM", error);
    }
    vm->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (vm->run == MAP_FAILED) {
        vm->run = NULL;
        return failed("mmap of a vCPU", error);
    }
    return TRUE;
}

/* The vCPU writes every page once and halts. */
static gboolean sweep(const Vm *vm, GError **error)
{
    struct kvm_regs regs = {.rip = CODE_ADDRESS,
                            .rflags = 2,
                            .rdi = MEMORY_ADDRESS,
                            .rsi = MEMORY_ADDRESS + (SMALL_PAGES + SWEPT_PAGES) * PAGE,
                            .rcx = PAGE};

    if (ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0) {
        return failed("KVM_SET_REGS", error);
    }
    while (ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0) {
        if (errno != EINTR) {
            return failed("KVM_RUN", error);
        }
    }
    if (vm->run->exit_reason != KVM_EXIT_HLT) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "the vCPU stopped for reason %u",
                    vm->run->exit_reason);
        return FALSE;
    }
    return TRUE;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

typedef struct {
    uint64_t first_ns, small_ns, large_ns, clear_ns;
} Times;

static gboolean time_sync(FerryDirtyLog *log, unsigned block, FerryBitmap dirty[2],
                          uint64_t *out_ns, GError **error)
{
    uint64_t begin = now_ns();

    if (!ferry_dirty_log_sync(log, block, &dirty[block], error)) {
        return FALSE;
    }
    *out_ns = now_ns() - begin;
    return TRUE;
}

static gboolean measure_once(const Vm *vm, FerryDirtyLog *log, FerryBitmap dirty[2],
                             uint64_t chunk_bytes, Times *out, GError **error)
{
    uint64_t chunk_pages = chunk_bytes / PAGE, begin;

    if (!ferry_dirty_log_set_chunk(log, chunk_bytes, error) || !sweep(vm, error)) {
        return FALSE;
    }
    /* The first one finds nothing in the caches; what is asked for again costs the call alone. */
    if (!time_sync(log, 0, dirty, &out->first_ns, error) ||
        !time_sync(log, 0, dirty, &out->small_ns, error) ||
        !time_sync(log, 1, dirty, &out->large_ns, error)) {
        return FALSE;
    }
    if (!ferry_dirty_log_clear(log, 0, 0, SMALL_PAGES, &dirty[0], error)) {
        return FALSE;
    }
    begin = now_ns();
    for (uint64_t page = 0; page < SWEPT_PAGES; page += chunk_pages) {
        if (!ferry_dirty_log_clear(log, 1, page, chunk_pages, &dirty[1], error)) {
            return FALSE;
        }
    }
    out->clear_ns = (now_ns() - begin) / (SWEPT_PAGES / chunk_pages);
    return TRUE;
}

/* The least of a few: what is above it is somebody else's. */
static gboolean measure(const Vm *vm, FerryDirtyLog *log, FerryBitmap dirty[2],
                        FerryCalibrateLog *out, GError **error)
{
    uint64_t large_ns = UINT64_MAX, small_ns = UINT64_MAX;

    out->sync_ns = UINT64_MAX;
    for (unsigned i = 0; i < FERRY_CALIBRATE_N_CHUNKS; i++) {
        out->clear_ns[i] = UINT64_MAX;
        for (unsigned n = 0; n < REPEATS; n++) {
            Times t;
            if (!measure_once(vm, log, dirty, out->chunk_bytes[i], &t, error)) {
                return FALSE;
            }
            out->sync_ns = MIN(out->sync_ns, t.first_ns);
            small_ns = MIN(small_ns, t.small_ns);
            large_ns = MIN(large_ns, t.large_ns);
            out->clear_ns[i] = MIN(out->clear_ns[i], t.clear_ns);
        }
    }
    out->sync_ns_per_gib = large_ns - MIN(small_ns, large_ns); /* that block has 1 GiB */
    return TRUE;
}

gboolean ferry_calibrate_kvm(FerryCalibrateLog *out, GError **error)
{
    const uint64_t block_pages[2] = {SMALL_PAGES, LARGE_PAGES};
    g_autoptr(FerryDirtyLog) log = NULL;
    g_auto(Vm) vm = {0};
    FerryBitmap dirty[2];
    FerryCalibrateLog l = {
        .chunk_bytes = {256u << 10, 2u << 20, 16u << 20}
    };

    if (!vm_init(&vm, error) || !sweep(&vm, error)) {
        return FALSE;
    }
    const FerryKvmSlot slots[2] = {
        {.slot = 1,                                            .guest_address = MEMORY_ADDRESS, .host = vm.memory, .n_pages = SMALL_PAGES},
        { .slot = 2,
         .guest_address = MEMORY_ADDRESS + SMALL_PAGES * PAGE,
         .host = vm.memory + SMALL_PAGES * PAGE,
         .n_pages = LARGE_PAGES,
         .block = 1},
    };
    log = ferry_dirty_log_kvm_bitmap_new(vm.vm_fd, slots, 2, block_pages, 2, error);
    if (!log || !ferry_dirty_log_start(log, error)) {
        return FALSE;
    }
    ferry_bitmap_init(&dirty[0], SMALL_PAGES);
    ferry_bitmap_init(&dirty[1], LARGE_PAGES);
    gboolean ok = measure(&vm, log, dirty, &l, error);
    ferry_dirty_log_stop(log);
    ferry_bitmap_clear(&dirty[0]);
    ferry_bitmap_clear(&dirty[1]);
    if (ok) {
        *out = l;
    }
    return ok;
}

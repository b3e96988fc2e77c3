#include "tests/dirtylog/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOW_BYTES (1u << 20)
#define CONTROL_ADDRESS (UINT64_C(1) << 20)
#define MEMORY_ADDRESS (UINT64_C(1) << 30)
#define CODE_OFFSET 0x80000u
#define N_DIRECTORIES 17u /* GiB mapped: the lowest and GUEST_MEMORY_MAX */
#define FIRST_MEMORY_SLOT 2u

typedef struct {
    Guest *guest;
    struct kvm_run *run;
    pthread_t thread;
} Vcpu;

struct Guest {
    int kvm_fd, vm_fd;
    uint8_t *low;
    GuestControl *control;
    FerryKvmSlot *slots;
    unsigned n_slots;
    int *vcpu_fds;
    Vcpu *vcpus;
    unsigned n_vcpus, n_threads;
    size_t run_bytes;
    FerryDirtyLog *ring_log;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    gboolean running, quit;
    unsigned n_idle;
};

/* Both programs: %rdi the word to write in page 0, %rsi GuestControl, %r8 the number last written,
 * %rbx the random state, %r9 writes done anywhere. All of it lives in registers, so that a vCPU
 * that is paused goes on where it was. */
__asm__(".pushsection .rodata\n"
        "guest_random:\n"
        "1: mov %rbx, %rax\n shl $13, %rax\n xor %rax, %rbx\n"
        "   mov %rbx, %rax\n shr $7, %rax\n  xor %rax, %rbx\n"
        "   mov %rbx, %rax\n shl $17, %rax\n xor %rax, %rbx\n"
        "   test $63, %bl\n"
        "   jnz 2f\n"
        "   cmp 8(%rsi), %r9\n" /* cold_limit */
        "   jae 2f\n"
        "   inc %r9\n"
        "   mov %rbx, %rax\n"
        "   mulq (%rsi)\n" /* n_pages: the page is in %rdx */
        "   jmp 3f\n"
        "2: mov %rbx, %rax\n shr $32, %rax\n and $127, %eax\n"
        "   mov 64(%rsi, %rax, 8), %rdx\n" /* hot[] */
        "3: shl $12, %rdx\n"
        "   inc %r8\n"
        "   mov %r8, (%rdi, %rdx)\n"
        "   jmp 1b\n"
        "guest_sweep:\n"
        "1: pause\n"
        "   mov 32(%rsi), %rax\n" /* sweeps_done */
        "   cmp 24(%rsi), %rax\n" /* sweeps_wanted */
        "   jae 1b\n"
        "   xor %r10d, %r10d\n"
        "   rdtsc\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r11\n"
        "2: mov %r10, %rax\n shl $12, %rax\n"
        "   inc %r8\n"
        "   mov %r8, (%rdi, %rax)\n"
        "   rdtsc\n shl $32, %rdx\n or %rdx, %rax\n"
        "   mov %rax, %rcx\n sub %r11, %rcx\n mov %rax, %r11\n"
        "   cmp 40(%rsi), %rcx\n" /* longest_gap */
        "   jbe 3f\n"
        "   mov %rcx, 40(%rsi)\n"
        "3: add 16(%rsi), %r10\n" /* stride */
        "   cmp (%rsi), %r10\n"
        "   jb 2b\n"
        "   incq 32(%rsi)\n"
        "   jmp 1b\n"
        "guest_code_end:\n"
        ".popsection\n");
extern const uint8_t guest_random[], guest_sweep[], guest_code_end[];
G_STATIC_ASSERT(offsetof(GuestControl, cold_limit) == 8);
G_STATIC_ASSERT(offsetof(GuestControl, stride) == 16);
G_STATIC_ASSERT(offsetof(GuestControl, sweeps_wanted) == 24);
G_STATIC_ASSERT(offsetof(GuestControl, sweeps_done) == 32);
G_STATIC_ASSERT(offsetof(GuestControl, longest_gap) == 40);
G_STATIC_ASSERT(offsetof(GuestControl, hot) == 64);
G_STATIC_ASSERT(GUEST_N_HOT == 128);

static void on_kick(int signal) { (void)signal; }

static void die(const char *what)
{
    fprintf(stderr, "guest: %s: %s\n", what, g_strerror(errno));
    exit(1);
}

static int check(int r, const char *what)
{
    if (r < 0) {
        die(what);
    }
    return r;
}

static void add_slot(const Guest *g, uint32_t slot, uint64_t address, void *host, uint64_t bytes)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = address,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uintptr_t)host};

    check(ioctl(g->vm_fd, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

/* Everything is mapped to itself by 2 MiB pages that user mode may write. */
static void build_low(Guest *g)
{
    uint64_t *tables;

    g->low = mmap(NULL, LOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(g->low == MAP_FAILED ? -1 : 0, "mmap");
    tables = (uint64_t *)g->low; /* 512 entries a page */
    tables[512] = 0x2067;
    for (uint64_t gib = 0; gib < N_DIRECTORIES; gib++) {
        tables[1024 + gib] = (0x3000 + (gib << 12)) | 0x67;
        for (uint64_t i = 0; i < 512; i++) {
            tables[1536 + gib * 512 + i] = gib << 30 | i << 21 | 0xe7;
        }
    }
    memcpy(g->low + CODE_OFFSET, guest_random, (size_t)(guest_code_end - guest_random));
}

static void set_registers(int fd, uint64_t rip, unsigned index, uint64_t seed)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rflags = 2,
                         .rip = rip,
                         .rdi = MEMORY_ADDRESS + index * sizeof(uint64_t),
                         .rsi = CONTROL_ADDRESS,
                         .rbx = seed * 2654435761u + index + 1};
    struct kvm_segment data = {.limit = UINT32_MAX,
                               .selector = 0x23,
                               .type = 3,
                               .present = 1,
                               .dpl = 3,
                               .db = 1,
                               .s = 1,
                               .g = 1};

    check(ioctl(fd, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    s.cs = data;
    s.cs.selector = 0x1b;
    s.cs.type = 11;
    s.cs.db = 0;
    s.cs.l = 1;
    s.cr0 |= 0x80000001; /* PG, PE */
    s.cr3 = 0x1000;
    s.cr4 |= 0x20;  /* PAE */
    s.efer = 0x500; /* LME, LMA */
    check(ioctl(fd, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    check(ioctl(fd, KVM_SET_REGS, &r), "KVM_SET_REGS");
}

static void add_vcpu(Guest *g, unsigned index, GuestProgram program, uint64_t seed)
{
    uint64_t offset = program == GUEST_SWEEP ? (uint64_t)(guest_sweep - guest_random) : 0;
    g_autofree struct kvm_cpuid2 *cpuid =
        g_malloc0(sizeof *cpuid + 256 * sizeof(struct kvm_cpuid_entry2));
    int fd = check(ioctl(g->vm_fd, KVM_CREATE_VCPU, index), "KVM_CREATE_VCPU");

    cpuid->nent = 256;
    check(ioctl(g->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
    check(ioctl(fd, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
    set_registers(fd, CODE_OFFSET + offset, index, seed);
    g->vcpu_fds[index] = fd;
    g->vcpus[index].guest = g;
    g->vcpus[index].run = mmap(NULL, g->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(g->vcpus[index].run == MAP_FAILED ? -1 : 0, "mmap of a vCPU");
    g->n_vcpus = index + 1;
}

static gboolean unsupported(GError **error, const char *what)
{
    g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "%s: %s", what,
                g_strerror(errno));
    return FALSE;
}

static gboolean make_vm(Guest *g, uint32_t ring_bytes, GError **error)
{
    struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {ring_bytes}};

    g->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (g->kvm_fd < 0) {
        return unsupported(error, "/dev/kvm");
    }
    g->vm_fd = ioctl(g->kvm_fd, KVM_CREATE_VM, 0);
    if (g->vm_fd < 0) {
        return unsupported(error, "KVM_CREATE_VM");
    }
    if (ring_bytes && ioctl(g->vm_fd, KVM_ENABLE_CAP, &ring) < 0) {
        return unsupported(error, "KVM_CAP_DIRTY_LOG_RING");
    }
    ioctl(g->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000); /* only some Intel hosts want it */
    return TRUE;
}

Guest *guest_new(void *memory, GuestControl *control, const uint64_t *slot_pages, unsigned n_slots,
                 unsigned n_vcpus, uint32_t ring_bytes, GuestProgram program, uint64_t seed,
                 GError **error)
{
    struct sigaction kick = {.sa_handler = on_kick}; /* no SA_RESTART: KVM_RUN must return */
    g_autoptr(Guest) g = g_new0(Guest, 1);
    uint64_t first_page = 0;

    g->kvm_fd = g->vm_fd = -1;
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    if (!make_vm(g, ring_bytes, error)) {
        return NULL;
    }
    sigaction(SIGUSR1, &kick, NULL);
    build_low(g);
    g->control = control;
    add_slot(g, 0, 0, g->low, LOW_BYTES);
    add_slot(g, 1, CONTROL_ADDRESS, control, GUEST_PAGE);
    g->slots = g_new0(FerryKvmSlot, n_slots);
    for (; g->n_slots < n_slots; g->n_slots++) {
        FerryKvmSlot *slot = &g->slots[g->n_slots];

        *slot = (FerryKvmSlot){.slot = FIRST_MEMORY_SLOT + g->n_slots,
                               .guest_address = MEMORY_ADDRESS + first_page * GUEST_PAGE,
                               .host = (uint8_t *)memory + first_page * GUEST_PAGE,
                               .n_pages = slot_pages[g->n_slots],
                               .first_page = first_page};
        add_slot(g, slot->slot, slot->guest_address, slot->host, slot->n_pages * GUEST_PAGE);
        first_page += slot->n_pages;
    }
    g_assert(first_page * GUEST_PAGE <= GUEST_MEMORY_MAX);
    __atomic_store_n(&control->n_pages, first_page, __ATOMIC_RELAXED);
    g->run_bytes = (size_t)check(ioctl(g->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0), "vCPU mmap size");
    g->vcpu_fds = g_new0(int, n_vcpus);
    g->vcpus = g_new0(Vcpu, n_vcpus);
    for (unsigned i = 0; i < n_vcpus; i++) {
        add_vcpu(g, i, program, seed);
    }
    return g_steal_pointer(&g);
}

const FerryKvmSlot *guest_slots(const Guest *guest) { return guest->slots; }

int guest_vm_fd(const Guest *guest) { return guest->vm_fd; }

const int *guest_vcpu_fds(const Guest *guest) { return guest->vcpu_fds; }

void guest_set_ring_log(Guest *guest, FerryDirtyLog *log) { guest->ring_log = log; }

static void run_once(const Vcpu *v, int fd)
{
    g_autoptr(GError) error = NULL;

    if (ioctl(fd, KVM_RUN, 0) < 0) {
        if (errno != EINTR && errno != EAGAIN) {
            die("KVM_RUN");
        }
    } else if (v->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL) {
        fprintf(stderr, "guest: exit reason %u\n", v->run->exit_reason);
        exit(1);
    } else if (!ferry_dirty_log_kvm_ring_collect(v->guest->ring_log, &error)) {
        fprintf(stderr, "guest: %s\n", error->message);
        exit(1);
    }
}

static void *vcpu_main(void *arg)
{
    Vcpu *v = arg;
    Guest *g = v->guest;
    int fd = g->vcpu_fds[v - g->vcpus];

    pthread_mutex_lock(&g->mutex);
    while (!g->quit) {
        if (g->running) {
            pthread_mutex_unlock(&g->mutex);
            run_once(v, fd);
            pthread_mutex_lock(&g->mutex);
            continue;
        }
        g->n_idle++;
        pthread_cond_broadcast(&g->changed);
        while (!g->running && !g->quit) {
            pthread_cond_wait(&g->changed, &g->mutex);
        }
        g->n_idle--;
    }
    pthread_mutex_unlock(&g->mutex);
    return NULL;
}

void guest_run(Guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    for (unsigned i = 0; i < guest->n_vcpus; i++) {
        __atomic_store_n(&guest->vcpus[i].run->immediate_exit, 0, __ATOMIC_RELAXED);
    }
    guest->running = TRUE;
    pthread_cond_broadcast(&guest->changed);
    for (; guest->n_threads < guest->n_vcpus; guest->n_threads++) {
        Vcpu *v = &guest->vcpus[guest->n_threads];

        errno = pthread_create(&v->thread, NULL, vcpu_main, v);
        check(errno ? -1 : 0, "pthread_create");
    }
    pthread_mutex_unlock(&guest->mutex);
}

void guest_pause(Guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    guest->running = FALSE;
    for (unsigned i = 0; i < guest->n_threads; i++) {
        /* A vCPU that is about to enter sees the flag, one that is inside the signal. */
        __atomic_store_n(&guest->vcpus[i].run->immediate_exit, 1, __ATOMIC_RELAXED);
        pthread_kill(guest->vcpus[i].thread, SIGUSR1);
    }
    while (guest->n_idle < guest->n_threads) {
        pthread_cond_wait(&guest->changed, &guest->mutex);
    }
    pthread_mutex_unlock(&guest->mutex);
}

void guest_disturb(Guest *guest)
{
    pthread_mutex_lock(&guest->mutex);
    for (unsigned i = 0; i < guest->n_threads; i++) {
        pthread_kill(guest->vcpus[i].thread, SIGUSR1);
    }
    pthread_mutex_unlock(&guest->mutex);
}

void guest_free(Guest *guest)
{
    if (!guest) {
        return;
    }
    guest_pause(guest);
    pthread_mutex_lock(&guest->mutex);
    guest->quit = TRUE;
    pthread_cond_broadcast(&guest->changed);
    pthread_mutex_unlock(&guest->mutex);
    for (unsigned i = 0; i < guest->n_threads; i++) {
        pthread_join(guest->vcpus[i].thread, NULL);
    }
    for (unsigned i = 0; i < guest->n_vcpus; i++) {
        munmap(guest->vcpus[i].run, guest->run_bytes);
        close(guest->vcpu_fds[i]);
    }
    if (guest->vm_fd >= 0) {
        close(guest->vm_fd);
    }
    if (guest->kvm_fd >= 0) {
        close(guest->kvm_fd);
    }
    if (guest->low) {
        munmap(guest->low, LOW_BYTES);
    }
    pthread_cond_destroy(&guest->changed);
    pthread_mutex_destroy(&guest->mutex);
    g_free(guest->slots);
    g_free(guest->vcpu_fds);
    g_free(guest->vcpus);
    g_free(guest);
}

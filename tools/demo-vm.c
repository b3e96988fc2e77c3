#include "tools/demo-vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/vm/workload-core.h"

#define ANSWER_NS (5 * G_GUINT64_CONSTANT(1000000000))
#define START_NS (15 * G_GUINT64_CONSTANT(1000000000))

struct FerryDemoVm {
    char *name, *log_path;
    pid_t pid; /* 0: not started or waited for */
    FerryQmpClient *monitor;
    const uint8_t *memory; /* the guest's, read-only; NULL: not mapped */
    size_t memory_bytes;
};

char *ferry_demo_find_vm(GError **error)
{
    static const char *const places[] = {"vm/ferry-vm", "ferry-vm"}; /* build tree, installed */
    const char *named = g_getenv("FERRY_VM");
    g_autofree char *self = g_file_read_link("/proc/self/exe", error);
    g_autofree char *directory = self ? g_path_get_dirname(self) : NULL;

    if (!self) {
        return NULL;
    }
    if (named && *named) {
        return g_strdup(named);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(directory, places[i], NULL);
        if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE) &&
            !g_file_test(path, G_FILE_TEST_IS_DIR)) {
            return g_steal_pointer(&path);
        }
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT,
                "no ferry-vm next to %s; set FERRY_VM to its path", self);
    return NULL;
}

/* In the child; the demo has one thread, so anything may be called here. */
static void become(const char *program, char **argv, int log, pid_t parent)
{
    setpgid(0, 0); /* Ctrl-C is for the demo, which then cancels */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    execv(program, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static gboolean spawn(FerryDemoVm *vm, const char *program, char **argv, GError **error)
{
    g_auto(FerryFd) log = open(vm->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    pid_t parent = getpid();

    if (log < 0 || (vm->pid = fork()) < 0) {
        vm->pid = 0;
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", vm->name,
                    g_strerror(errno));
        return FALSE;
    }
    if (vm->pid == 0) {
        become(program, argv, log, parent);
    }
    return TRUE;
}

/* TRUE: it has ended and is waited for. */
static gboolean has_ended(FerryDemoVm *vm)
{
    if (vm->pid != 0 && waitpid(vm->pid, NULL, WNOHANG) == vm->pid) {
        vm->pid = 0;
    }
    return vm->pid == 0;
}

static gboolean await_monitor(FerryDemoVm *vm, const char *path, GError **error)
{
    g_autofree char *address = g_strconcat("unix:", path, NULL);
    uint64_t deadline_ns = ferry_now_ns() + START_NS;

    while (TRUE) {
        g_autoptr(GError) local = NULL;
        vm->monitor = ferry_qmp_client_new(address, ANSWER_NS, &local);
        if (vm->monitor) {
            return TRUE;
        }
        if (has_ended(vm)) {
            g_autofree char *log = ferry_demo_vm_log(vm);
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "the %s ended at once: %s",
                        vm->name, g_strstrip(log));
            return FALSE;
        }
        if (ferry_now_ns() > deadline_ns) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "the %s: ", vm->name);
            return FALSE;
        }
        g_usleep(20000);
    }
}

static gboolean map_memory(FerryDemoVm *vm, const char *path, GError **error)
{
    g_auto(FerryFd) fd = open(path, O_RDONLY | O_CLOEXEC);
    void *memory = MAP_FAILED;

    if (fd >= 0) {
        memory = mmap(NULL, vm->memory_bytes, PROT_READ, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path,
                    g_strerror(errno));
        return FALSE;
    }
    vm->memory = memory;
    /* All of it is there from the beginning, as a host that hands out memory ahead does it. Where
     * that fails (it needs Linux 5.14) first touches cost time later. */
    madvise(memory, vm->memory_bytes, MADV_POPULATE_READ);
    return TRUE;
}

FerryDemoVm *ferry_demo_vm_new(const char *program, const char *name, const char *directory,
                               const char *const *arguments, uint64_t memory_bytes, GError **error)
{
    g_autoptr(FerryDemoVm) vm = g_new0(FerryDemoVm, 1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *socket = g_strdup_printf("%s/%s.qmp", directory, name);
    g_autofree char *memory = g_strdup_printf("%s/%s.ram", directory, name);

    vm->name = g_strdup(name);
    vm->log_path = g_strdup_printf("%s/%s.log", directory, name);
    vm->memory_bytes = memory_bytes;
    g_ptr_array_add(argv, g_strdup(program));
    for (unsigned i = 0; arguments[i]; i++) {
        g_ptr_array_add(argv, g_strdup(arguments[i]));
    }
    g_ptr_array_add(argv, g_strdup("-m"));
    g_ptr_array_add(argv, g_strdup_printf("%" G_GUINT64_FORMAT "K", memory_bytes >> 10));
    g_ptr_array_add(argv, g_strdup("-mem-path"));
    g_ptr_array_add(argv, g_strdup(memory));
    g_ptr_array_add(argv, g_strdup("-serial"));
    g_ptr_array_add(argv, g_strdup_printf("file:%s/%s.serial", directory, name));
    g_ptr_array_add(argv, g_strdup("-qmp"));
    g_ptr_array_add(argv, g_strdup_printf("unix:%s,server=on,wait=off", socket));
    g_ptr_array_add(argv, NULL);
    if (!spawn(vm, program, (char **)argv->pdata, error) || !await_monitor(vm, socket, error) ||
        !map_memory(vm, memory, error)) {
        return NULL;
    }
    return g_steal_pointer(&vm);
}

FerryQmpClient *ferry_demo_vm_monitor(FerryDemoVm *vm) { return vm->monitor; }

uint64_t ferry_demo_vm_writes(const FerryDemoVm *vm)
{
    const WorkloadFacts *facts = (const WorkloadFacts *)(vm->memory + WORKLOAD_FACTS);
    unsigned n = MIN(facts->n_vcpus, WORKLOAD_MAX_VCPUS);
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        sum += ((const WorkloadState *)(vm->memory + WORKLOAD_STATES + i * WORKLOAD_PAGE))->counter;
    }
    return sum;
}

JsonNode *ferry_demo_vm_query(FerryDemoVm *vm, GError **error)
{
    JsonNode *answer = ferry_qmp_client_call(vm->monitor, "query-migrate", NULL, error);

    if (!answer) {
        g_prefix_error(error, "the %s%s: ", vm->name, has_ended(vm) ? " has ended" : "");
    }
    return answer;
}

gboolean ferry_demo_vm_do(FerryDemoVm *vm, const char *command, const char *arguments,
                          GError **error)
{
    JsonNode *node = arguments ? json_from_string(arguments, error) : NULL;

    if (arguments && !node) {
        return FALSE;
    }
    if (!ferry_qmp_client_do(vm->monitor, command, node, error)) {
        g_prefix_error(error, "the %s: ", vm->name);
        return FALSE;
    }
    return TRUE;
}

char *ferry_demo_vm_log(const FerryDemoVm *vm)
{
    char *text = NULL;

    return g_file_get_contents(vm->log_path, &text, NULL, NULL) ? text : g_strdup("");
}

void ferry_demo_vm_free(FerryDemoVm *vm)
{
    if (!vm) {
        return;
    }
    if (vm->monitor && !has_ended(vm)) {
        ferry_qmp_client_do(vm->monitor, "quit", NULL, NULL);
        for (unsigned i = 0; i < 50 && !has_ended(vm); i++) {
            g_usleep(20000);
        }
    }
    if (vm->pid != 0) {
        kill(vm->pid, SIGKILL);
        waitpid(vm->pid, NULL, 0);
    }
    if (vm->memory) {
        munmap((void *)vm->memory, vm->memory_bytes);
    }
    ferry_qmp_client_free(vm->monitor);
    g_free(vm->name);
    g_free(vm->log_path);
    g_free(vm);
}

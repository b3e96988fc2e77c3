/* ferry record --pid: a running process, or the RAM of the guest in a running QEMU. */
#include <stdio.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "dirtylog/inject.h"
#include "engine/ferry.h"
#include "tools/record-memory.h"
#include "tools/record-qemu.h"

/* What the process used so far. */
typedef struct {
    uint64_t wall_ns, user_ns, system_ns, faults;
} Usage;

typedef struct {
    const FerryRecordOptions *options;
    FerryRecordMemories *memories;
    FerryRecordRange ranges[FERRY_RECORD_QEMU_BLOCKS];
    unsigned n_ranges;
    int process; /* pidfd */
    Usage before, baseline, begin;
    Usage last; /* while it lived */
    gboolean gone;
} Process;

static void process_close(void *self)
{
    Process *p = self;

    ferry_record_memories_free(p->memories);
    if (p->process >= 0) {
        close(p->process);
    }
    g_free(p);
}

/* Faults and clock ticks out of /proc/PID/stat, behind the name, which may hold anything. */
static gboolean read_usage(int pid, Usage *out)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *text = NULL;
    unsigned long faults, user, system;
    uint64_t tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    struct timespec now;
    const char *at;

    if (!g_file_get_contents(path, &text, NULL, NULL) || !(at = strrchr(text, ')')) ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %lu %*u %*u %*u %lu %lu", &faults, &user,
               &system) != 3) {
        return FALSE;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    *out = (Usage){.wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                   .user_ns = user * tick_ns,
                   .system_ns = system * tick_ns,
                   .faults = faults};
    return TRUE;
}

static Usage since(const Usage *then, const Usage *now)
{
    return (Usage){.wall_ns = now->wall_ns - then->wall_ns,
                   .user_ns = now->user_ns - then->user_ns,
                   .system_ns = now->system_ns - then->system_ns,
                   .faults = now->faults - then->faults};
}

static gboolean fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean fail(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_propagate_error(error, g_error_new_valist(FERRY_DIRTY_LOG_ERROR,
                                                FERRY_DIRTY_LOG_ERROR_INVALID, format, arguments));
    va_end(arguments);
    return FALSE;
}

/* How it runs while nobody looks. */
static gboolean watch_before(Process *p, GError **error)
{
    struct pollfd stop = {.fd = p->options->stop_fd, .events = POLLIN};
    int pid = p->options->pid;

    p->process = pidfd_open(pid, 0);
    if (p->process < 0 || !read_usage(pid, &p->before)) {
        return fail(error, "there is no process %d", pid);
    }
    if (poll(&stop, 1, (int)(p->options->baseline_ns / 1000000)) != 0) {
        return fail(error, "stopped before it began");
    }
    return read_usage(pid, &p->baseline) || fail(error, "process %d has ended", pid);
}

static void *process_open(const FerryRecordOptions *options, GError **error)
{
    Process *p = g_new0(Process, 1);

    p->options = options;
    p->process = -1;
    p->memories = ferry_record_memories_new(options);
    if (options->pid == getpid()) {
        fail(error, "process %d is this one", options->pid);
    } else if (watch_before(p, error)) {
        if (!options->all_mappings) {
            p->n_ranges = ferry_record_qemu_find(options->pid, p->ranges);
        }
        ferry_record_memories_restrict(p->memories, p->ranges, p->n_ranges);
        return p;
    }
    process_close(p);
    return NULL;
}

static gboolean process_begin(void *self, FerryTraceHeader *header, GError **error)
{
    Process *p = self;
    int pid = p->options->pid, uffd = ferry_inject_userfaultfd(pid, error);

    if (uffd < 0 || !ferry_record_memories_add(p->memories, pid, uffd, NULL, error) ||
        !ferry_record_memories_begin(p->memories, header, error)) {
        return FALSE;
    }
    if (header->blocks->len == 0) {
        return fail(error, "process %d has no mapping that could be recorded%s", pid,
                    ferry_record_memories_refused(p->memories)
                        ? ": another userfaultfd is on it (is it being recorded already?)"
                        : "");
    }
    header->method = g_strdup("pagemap-scan");
    header->guest = ferry_record_program(pid);
    header->workload = ferry_record_command_line(pid);
    if (!read_usage(pid, &p->begin)) {
        return fail(error, "process %d has ended", pid);
    }
    p->last = p->begin;
    return TRUE;
}

static gboolean process_classes(void *self, uint64_t first, uint64_t n, uint8_t *out,
                                GError **error)
{
    return ferry_record_memories_classes(((Process *)self)->memories, first, n, out, error);
}

static FerryRecordNext process_next(void *self, FerryRecordFrame *out, GError **error)
{
    Process *p = self;

    if (!ferry_record_memories_next(p->memories, out, error)) {
        return FERRY_RECORD_FAILED;
    }
    p->gone = ferry_record_memories_alive(p->memories) == 0;
    if (!p->gone) {
        read_usage(p->options->pid, &p->last);
    }
    return p->gone ? FERRY_RECORD_LAST : FERRY_RECORD_FRAME;
}

static int process_fd(void *self) { return ((Process *)self)->process; }

/* It has ended. */
static gboolean process_event(void *self, gboolean *out_now, GError **error)
{
    (void)self;
    (void)error;
    *out_now = TRUE;
    return TRUE;
}

/* By how much more processor time each second of the process's own (user, guest) time costs than
 * before: what faults and interrupted caches take, whatever the load. -1: it hardly ran. */
static int slowdown_permille(const Usage *baseline, const Usage *during)
{
    double before, now;

    if (baseline->user_ns < baseline->wall_ns / 20 || during->user_ns < during->wall_ns / 20 ||
        during->wall_ns < baseline->wall_ns / 2) {
        return -1;
    }
    before = (double)(baseline->user_ns + baseline->system_ns) / (double)baseline->user_ns;
    now = (double)(during->user_ns + during->system_ns) / (double)during->user_ns;
    return (int)MAX((now / before - 1) * 1000, 0);
}

static void process_totals(void *self, FerryTraceTotals *totals)
{
    const Process *p = self;
    Usage baseline = since(&p->before, &p->baseline), during = since(&p->begin, &p->last);

    totals->slowdown_permille = slowdown_permille(&baseline, &during);
    if (p->gone) {
        totals->ended = "guest-gone";
    }
}

static void tell_usage(JsonBuilder *builder, GString *text, const char *when, const Usage *u)
{
    double seconds = MAX((double)u->wall_ns, 1) / 1e9;
    double user = (double)u->user_ns / 1e9 / seconds, system = (double)u->system_ns / 1e9 / seconds;
    double faults = (double)u->faults / seconds;

    if (text) {
        g_string_append_printf(text, "%s %.0f %% user, %.0f %% system, %.0f faults/s", when,
                               user * 100, system * 100, faults);
        return;
    }
    json_builder_set_member_name(builder, when);
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "user");
    json_builder_add_double_value(builder, user);
    json_builder_set_member_name(builder, "system");
    json_builder_add_double_value(builder, system);
    json_builder_set_member_name(builder, "faults_per_second");
    json_builder_add_double_value(builder, faults);
    json_builder_end_object(builder);
}

static void process_tell(void *self, JsonBuilder *builder, GString *text)
{
    const Process *p = self;
    Usage baseline = since(&p->before, &p->baseline), during = since(&p->begin, &p->last);
    int slower = slowdown_permille(&baseline, &during);

    if (text) {
        g_string_append_printf(text, "process %d: ", p->options->pid);
    }
    tell_usage(builder, text, "before", &baseline);
    if (text) {
        g_string_append(text, "; ");
    }
    tell_usage(builder, text, "during", &during);
    if (text) {
        if (slower >= 0) {
            g_string_append_printf(text, "; each second of its own costs %.1f %% more",
                                   slower / 10.0);
        }
        g_string_append_printf(
            text, "\n%s\n",
            p->gone ? "its memory is gone: it has ended, or begun another program" : "it goes on");
    }
    ferry_record_memories_tell(p->memories, builder, text);
}

const FerryRecordOps ferry_record_process = {
    .open = process_open,
    .begin = process_begin,
    .classes = process_classes,
    .next = process_next,
    .paced = TRUE,
    .event_fd = process_fd,
    .event = process_event,
    .totals = process_totals,
    .tell = process_tell,
    .close = process_close,
};

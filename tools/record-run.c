#include "tools/record-run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/format.h"
#include "tools/verb.h"

#define NS_PER_S 1000000000u
#define FLUSH_NS (10 * (uint64_t)NS_PER_S) /* what a crash costs at most */
#define CLASSES_AT_ONCE (1u << 16)

typedef struct {
    const FerryRecordOps *ops;
    const FerryRecordOptions *options;
    void *source;
    FerryTraceFile *file;
    FerryTraceWriter *writer;
    uint64_t begin_ns, last_ns, flushed_ns, cpu_ns; /* monotonic; CPU time when it began */
    uint64_t frames, pages, late;
    GArray *costs; /* uint64_t */
    gboolean interrupted, now;
} Recording;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void recording_clear(Recording *r)
{
    if (r->source) {
        r->ops->close(r->source);
    }
    ferry_trace_writer_free(r->writer);
    ferry_trace_file_free(r->file);
    g_clear_pointer(&r->costs, g_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Recording, recording_clear)

/* Signals wait in a descriptor from now on. */
static int open_signals(GError **error)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "signalfd: %s", g_strerror(errno));
    }
    return fd;
}

static FerryTraceHeader *describe(const FerryRecordOptions *o)
{
    FerryTraceHeader *header = ferry_trace_header_new();
    struct utsname host;

    header->interval_ns = o->interval_ns;
    header->start_wall_ns = clock_ns(CLOCK_REALTIME);
    header->start_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    header->tool = g_strdup("ferry " FERRY_VERSION);
    if (uname(&host) == 0) {
        header->host = g_strdup_printf("%s %s %s", host.sysname, host.release, host.machine);
    }
    header->licence = g_strdup(o->licence);
    header->provenance = g_strdup(o->provenance);
    return header;
}

static gboolean write_classes(Recording *r, uint64_t pages, GError **error)
{
    g_autofree uint8_t *classes = g_malloc(CLASSES_AT_ONCE);

    for (uint64_t at = 0, n; r->ops->classes && at < pages; at += n) {
        n = MIN(pages - at, CLASSES_AT_ONCE);
        if (!r->ops->classes(r->source, at, n, classes, error) ||
            !ferry_trace_writer_classes(r->writer, at, classes, n, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean begin(Recording *r, GError **error)
{
    g_autoptr(FerryTraceHeader) header = describe(r->options);
    FerryTraceSink sink;

    if (!r->ops->begin(r->source, header, error)) {
        return FALSE;
    }
    r->begin_ns = r->last_ns = r->flushed_ns = clock_ns(CLOCK_MONOTONIC);
    r->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    r->file = ferry_trace_file_create(r->options->file, error);
    if (!r->file) {
        return FALSE;
    }
    sink = ferry_trace_file_sink(r->file);
    r->writer = ferry_trace_writer_new(header, &sink, NULL, error);
    return r->writer && write_classes(r, ferry_trace_header_pages(header), error);
}

/* TRUE: the recording goes on. */
static gboolean hear_signals(Recording *r)
{
    struct signalfd_siginfo said;

    while (read(r->options->stop_fd, &said, sizeof said) == sizeof said) {
        if (!r->ops->signal ||
            !r->ops->signal(r->source, (int)said.ssi_signo, said.ssi_code == SI_KERNEL)) {
            r->interrupted = TRUE;
        }
    }
    return !r->interrupted;
}

/* Until @deadline_ns, a signal that ends the recording, or the source's wish. */
static gboolean wait_until(Recording *r, uint64_t deadline_ns, GError **error)
{
    struct pollfd fds[] = {
        {.fd = r->options->stop_fd,                                 .events = POLLIN},
        {.fd = r->ops->event_fd ? r->ops->event_fd(r->source) : -1, .events = POLLIN},
    };
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    r->now = FALSE;
    do {
        uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
        struct timespec wait = {.tv_sec = (time_t)(left / NS_PER_S),
                                .tv_nsec = (long)(left % NS_PER_S)};

        if (ppoll(fds, G_N_ELEMENTS(fds), &wait, NULL) < 0 && errno != EINTR) {
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "poll: %s", g_strerror(errno));
            return FALSE;
        }
        if (fds[0].revents && !hear_signals(r)) {
            return TRUE;
        }
        if (fds[1].revents && !r->ops->event(r->source, &r->now, error)) {
            return FALSE;
        }
        now = clock_ns(CLOCK_MONOTONIC);
    } while (now < deadline_ns && !r->now);
    return TRUE;
}

static uint64_t count_pages(const FerryTraceFrame *frame)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        n += frame->runs[i].n;
    }
    return n;
}

/* FALSE: the last one has been, or @error is set. */
static gboolean take_frame(Recording *r, GError **error)
{
    FerryRecordFrame got = {.frame = FERRY_TRACE_FRAME_INIT};
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    FerryRecordNext next = r->ops->next(r->source, &got, error);

    if (next == FERRY_RECORD_FAILED ||
        (got.n_blocks &&
         !ferry_trace_writer_add_blocks(r->writer, got.blocks, got.n_blocks, error))) {
        return FALSE;
    }
    if (r->ops->paced) {
        got.frame.span_ns = MAX(now - r->last_ns, 1);
        r->last_ns = now;
    } else {
        r->last_ns += got.frame.span_ns;
    }
    if (!ferry_trace_writer_frame(r->writer, &got.frame, error)) {
        return FALSE;
    }
    r->frames++;
    r->pages += count_pages(&got.frame);
    r->late += r->ops->paced && got.frame.span_ns > r->options->interval_ns * 3 / 2;
    if (got.cost_ns) {
        g_array_append_val(r->costs, got.cost_ns);
    }
    if (r->last_ns - r->flushed_ns >= FLUSH_NS && r->ops->paced) {
        r->flushed_ns = r->last_ns;
        return ferry_trace_writer_flush(r->writer, error) && next == FERRY_RECORD_FRAME;
    }
    return next == FERRY_RECORD_FRAME;
}

/* FALSE with @error: it failed; what was recorded so far is there. */
static gboolean record_frames(Recording *r, GError **error)
{
    const FerryRecordOptions *o = r->options;
    uint64_t end = o->duration_ns ? r->begin_ns + o->duration_ns : UINT64_MAX;
    uint64_t due = r->begin_ns + o->interval_ns;

    while (!r->interrupted && r->last_ns < end) {
        GError *failed = NULL;

        if (!wait_until(r, r->ops->paced ? MIN(due, end) : 0, error)) {
            return FALSE;
        }
        if (r->interrupted && !r->ops->paced) {
            break;
        }
        if (!take_frame(r, &failed)) {
            if (failed) {
                g_propagate_error(error, failed);
            }
            return failed == NULL;
        }
        while (due <= r->last_ns) { /* a late frame is longer, those after it are on time */
            due += o->interval_ns;
        }
    }
    return TRUE;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void add_up(Recording *r, gboolean whole, FerryTraceTotals *out)
{
    uint64_t took = MAX(clock_ns(CLOCK_MONOTONIC) - r->begin_ns, 1);

    *out = (FerryTraceTotals){.frames = r->frames,
                              .pages_written = r->pages,
                              .length_ns = r->last_ns - r->begin_ns,
                              .late_frames = r->late,
                              .slowdown_permille = -1,
                              .ended = r->interrupted || !whole ? "interrupted" : "done"};
    if (r->ops->paced) {
        out->capture_cpu_permille =
            (unsigned)((clock_ns(CLOCK_PROCESS_CPUTIME_ID) - r->cpu_ns) * 1000 / took);
    }
    if (r->costs->len) {
        qsort(r->costs->data, r->costs->len, sizeof(uint64_t), compare);
        out->capture_ns_per_frame = g_array_index(r->costs, uint64_t, r->costs->len / 2);
    }
    if (r->ops->totals) {
        r->ops->totals(r->source, out);
    }
}

static void tell_people(const Recording *r, const FerryTraceTotals *t, uint64_t file_bytes)
{
    double seconds = (double)t->length_ns / NS_PER_S;
    g_autofree char *file = ferry_format_bytes(file_bytes);
    g_autoptr(GString) more = g_string_new(NULL);

    fprintf(stderr,
            "%s: %" G_GUINT64_FORMAT " frames, %.2f s, %" G_GUINT64_FORMAT
            " pages written (%.0f/s), %s\n",
            r->options->file, t->frames, seconds, t->pages_written,
            seconds > 0 ? (double)t->pages_written / seconds : 0, file);
    if (r->ops->paced || t->capture_ns_per_frame) {
        fprintf(stderr,
                "capture: %.3f ms a frame (median), %.1f %% of a processor, %" G_GUINT64_FORMAT
                " late frames\n",
                (double)t->capture_ns_per_frame / 1e6, t->capture_cpu_permille / 10.0,
                t->late_frames);
    }
    if (r->ops->tell) {
        r->ops->tell(r->source, NULL, more);
        fputs(more->str, stderr);
    }
}

static void add_count(JsonBuilder *b, const char *name, uint64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

static void tell_json(const Recording *r, const FerryTraceTotals *t, uint64_t file_bytes)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "file");
    json_builder_add_string_value(b, r->options->file);
    json_builder_set_member_name(b, "ended");
    json_builder_add_string_value(b, t->ended);
    add_count(b, "frames", t->frames);
    add_count(b, "length_ns", t->length_ns);
    add_count(b, "pages_written", t->pages_written);
    add_count(b, "file_bytes", file_bytes);
    add_count(b, "capture_ns_per_frame", t->capture_ns_per_frame);
    add_count(b, "capture_cpu_permille", t->capture_cpu_permille);
    add_count(b, "late_frames", t->late_frames);
    if (t->slowdown_permille >= 0) {
        add_count(b, "slowdown_permille", (uint64_t)t->slowdown_permille);
    }
    if (r->ops->tell) {
        r->ops->tell(r->source, b, NULL);
    }
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), TRUE);
}

static void tell(const Recording *r, const FerryTraceTotals *totals)
{
    struct stat file; /* somebody else may have written it */
    uint64_t bytes = stat(r->options->file, &file) == 0 ? (uint64_t)file.st_size : 0;

    if (r->options->json) {
        tell_json(r, totals, bytes);
    } else {
        tell_people(r, totals, bytes);
    }
}

gboolean ferry_record_run(const FerryRecordOps *ops, FerryRecordOptions *options, GError **error)
{
    g_auto(FerryFd) signals = open_signals(error);
    g_auto(Recording) r = {.ops = ops, .options = options};
    FerryTraceTotals totals = {.slowdown_permille = -1};
    gboolean whole;

    options->stop_fd = signals;
    r.costs = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    if (signals < 0 || !(r.source = ops->open(options, error))) {
        return FALSE;
    }
    if (ops->drive) {
        whole = ops->drive(r.source, &totals, error);
        if (whole) {
            tell(&r, &totals);
        }
        return whole;
    }
    if (!begin(&r, error)) {
        return FALSE;
    }
    whole = record_frames(&r, error);
    add_up(&r, whole, &totals);
    /* A failure half-way leaves a trace that is whole as far as it goes. */
    if (!ferry_trace_writer_end(r.writer, &totals, whole ? error : NULL) ||
        !ferry_trace_file_commit(r.file, whole ? error : NULL)) {
        return FALSE;
    }
    if (whole) {
        tell(&r, &totals);
    }
    return whole;
}

#include "engine/multifd-load.h"
#include <signal.h>
#include <string.h>
#include "engine/error.h"
#include "engine/multifd-load-private.h"

#define SETTLE_NS 1000000ull /* between two looks at channels that still have something to say */
#define CRUMB 4096           /* bytes; channels that bring less in the time they have are silent */

FerryMultifdLoader *ferry_multifd_loader_new(const FerryMultifdLoadOptions *options)
{
    FerryMultifdLoader *l = g_new0(FerryMultifdLoader, 1);

    l->options = *options;
    l->options.channels = NULL;
    l->method = options->method;
    l->method_known = !options->any_method;
    l->pipes = g_new0(FerryMultifdPipe, MAX(options->n, 1));
    for (unsigned i = 0; i < options->n; i++) {
        l->pipes[i].loader = l;
        l->pipes[i].channel = options->channels[i];
        l->pipes[i].id = i;
        l->pipes[i].block = -1;
    }
    ferry_waitable_init(&l->waitable, options->interrupt);
    return l;
}

/* A channel's end. What it says is the migration's error if it is the first one, and if anybody
 * still wants to hear it. Takes @error. */
static void leave(FerryMultifdPipe *p, GError *error)
{
    FerryMultifdLoader *l = p->loader;
    gboolean fails =
        error && !g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED);

    ferry_waitable_lock(&l->waitable);
    p->done = TRUE;
    fails = fails && !l->ended && !l->stopping && !l->error;
    if (fails) {
        g_set_error(&l->error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd channel %u (%s), packet at byte %" G_GUINT64_FORMAT ": %s", p->id,
                    ferry_channel_get_description(p->channel), p->offset, error->message);
    }
    ferry_waitable_wake(&l->waitable);
    ferry_waitable_unlock(&l->waitable);
    if (fails) {
        ferry_interrupt_raise(l->options.interrupt);
    }
    g_clear_error(&error);
}

static void *pipe_thread(void *data)
{
    FerryMultifdPipe *p = data;
    GError *error = NULL;

    while (ferry_multifd_pipe_take(p, &error)) {
    }
    leave(p, error);
    return NULL;
}

gboolean ferry_multifd_loader_start(FerryMultifdLoader *l, unsigned page_bits, GError **error)
{
    sigset_t all, before;
    int failed = 0;

    l->page_bits = page_bits;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the embedder's signals are its own threads' */
    for (unsigned i = 0; !failed && i < l->options.n; i++) {
        failed = pthread_create(&l->pipes[i].thread, NULL, pipe_thread, &l->pipes[i]);
        l->pipes[i].has_thread = !failed;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST,
                    "a thread for each of %u multifd channels: %s", l->options.n,
                    g_strerror(failed));
    }
    return !failed;
}

static gboolean fail_behind(const FerryMultifdPipe *p, const char *what, GError **error)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                "multifd channel %u: %s behind the last barrier", p->id, what);
    return FALSE;
}

/* Whoever still asks hears of it. With the lock held. */
static void refuse_late(const FerryMultifdPipe *p, const char *what)
{
    FerryMultifdLoader *l = p->loader;

    if (l->ended && !l->stopping && !l->error) {
        fail_behind(p, what, &l->error);
    }
}

gboolean ferry_multifd_loader_admit(FerryMultifdPipe *p, FerryMultifdMethod method, GError **error)
{
    FerryMultifdLoader *l = p->loader;
    gboolean wanted, agreed;

    if (method != FERRY_MULTIFD_NONE && method != FERRY_MULTIFD_ZLIB &&
        method != FERRY_MULTIFD_ZSTD) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd compression '%s' is not supported", ferry_multifd_method_name(method));
        return FALSE;
    }
    ferry_waitable_lock(&l->waitable);
    if (!l->method_known) {
        l->method = method;
        l->method_known = TRUE;
    }
    agreed = method == l->method;
    refuse_late(p, "pages");
    wanted = !l->ended && !l->stopping;
    p->behind |= wanted;
    ferry_waitable_unlock(&l->waitable);
    if (wanted && !agreed) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd compression '%s', but '%s' is expected",
                    ferry_multifd_method_name(method), ferry_multifd_method_name(l->method));
    }
    return wanted && agreed;
}

gboolean ferry_multifd_loader_wait(FerryMultifdPipe *p)
{
    FerryMultifdLoader *l = p->loader;
    uint64_t generation;
    gboolean passed;

    ferry_waitable_lock(&l->waitable);
    refuse_late(p, "SYNC");
    generation = l->generation;
    p->at_sync = TRUE;
    ferry_waitable_wake(&l->waitable);
    while (generation == l->generation && !l->stopping &&
           ferry_waitable_wait(&l->waitable, FERRY_NO_DEADLINE, NULL)) {
    }
    passed = generation != l->generation;
    ferry_waitable_unlock(&l->waitable);
    return passed;
}

/* "0, 2": who has not reached the barrier, or of these who never will; NULL: nobody. With the lock
 * held. */
static char *late(const FerryMultifdLoader *l, gboolean for_ever)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < l->options.n; i++) {
        if (!l->pipes[i].at_sync && (l->pipes[i].done || !for_ever)) {
            g_string_append_printf(text, text->len ? ", %u" : "%u", i);
        }
    }
    return text->len ? g_strdup(text->str) : NULL;
}

static uint64_t bytes_read(const FerryMultifdLoader *l)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < l->options.n; i++) {
        bytes += ferry_channel_bytes_read(l->pipes[i].channel);
    }
    return bytes;
}

static gboolean fail_late(const FerryMultifdLoader *l, const char *which, const char *how,
                          GError **error)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                "barrier %" G_GUINT64_FORMAT " of the multifd channels: no SYNC from channel %s%s",
                l->generation + 1, which, how);
    return FALSE;
}

/* With the lock held. */
static gboolean await_all(FerryMultifdLoader *l, GError **error)
{
    uint64_t seen = bytes_read(l), deadline_ns = ferry_now_ns() + l->options.timeout_ns;

    for (;;) {
        g_autofree char *which = late(l, FALSE), *closed = late(l, TRUE);
        g_autoptr(GError) why = NULL;

        if (!which) {
            return TRUE;
        }
        if (l->error) {
            g_propagate_error(error, g_error_copy(l->error));
            return FALSE;
        }
        /* An interrupt ends their threads, too. */
        if (closed && !ferry_interrupt_is_raised(l->options.interrupt)) {
            return fail_late(l, closed, ": the source closed it", error);
        }
        if (ferry_waitable_wait(&l->waitable, deadline_ns, &why)) {
            continue;
        }
        if (!g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
            g_propagate_error(error, g_error_copy(l->error ? l->error : why));
            return FALSE;
        }
        if (bytes_read(l) - seen < CRUMB) {
            return fail_late(l, which, " in the time it had", error);
        }
        seen = bytes_read(l);
        deadline_ns = ferry_now_ns() + l->options.timeout_ns;
    }
}

gboolean ferry_multifd_loader_barrier(FerryMultifdLoader *l, GError **error)
{
    gboolean all;

    ferry_waitable_lock(&l->waitable);
    all = await_all(l, error);
    if (all) {
        for (unsigned i = 0; i < l->options.n; i++) {
            l->pipes[i].at_sync = l->pipes[i].behind = FALSE;
        }
        l->generation++;
        ferry_waitable_wake(&l->waitable);
    }
    ferry_waitable_unlock(&l->waitable);
    return all;
}

void ferry_multifd_loader_quiet(FerryMultifdPipe *p, gboolean quiet)
{
    ferry_waitable_lock(&p->loader->waitable);
    p->quiet = quiet; /* whoever waits for that looks again by itself */
    ferry_waitable_unlock(&p->loader->waitable);
}

/* Every channel is silent, stopped or closed. With the lock held. */
static gboolean all_settled(const FerryMultifdLoader *l)
{
    for (unsigned i = 0; i < l->options.n; i++) {
        const FerryMultifdPipe *p = &l->pipes[i];
        if (!p->done && !p->at_sync &&
            (!p->quiet || ferry_channel_readable(p->channel, 0, NULL) != 0)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_multifd_loader_end(FerryMultifdLoader *l, GError **error)
{
    uint64_t until_ns = ferry_now_ns() + l->options.timeout_ns;
    gboolean ok;

    ferry_waitable_lock(&l->waitable);
    /* What a source of the other kind wrote before its end must not be overlooked. */
    while (!all_settled(l) && !l->error && ferry_now_ns() < until_ns &&
           !ferry_interrupt_is_raised(l->options.interrupt)) {
        (void)ferry_waitable_wait(&l->waitable, MIN(ferry_now_ns() + SETTLE_NS, until_ns), NULL);
    }
    if (l->error) {
        g_propagate_error(error, g_error_copy(l->error));
    }
    ok = l->error == NULL;
    for (unsigned i = 0; ok && i < l->options.n; i++) {
        ok = !l->pipes[i].at_sync && !l->pipes[i].behind;
        if (!ok) {
            fail_behind(&l->pipes[i], l->pipes[i].behind ? "pages" : "SYNC", error);
        }
    }
    l->ended = ok;
    ferry_waitable_unlock(&l->waitable);
    return ok;
}

gboolean ferry_multifd_loader_check(FerryMultifdLoader *l, GError **error)
{
    gboolean ok;

    ferry_waitable_lock(&l->waitable);
    ok = l->error == NULL;
    if (!ok) {
        g_propagate_error(error, g_error_copy(l->error));
    }
    ferry_waitable_unlock(&l->waitable);
    return ok;
}

static gboolean all_done(const FerryMultifdLoader *l)
{
    for (unsigned i = 0; i < l->options.n; i++) {
        if (l->pipes[i].has_thread && !l->pipes[i].done) {
            return FALSE;
        }
    }
    return TRUE;
}

void ferry_multifd_loader_stop(FerryMultifdLoader *l, uint64_t patience_ns)
{
    uint64_t until_ns = ferry_now_ns() + patience_ns;

    ferry_waitable_lock(&l->waitable);
    while (!all_done(l) && ferry_waitable_wait(&l->waitable, until_ns, NULL)) {
    }
    l->stopping = TRUE;
    ferry_waitable_wake(&l->waitable);
    ferry_waitable_unlock(&l->waitable);
    for (unsigned i = 0; i < l->options.n; i++) {
        ferry_channel_abort(l->pipes[i].channel);
    }
    for (unsigned i = 0; i < l->options.n; i++) {
        if (l->pipes[i].has_thread) {
            pthread_join(l->pipes[i].thread, NULL);
            l->pipes[i].has_thread = FALSE;
        }
    }
}

FerryMultifdLoaded ferry_multifd_loader_counts(const FerryMultifdLoader *l)
{
    FerryMultifdLoaded sum = {0};

    for (unsigned i = 0; i < l->options.n; i++) {
        const FerryMultifdLoaded *one = &l->pipes[i].counts;
        sum.packets += __atomic_load_n(&one->packets, __ATOMIC_RELAXED);
        sum.normal_pages += __atomic_load_n(&one->normal_pages, __ATOMIC_RELAXED);
        sum.zero_pages += __atomic_load_n(&one->zero_pages, __ATOMIC_RELAXED);
        sum.coded_pages += __atomic_load_n(&one->coded_pages, __ATOMIC_RELAXED);
        sum.coded_bytes += __atomic_load_n(&one->coded_bytes, __ATOMIC_RELAXED);
    }
    sum.bytes = bytes_read(l) + (uint64_t)l->options.n * FERRY_MULTIFD_HELLO_SIZE;
    return sum;
}

void ferry_multifd_loader_free(FerryMultifdLoader *l)
{
    if (!l) {
        return;
    }
    ferry_multifd_loader_stop(l, 0);
    for (unsigned i = 0; i < l->options.n; i++) {
        ferry_multifd_pipe_clear(&l->pipes[i]);
    }
    ferry_waitable_clear(&l->waitable);
    g_clear_error(&l->error);
    g_free(l->pipes);
    g_free(l);
}

/* Two engines in one process, a channel between them that breaks at every place: whatever happens,
 * the guest runs on at most one side, nothing of it is lost, and both sides say what is true. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "engine/guest-private.h"
#include "protocol/multifd.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 64ull /* small: the sweep cuts the stream hundreds of times */
#define MS 1000000ull

/* One migration, both ends. */
typedef struct {
    CountingGuest *from, *to;
    FerryInterrupt *from_interrupt, *to_interrupt;
    FerrySource *source;
    FerryDestination *destination;
    GError *from_error, *to_error;
    gboolean sent, received, hang_up;
} Run;

static void *receive(void *data)
{
    Run *r = data;
    r->received = ferry_destination_run(r->destination, &r->to_error);
    if (r->received && r->hang_up) { /* the last word and the end of the channel arrive as one */
        ferry_destination_free(g_steal_pointer(&r->destination));
    }
    return NULL;
}

/* @fault: NULL = none; @at_source: which end it is put on. */
static void prepare(Run *r, uint64_t seed, const FerryFault *fault, gboolean at_source,
                    FerrySourceOptions options, FerryLimits limits)
{
    FerryChannel *a, *b;

    memset(r, 0, sizeof *r);
    r->from = counting_guest_new(PAGES, 20, seed);
    r->to = counting_guest_new(PAGES, 20, seed + 1);
    r->from_interrupt = ferry_interrupt_new(NULL);
    r->to_interrupt = ferry_interrupt_new(NULL);
    ferry_channel_pair(64 << 10, NULL, &a, &b);
    if (fault && at_source) {
        a = ferry_channel_fault(a, fault, r->from_interrupt);
    } else if (fault) {
        b = ferry_channel_fault(b, fault, r->to_interrupt);
    }
    FerryDestinationOptions to_options = {.io_timeout_ns = options.io_timeout_ns};
    r->source =
        ferry_source_new(counting_guest_describe(r->from), a, r->from_interrupt, &options, &limits);
    r->destination =
        ferry_destination_new(counting_guest_describe(r->to), b, r->to_interrupt, &to_options);
}

static void run(Run *r)
{
    pthread_t thread;

    counting_guest_run(r->from);
    counting_guest_await_writes(r->from);
    g_assert(pthread_create(&thread, NULL, receive, r) == 0);
    r->sent = ferry_source_run(r->source, &r->from_error);
    if (!r->sent) { /* as a process that ends, or a manager that gives up, would */
        ferry_source_free(g_steal_pointer(&r->source));
    }
    pthread_join(thread, NULL);
}

static void finish(Run *r)
{
    ferry_source_free(r->source);
    ferry_destination_free(r->destination);
    counting_guest_free(r->from);
    counting_guest_free(r->to);
    ferry_interrupt_free(r->from_interrupt);
    ferry_interrupt_free(r->to_interrupt);
    g_clear_error(&r->from_error);
    g_clear_error(&r->to_error);
}

static void hold(CountingGuest *g)
{
    gboolean was_running;
    g_assert(
        ferry_guest_pause(counting_guest_describe(g), FERRY_PAUSE_SWITCHOVER, &was_running, NULL));
}

static const char *text(const GError *error) { return error ? error->message : "success"; }

/* The rules that hold after any fault. */
static void judge(Run *r, const char *what, uint64_t position)
{
    gboolean from_runs = counting_guest_is_running(r->from);
    gboolean to_runs = counting_guest_is_running(r->to);
    gboolean from_unsure =
        g_error_matches(r->from_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE);
    gboolean to_unsure =
        g_error_matches(r->to_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE);
#define WHERE                                                                                      \
    "%s at %lu: source: %s; destination: %s", what, (unsigned long)position, text(r->from_error),  \
        text(r->to_error)
    EXPECT(!(from_runs && to_runs), WHERE);
    EXPECT(r->sent == (r->from_error == NULL) && r->received == (r->to_error == NULL), WHERE);
    EXPECT(to_runs == r->received, WHERE);
    EXPECT(!r->sent || r->received, WHERE);
    EXPECT(from_runs == (!r->sent && !from_unsure), WHERE);
    EXPECT(from_runs || to_runs || from_unsure, WHERE); /* if nobody runs, somebody says so */
    EXPECT(counting_guest_throttle(r->from) == 0, WHERE);
    hold(r->from);
    hold(r->to);
    EXPECT(counting_guest_is_whole(r->from), WHERE); /* the source's image is always whole */
    if (r->received || to_unsure) {
        EXPECT(counting_guest_is_whole(r->to), WHERE);
        EXPECT(counting_guest_count(r->to) > 0, WHERE);
    } else {
        EXPECT(counting_guest_is_zero(r->to), WHERE);
    }
}

static FerryLimits quick(void)
{
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    limits.max_bandwidth = 0;
    limits.downtime_limit_ns = 10000 * MS; /* met after the first round: what is said is known */
    return limits;
}

static void good_migration(void)
{
    Run r;
    FerryProgress p;
    FerrySourceOptions options = {.verify = TRUE};

    prepare(&r, 1, NULL, FALSE, options, quick());
    run(&r);
    EXPECT(r.sent && r.received, "%s / %s", text(r.from_error), text(r.to_error));
    if (r.sent) {
        ferry_source_get_progress(r.source, &p);
        g_autoptr(GArray) rounds = ferry_source_get_rounds(r.source);
        uint64_t pages = 0, bytes = 0;
        for (unsigned i = 0; i < rounds->len; i++) {
            pages += g_array_index(rounds, FerryRoundReport, i).normal_pages +
                     g_array_index(rounds, FerryRoundReport, i).zero_pages;
            bytes += g_array_index(rounds, FerryRoundReport, i).sent_bytes;
        }
        EXPECT(p.phase == FERRY_PHASE_DONE && p.peer_is_ferry && p.verified, "%d", p.phase);
        EXPECT(p.dirty_syncs >= 2 && rounds->len == p.dirty_syncs - 1, "%lu syncs, %u rounds",
               (unsigned long)p.dirty_syncs, rounds->len);
        EXPECT(pages == p.normal_pages + p.zero_pages && pages >= PAGES + 3, "%lu",
               (unsigned long)pages);
        EXPECT(bytes < p.sent_bytes, "%lu of %lu", (unsigned long)bytes,
               (unsigned long)p.sent_bytes);
        const FerryDowntime *d = &p.downtime;
        EXPECT(d->pause_ns + d->last_round_ns + d->device_state_ns + d->verify_ns + d->load_ns +
                           d->start_ns <=
                       d->total_ns &&
                   d->total_ns > 0,
               "%lu", (unsigned long)d->total_ns);
        EXPECT(p.predicted_downtime_ns > 0 && p.predicted_downtime_ns <= 10000 * MS, "%lu",
               (unsigned long)p.predicted_downtime_ns);
    }
    judge(&r, "no fault", 0);
    finish(&r);
}

/* How long the streams of one migration are, for the sweeps. */
static void measure(uint64_t *out_forth, uint64_t *out_back)
{
    Run r;
    FerryProgress p;

    prepare(&r, 3, NULL, FALSE, (FerrySourceOptions){0}, quick());
    run(&r);
    ferry_source_get_progress(r.source, &p);
    *out_forth = p.sent_bytes;
    *out_back = 8 * 5; /* answers to HELLO and ALIVE, LOADED, RUNNING, SHUT */
    finish(&r);
}

typedef struct {
    const char *name;
    FerryFaultKind kind;
    gboolean on_read, at_source;
} Sweep;

static void sweep(const Sweep *w, uint64_t length, unsigned positions)
{
    unsigned unsure = 0, sent = 0;

    for (unsigned i = 0; i <= positions; i++) {
        Run r;
        FerryFault fault = {
            .kind = w->kind, .on_read = w->on_read, .position = length * i / positions};
        prepare(&r, i, &fault, w->at_source, (FerrySourceOptions){.io_timeout_ns = 300 * MS},
                quick());
        run(&r);
        judge(&r, w->name, fault.position);
        unsure += g_error_matches(r.from_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE);
        sent += r.sent;
        finish(&r);
    }
    printf("ok: %s: %u positions over %lu bytes, %u completed, %u in doubt at the source\n",
           w->name, positions + 1, (unsigned long)length, sent, unsure);
}

static void handover_bytes_one_by_one(uint64_t back)
{
    static const Sweep cuts[] = {
        {"cut, source reading",             FERRY_FAULT_CUT,        TRUE,  TRUE },
        {"cut, destination writing",        FERRY_FAULT_CUT,        FALSE, FALSE},
        {"black hole, destination writing", FERRY_FAULT_BLACK_HOLE, FALSE, FALSE},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cuts); i++) {
        sweep(&cuts[i], back, (unsigned)back);
    }
}

static void *cancel_after(void *data)
{
    Run *r = data;
    g_usleep(3000);
    (void)ferry_source_cancel(r->source);
    return NULL;
}

static void cancel_ends_and_the_guest_runs_on(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        Run r;
        pthread_t thread;
        FerryLimits limits = quick();
        limits.downtime_limit_ns = i % 2 ? 1 : 10000 * MS; /* half of them would never end */
        prepare(&r, i, NULL, FALSE, (FerrySourceOptions){0}, limits);
        FerrySource *source = r.source;
        g_assert(pthread_create(&thread, NULL, cancel_after, &r) == 0);
        counting_guest_run(r.from);
        counting_guest_await_writes(r.from);
        pthread_t receiver;
        g_assert(pthread_create(&receiver, NULL, receive, &r) == 0);
        r.sent = ferry_source_run(source, &r.from_error);
        pthread_join(thread, NULL);
        ferry_source_free(g_steal_pointer(&r.source));
        pthread_join(receiver, NULL);
        EXPECT(r.sent ||
                   g_error_matches(r.from_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED),
               "%s", text(r.from_error));
        EXPECT(i % 2 == 0 || !r.sent, "a budget of 1 ns was met");
        EXPECT(!g_error_matches(r.to_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE), "%s",
               text(r.to_error));
        judge(&r, "cancel", i);
        finish(&r);
    }
}

static void a_failing_device_leaves_the_guest_where_it_was(void)
{
    for (unsigned at_source = 0; at_source < 2; at_source++) {
        Run r;
        prepare(&r, 5, NULL, FALSE, (FerrySourceOptions){0}, quick());
        counting_guest_fail_save(r.from, at_source);
        counting_guest_fail_load(r.to, !at_source);
        run(&r);
        EXPECT(g_error_matches(r.from_error, FERRY_ENGINE_ERROR,
                               at_source ? FERRY_ENGINE_ERROR_GUEST : FERRY_ENGINE_ERROR_PEER),
               "%s", text(r.from_error));
        EXPECT(at_source || strstr(text(r.to_error), "'registers' 0"), "%s", text(r.to_error));
        judge(&r, at_source ? "save fails" : "load fails", 0);
        finish(&r);
    }
}

static void a_paused_guest_stays_paused(void)
{
    Run r;
    prepare(&r, 6, NULL, FALSE, (FerrySourceOptions){0}, quick());
    counting_guest_run(r.from);
    hold(r.from);
    uint64_t hash = counting_guest_hash(r.from);
    pthread_t receiver;
    g_assert(pthread_create(&receiver, NULL, receive, &r) == 0);
    r.sent = ferry_source_run(r.source, &r.from_error);
    pthread_join(receiver, NULL);
    EXPECT(r.sent && r.received, "%s / %s", text(r.from_error), text(r.to_error));
    EXPECT(!counting_guest_is_running(r.to), "it was paused");
    EXPECT(!ferry_destination_was_running(r.destination), "it was paused");
    EXPECT(counting_guest_hash(r.to) == hash, "memory differs");
    finish(&r);
}

static void a_last_word_before_hanging_up_counts(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        Run r;
        prepare(&r, i, NULL, FALSE, (FerrySourceOptions){0}, quick());
        r.hang_up = TRUE;
        run(&r);
        EXPECT(r.sent && r.received, "%s / %s", text(r.from_error), text(r.to_error));
        finish(&r);
    }
}

/* In doubt both ways: the operator decides, once for each side. */
static void doubt_can_be_resolved(void)
{
    for (unsigned here = 0; here < 2; here++) {
        Run r;
        FerryFault lost_go = {.kind = FERRY_FAULT_BLACK_HOLE, .on_read = TRUE, .position = 8 * 3};
        prepare(&r, 7, &lost_go, TRUE, (FerrySourceOptions){.io_timeout_ns = 200 * MS}, quick());
        pthread_t receiver;
        counting_guest_run(r.from);
        counting_guest_await_writes(r.from);
        g_assert(pthread_create(&receiver, NULL, receive, &r) == 0);
        r.sent = ferry_source_run(r.source, &r.from_error);
        pthread_join(receiver, NULL);
        /* RUNNING was lost: the destination runs, the source does not know. */
        EXPECT(g_error_matches(r.from_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE), "%s",
               text(r.from_error));
        EXPECT(!ferry_destination_resolve(r.destination, NULL), "it is not in doubt there");
        if (here) {
            hold(r.to); /* the operator stopped it there */
            EXPECT(ferry_source_resolve(r.source, NULL), "resolve");
            EXPECT(counting_guest_is_running(r.from), "resolved to here");
        }
        finish(&r);
    }
}

/* Where the sender of a multifd migration connects to. */
typedef struct {
    FerryChannel *ours[2], *theirs[2];
    unsigned n;
    Run run;
} Door;

static FerryChannel *enter(void *self, GError **error)
{
    Door *door = self;

    (void)error;
    return g_steal_pointer(&door->ours[door->n++]);
}

static void *receive_behind_hellos(void *data)
{
    Door *door = data;
    uint8_t hello[FERRY_MULTIFD_HELLO_SIZE];

    for (unsigned i = 0; i < 2; i++) {
        (void)ferry_channel_read_all(door->theirs[i], hello, sizeof hello, FERRY_NO_DEADLINE, NULL);
    }
    return receive(&door->run);
}

/* All pages travel on channels that always have room for more, for twice as long as main may be
 * silent. Without a return path there is nothing to be said on main. */
static void pages_elsewhere_are_no_silence(gboolean one_way)
{
    const uint64_t mib = 1 << 20, pages = 96 * mib / FERRY_PAGE_SIZE;
    Door door = {
        .run = {.from = counting_guest_new(pages, 1, 1),
                .to = counting_guest_new(pages, 1, 2),
                .from_interrupt = ferry_interrupt_new(NULL),
                .to_interrupt = ferry_interrupt_new(NULL)}
    };
    Run *r = &door.run;
    FerrySourceOptions from = {.io_timeout_ns = 1200 * MS,
                               .zero_pages = FERRY_ZERO_PAGES_NONE,
                               .no_return_path = one_way,
                               .dialect = &ferry_dialect_ferry,
                               .multifd_channels = 2,
                               .connect = enter,
                               .connect_self = &door};
    FerryDestinationOptions to = {
        .io_timeout_ns = 1500 * MS, .multifd = door.theirs, .n_multifd = 2};
    FerryLimits limits = quick();
    FerryChannel *a, *b;
    pthread_t thread;

    ferry_channel_pair(64 << 10, NULL, &a, &b);
    for (unsigned i = 0; i < 2; i++) {
        ferry_channel_pair(1 << 20, NULL, &door.ours[i], &door.theirs[i]);
        door.ours[i] = ferry_channel_ratelimit(door.ours[i], 16 * mib, r->from_interrupt);
    }
    r->source =
        ferry_source_new(counting_guest_describe(r->from), a, r->from_interrupt, &from, &limits);
    r->destination = ferry_destination_new(counting_guest_describe(r->to), b, r->to_interrupt, &to);
    counting_guest_run(r->from);
    g_assert(pthread_create(&thread, NULL, receive_behind_hellos, &door) == 0);
    r->sent = ferry_source_run(r->source, &r->from_error);
    ferry_source_free(g_steal_pointer(&r->source));
    pthread_join(thread, NULL);
    EXPECT(r->sent && r->received, "%s / %s", text(r->from_error), text(r->to_error));
    finish(r);
}

int main(int argc, char **argv)
{
    unsigned positions = argc > 1 ? (unsigned)atoi(argv[1]) : 20;
    static const Sweep sweeps[] = {
        {"cut, source writing",        FERRY_FAULT_CUT,        FALSE, TRUE },
        {"cut, destination reading",   FERRY_FAULT_CUT,        TRUE,  FALSE},
        {"stall, source writing",      FERRY_FAULT_STALL,      FALSE, TRUE },
        {"black hole, source writing", FERRY_FAULT_BLACK_HOLE, FALSE, TRUE },
    };
    uint64_t forth, back;

    setvbuf(stdout, NULL, _IOLBF, 0);
    good_migration();
    a_failing_device_leaves_the_guest_where_it_was();
    a_paused_guest_stays_paused();
    a_last_word_before_hanging_up_counts(positions);
    doubt_can_be_resolved();
    pages_elsewhere_are_no_silence(FALSE);
    pages_elsewhere_are_no_silence(TRUE);
    cancel_ends_and_the_guest_runs_on(positions);
    measure(&forth, &back);
    handover_bytes_one_by_one(back);
    for (unsigned i = 0; i < G_N_ELEMENTS(sweeps); i++) {
        sweep(&sweeps[i], forth, i < 2 ? positions * 2 : positions);
    }
    printf("%u failures\n", failures);
    return failures != 0;
}

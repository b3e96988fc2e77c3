/* A replayed guest: it stands when it is told to, its time passes as it should, every write of it
 * arrives, and when the destination dies it goes on. Frames are made by hand. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/fakes/expect.h"
#include "tools/replay-memory.h"

#define MS 1000000ull
#define PAGES 1024ull
#define MACHINE "ferry-replay"

/* Frames of 20 ms: a quarter of the pages in turn, and the first 32 each time. */
typedef struct {
    uint64_t number, n_frames;
    FerryTraceRun runs[2];
} Frames;

static gboolean next(void *self, FerryTraceFrame *out_frame, uint64_t *out_lap)
{
    Frames *f = self;

    if (f->number == f->n_frames) {
        return FALSE;
    }
    uint64_t quarter = f->number % 4;
    f->runs[0] = (FerryTraceRun){0, quarter ? 32 : PAGES / 4};
    f->runs[1] = (FerryTraceRun){quarter * (PAGES / 4), PAGES / 4};
    *out_frame = (FerryTraceFrame){.number = f->number,
                                   .begin_ns = f->number * 20 * MS,
                                   .span_ns = 20 * MS,
                                   .runs = f->runs,
                                   .n_runs = quarter ? 2 : 1,
                                   .n_pages = PAGES / 4 + (quarter ? 32 : 0),
                                   .ran_ns = UINT64_MAX};
    *out_lap = 0;
    f->number++;
    return TRUE;
}

typedef struct {
    Frames frames;
    uint8_t classes[PAGES];
    FerryReplayMemory *memory;
    FerryReplayGuest *guest;
    FerryGuest *described;
} Rig;

static void rig_init(Rig *r, uint64_t n_frames, FerryReplayLog log)
{
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    FerryReplayGuestOptions options = {.content = FERRY_REPLAY_TRACE, .seed = 3, .speed = 1};
    g_autoptr(GError) error = NULL;

    memset(r, 0, sizeof *r);
    memset(r->classes, FERRY_TRACE_CLASS_UNKNOWN, sizeof r->classes);
    r->frames.n_frames = n_frames;
    ferry_trace_header_add(header, "low", PAGES / 2);
    ferry_trace_header_add(header, "empty", 0);
    ferry_trace_header_add(header, "same", PAGES / 4);
    ferry_trace_header_add(header, "same", PAGES / 4);
    r->memory = ferry_replay_memory_new(header, NULL, log, &error);
    g_assert_no_error(error);
    options.places = ferry_replay_memory_places(r->memory, &options.n_places);
    options.classes = r->classes;
    options.marks = ferry_replay_memory_marks(r->memory);
    options.frames = (FerryReplayFrames){.next = next, .self = &r->frames};
    r->guest = ferry_replay_guest_new(&options, &error);
    r->described = ferry_replay_memory_animate(r->memory, r->guest, &error);
    g_assert_no_error(error);
}

static void rig_clear(Rig *r)
{
    ferry_replay_guest_free(r->guest);
    ferry_replay_memory_free(r->memory);
}

static uint64_t hash(Rig *r) { return ferry_memory_hash(ferry_guest_memory(r->described)); }

static FerryReplayStats stats_of(Rig *r)
{
    FerryReplayStats stats;

    ferry_replay_guest_get_stats(r->guest, &stats);
    return stats;
}

static void await_writes(Rig *r, uint64_t n)
{
    while (stats_of(r).writes < n) {
        g_usleep(1000);
    }
}

static void await_end(Rig *r)
{
    while (!stats_of(r).ended) {
        g_usleep(1000);
    }
}

static gboolean pause_it(Rig *r)
{
    gboolean ran = FALSE;

    EXPECT(ferry_replay_guest_ops.pause(r->guest, FERRY_PAUSE_REHEARSAL, &ran, NULL), "pause");
    return ran;
}

static void blocks_have_names_of_their_own(void)
{
    Rig r;

    rig_init(&r, 0, FERRY_REPLAY_LOG_MARKS);
    const FerryMemory *memory = ferry_guest_memory(r.described);
    EXPECT(ferry_memory_n_blocks(memory) == 3, "%u", ferry_memory_n_blocks(memory));
    EXPECT(ferry_memory_find(memory, "low") == 0, "low");
    EXPECT(ferry_memory_find(memory, "same#2") == 1, "same#2");
    EXPECT(ferry_memory_find(memory, "same#3") == 2, "same#3");
    rig_clear(&r);
}

static void it_stands_when_it_is_told_to(void)
{
    Rig r;

    rig_init(&r, 1000, FERRY_REPLAY_LOG_MARKS);
    EXPECT(!pause_it(&r), "it does not run yet");
    ferry_replay_guest_start(r.guest);
    await_writes(&r, 100);
    for (unsigned i = 0; i < 10; i++) {
        EXPECT(pause_it(&r), "it ran");
        FerryReplayStats stats = stats_of(&r);
        uint64_t held = hash(&r);
        g_usleep(3000);
        EXPECT(hash(&r) == held, "memory changed while it stood");
        EXPECT(stats_of(&r).writes == stats.writes && stats_of(&r).guest_ns == stats.guest_ns,
               "it went on");
        EXPECT(ferry_replay_guest_ops.resume(r.guest, NULL), "resume");
        await_writes(&r, stats.writes + 10);
        EXPECT(pause_it(&r) && hash(&r) != held, "it goes on");
        ferry_replay_guest_ops.resume(r.guest, NULL);
    }
    rig_clear(&r);
}

static void every_write_is_done_once_and_none_early(void)
{
    Rig r;

    rig_init(&r, 8, FERRY_REPLAY_LOG_MARKS);
    uint64_t begin_ns = ferry_now_ns();
    ferry_replay_guest_start(r.guest);
    await_end(&r);
    EXPECT(ferry_now_ns() - begin_ns >= 160 * MS, "8 frames of 20 ms");
    EXPECT(stats_of(&r).writes == 2 * PAGES + 2 * 3 * 32, "%lu", (long)stats_of(&r).writes);
    ferry_replay_guest_end(r.guest);
    EXPECT(ferry_replay_clock_real(ferry_replay_guest_clock(r.guest), 160 * MS) >=
               begin_ns + 160 * MS,
           "the clock");
    rig_clear(&r);
}

static void a_throttle_slows_its_time(void)
{
    Rig r;

    rig_init(&r, 2, FERRY_REPLAY_LOG_MARKS);
    ferry_replay_guest_ops.throttle(r.guest, 80);
    uint64_t begin_ns = ferry_now_ns();
    ferry_replay_guest_ops.resume(r.guest, NULL);
    await_end(&r);
    EXPECT(ferry_now_ns() - begin_ns >= 200 * MS, "40 ms at a fifth of the speed");
    rig_clear(&r);
}

/* The other end: memory alike, and a guest that does nothing. */
typedef struct {
    FerryGuest *guest;
    uint8_t *memory;
    FerryDestination *destination;
    FerryInterrupt *interrupt;
    pthread_t thread;
    gboolean ok;
    uint64_t clock_ns;
} There;

static gboolean pause_there(void *self, FerryPauseReason why, gboolean *out_ran, GError **error)
{
    (void)self;
    (void)why;
    (void)error;
    *out_ran = FALSE;
    return TRUE;
}

static gboolean resume_there(void *self, GError **error)
{
    (void)self;
    (void)error;
    return TRUE;
}

static gboolean save_there(void *self, GByteArray *body, GError **error)
{
    (void)self;
    (void)body;
    (void)error;
    return FALSE;
}

static gboolean load_there(void *self, const uint8_t *body, size_t length, uint32_t version,
                           GError **error)
{
    There *t = self;
    uint64_t wire;

    (void)version;
    (void)error;
    EXPECT(length == sizeof wire, "%zu", length);
    memcpy(&wire, body, sizeof wire);
    t->clock_ns = GUINT64_FROM_BE(wire);
    return TRUE;
}

static void *receive(void *data)
{
    There *t = data;
    g_autoptr(GError) error = NULL;

    t->ok = ferry_destination_run(t->destination, &error);
    return NULL;
}

static void there_init(There *t, FerryChannel *channel)
{
    static const FerryGuestOps ops = {.pause = pause_there, .resume = resume_there};
    static const FerryDeviceOps device = {.save = save_there, .load = load_there};
    static const char *const names[] = {"low", "same#2", "same#3"};
    uint64_t at = 0;

    memset(t, 0, sizeof *t);
    t->memory = mmap(NULL, PAGES * FERRY_REPLAY_PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(t->memory != MAP_FAILED);
    t->guest = ferry_guest_new(MACHINE, &ops, t);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        uint64_t bytes = (i ? PAGES / 4 : PAGES / 2) * FERRY_REPLAY_PAGE;
        g_assert(
            ferry_memory_add(ferry_guest_memory(t->guest), names[i], t->memory + at, bytes, NULL));
        at += bytes;
    }
    g_assert(ferry_guest_add_device(t->guest, FERRY_REPLAY_DEVICE, 0, 1, &device, t, NULL));
    t->interrupt = ferry_interrupt_new(NULL);
    t->destination = ferry_destination_new(t->guest, channel, t->interrupt, NULL);
    g_assert(pthread_create(&t->thread, NULL, receive, t) == 0);
}

static void there_clear(There *t)
{
    ferry_destination_free(t->destination);
    ferry_guest_free(t->guest);
    ferry_interrupt_free(t->interrupt);
    munmap(t->memory, PAGES * FERRY_REPLAY_PAGE);
}

static gboolean migrate(Rig *r, There *t, gboolean cut)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    FerrySourceOptions options = {.verify = TRUE, .io_timeout_ns = 20000 * MS};
    g_autoptr(GError) error = NULL;
    FerryChannel *here, *away;

    limits.max_bandwidth = 32 << 20; /* an eighth of a second for all of it */
    limits.policy = (FerryPolicy){&ferry_policy_fixed_rounds, 3};
    if (cut) {
        FerryFault fault = {.kind = FERRY_FAULT_CUT, .position = 2 << 20};
        ferry_channel_pair(64 << 10, NULL, &here, &away);
        here = ferry_channel_fault(here, &fault, interrupt);
    } else {
        ferry_channel_pair(64 << 10, NULL, &here, &away);
    }
    there_init(t, away);
    g_autoptr(FerrySource) source =
        ferry_source_new(r->described, here, interrupt, &options, &limits);
    ferry_replay_guest_start(r->guest);
    gboolean ok = ferry_source_run(source, &error);
    EXPECT(cut || ok, "%s", ok ? "" : error->message);
    if (!ok) {
        ferry_interrupt_raise(t->interrupt);
    }
    pthread_join(t->thread, NULL);
    return ok;
}

static void every_write_arrives(FerryReplayLog log)
{
    There t;
    Rig r;

    rig_init(&r, 5000, log);
    gboolean moved = migrate(&r, &t, FALSE);
    FerryReplayStats stats = stats_of(&r);
    EXPECT(moved && t.ok, "log %d", (int)log);
    EXPECT(!stats.running && stats.writes > PAGES / 4, "%lu writes", (long)stats.writes);
    EXPECT(ferry_memory_hash(ferry_guest_memory(t.guest)) == hash(&r), "memory differs");
    EXPECT(t.clock_ns == stats.guest_ns, "the guest's time went with it");
    there_clear(&t);
    rig_clear(&r);
}

static void it_goes_on_when_the_destination_is_gone(void)
{
    There t;
    Rig r;

    rig_init(&r, 5000, FERRY_REPLAY_LOG_MARKS);
    EXPECT(!migrate(&r, &t, TRUE) && !t.ok, "it was cut");
    EXPECT(stats_of(&r).running, "it runs");
    await_writes(&r, stats_of(&r).writes + 1000);
    there_clear(&t);
    rig_clear(&r);
}

int main(void)
{
    g_autoptr(GError) error = NULL;
    uint64_t one = 1;
    FerryPagemapRegion region = {
        (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        one};
    FerryDirtyLog *pagemap = ferry_dirty_log_pagemap_new(0, -1, &region, 1, &error);

    blocks_have_names_of_their_own();
    it_stands_when_it_is_told_to();
    every_write_is_done_once_and_none_early();
    a_throttle_slows_its_time();
    every_write_arrives(FERRY_REPLAY_LOG_MARKS);
    if (pagemap) {
        every_write_arrives(FERRY_REPLAY_LOG_PAGEMAP);
    } else {
        printf("without pagemap: %s\n", error->message);
    }
    it_goes_on_when_the_destination_is_gone();
    ferry_dirty_log_free(pagemap);
    return failures != 0;
}

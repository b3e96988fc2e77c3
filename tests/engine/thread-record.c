/* What a recording holds, of a guest whose every write is the test's. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include "engine/migration-private.h"
#include "engine/record.h"
#include "tests/engine/recorded.h"
#include "tests/fakes/expect.h"

#define LOW 70u /* pages of the first block; not whole words */
#define HIGH 40u
#define PATIENCE_NS 60000000000u

typedef struct {
    FerryDirtyMarks *marks;
    FerryGuest *guest;
    FerryMigration *migration;
    FerryRecorder *recorder;
    uint8_t *ram;
    char *directory, *file;
} Rig;

static gboolean pause_guest(void *self, FerryPauseReason why, gboolean *out_was, GError **error)
{
    (void)self;
    (void)why;
    (void)error;
    *out_was = TRUE;
    return TRUE;
}

static gboolean resume_guest(void *self, GError **error)
{
    (void)self;
    (void)error;
    return TRUE;
}

static void rig_init(Rig *rig)
{
    static const FerryGuestOps ops = {.pause = pause_guest, .resume = resume_guest};
    static const uint64_t pages[] = {LOW, HIGH};
    FerryMemory *memory;

    rig->ram =
        mmap(NULL, (LOW + HIGH) * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rig->guest = ferry_guest_new("by-hand", &ops, NULL);
    memory = ferry_guest_memory(rig->guest);
    ferry_memory_add(memory, "low", rig->ram, LOW * 4096, NULL);
    ferry_memory_add(memory, "high", rig->ram + LOW * 4096, HIGH * 4096, NULL);
    ferry_memory_set_guest_address(memory, 1, 0x100000);
    rig->marks = ferry_dirty_marks_new(pages, 2);
    ferry_guest_set_dirty_log(rig->guest, ferry_dirty_log_marks_new(rig->marks));
    ferry_guest_set_profile(rig->guest, 3, "by hand");
    rig->migration = ferry_migration_new(rig->guest, NULL, NULL);
    rig->recorder = ferry_recorder_new(rig->migration);
    rig->directory = g_dir_make_tmp("ferry-record-XXXXXX", NULL);
    rig->file = g_strdup_printf("%s/trace.pdt", rig->directory);
}

static void rig_clear(Rig *rig)
{
    ferry_recorder_free(rig->recorder);
    ferry_migration_free(rig->migration);
    ferry_guest_free(rig->guest);
    ferry_dirty_marks_free(rig->marks);
    munmap(rig->ram, (LOW + HIGH) * 4096);
    unlink(rig->file);
    EXPECT(rmdir(rig->directory) == 0, "something is left in %s", rig->directory);
    g_free(rig->directory);
    g_free(rig->file);
}

/* Until it is over, or has so many frames. */
static FerryRecording await(Rig *rig, uint64_t frames)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;
    FerryRecording now;

    for (;;) {
        ferry_recorder_get(rig->recorder, &now);
        if (now.status == FERRY_RECORD_ENDED || now.status == FERRY_RECORD_FAILED ||
            now.frames >= frames || ferry_now_ns() > until) {
            return now;
        }
        g_usleep(200);
    }
}

static void start(Rig *rig, FerryRecorderOptions options)
{
    g_autoptr(GError) error = NULL;

    options.file = rig->file;
    options.interval_ns = 1000000;
    EXPECT(ferry_recorder_start(rig->recorder, &options, &error), "%s", error->message);
    await(rig, 1);
}

static void stop(Rig *rig, Recorded *out)
{
    ferry_recorder_stop(rig->recorder, FERRY_RECORD_END_DONE);
    FerryRecording now = await(rig, UINT64_MAX);
    EXPECT(now.status == FERRY_RECORD_ENDED && now.end == FERRY_RECORD_END_DONE, "%s", now.error);
    g_assert(recorded_open(out, rig->file));
    EXPECT(strcmp(out->totals.ended, "done") == 0, "%s", out->totals.ended);
    EXPECT(out->totals.frames == now.frames && out->totals.pages_written == now.pages &&
               out->totals.length_ns == now.length_ns,
           "not what was said");
}

/* Two frames later what was written before is in one. */
static uint64_t two_more(Rig *rig)
{
    FerryRecording now;

    ferry_recorder_get(rig->recorder, &now);
    return await(rig, now.frames + 2).frames;
}

static void test_frames_have_what_was_written(void)
{
    static const FerryTraceRun written[] = {
        {0,       1         },
        {3,       5         },
        {60,      10        },
        {69,      2         },
        {109,     1         },
        {0,       LOW + HIGH},
        {LOW + 1, 3         },
    };
    uint64_t behind[G_N_ELEMENTS(written)], begin_ns = 0, pages = 0;
    FerryTraceFrame frame;
    Recorded trace;
    Rig rig;

    rig_init(&rig);
    start(&rig, (FerryRecorderOptions){0});
    for (unsigned i = 0; i < G_N_ELEMENTS(written); i++) {
        for (uint64_t p = written[i].first; p < written[i].first + written[i].n; p++) {
            ferry_mark_dirty(rig.marks, p >= LOW, p >= LOW ? p - LOW : p, 1);
        }
        behind[i] = two_more(&rig);
    }
    stop(&rig, &trace);
    gboolean seen[G_N_ELEMENTS(written)][LOW + HIGH] = {0};
    while (recorded_next(&trace, &frame)) {
        unsigned i = 0;
        EXPECT(frame.begin_ns == begin_ns, "frame %u: not where the one before ends",
               (unsigned)frame.number);
        begin_ns += frame.span_ns;
        pages += frame.n_pages;
        while (frame.number >= behind[i] && i + 1 < G_N_ELEMENTS(written)) {
            i++;
        }
        for (uint64_t p = 0; p < LOW + HIGH; p++) {
            seen[i][p] |= recorded_has(&frame, p);
        }
        EXPECT(!recorded_has(&frame, LOW - 1) || !recorded_has(&frame, LOW) || frame.n_pages > 2 ||
                   frame.n_runs == 1,
               "a run that ends with its block");
        EXPECT(frame.ran_ns == UINT64_MAX, "it stood still");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(written); i++) {
        for (uint64_t p = 0; p < LOW + HIGH; p++) {
            EXPECT(seen[i][p] == (p - written[i].first < written[i].n), "set %u, page %u", i,
                   (unsigned)p);
        }
    }
    EXPECT(begin_ns == trace.totals.length_ns && pages == trace.totals.pages_written &&
               trace.totals.distinct_pages == LOW + HIGH && trace.totals.capture_ns_per_frame > 0,
           "totals");
    recorded_clear(&trace);
    rig_clear(&rig);
}

static void test_header_says_what_is_known(void)
{
    const FerryTraceHeader *h;
    Recorded trace;
    Rig rig;

    rig_init(&rig);
    start(&rig, (FerryRecorderOptions){.licence = "CC0-1.0", .provenance = "a test"});
    stop(&rig, &trace);
    h = ferry_trace_reader_header(trace.reader);
    EXPECT(h->interval_ns == 1000000 && h->n_vcpu == 3 && h->start_wall_ns > 0 &&
               h->start_monotonic_ns <= ferry_now_ns(),
           "numbers");
    EXPECT(strcmp(h->method, "marks") == 0 && strcmp(h->guest, "by-hand") == 0 &&
               strcmp(h->workload, "by hand") == 0 && strcmp(h->licence, "CC0-1.0") == 0 &&
               strcmp(h->provenance, "a test") == 0 && g_str_has_prefix(h->tool, "ferry "),
           "%s, %s", h->method, h->workload);
    EXPECT(h->blocks->len == 2, "%u blocks", h->blocks->len);
    const FerryTraceBlock *blocks = (const FerryTraceBlock *)h->blocks->data;
    EXPECT(strcmp(blocks[0].name, "low") == 0 && blocks[0].pages == LOW &&
               blocks[0].gpa == UINT64_MAX,
           "the first");
    EXPECT(strcmp(blocks[1].name, "high") == 0 && blocks[1].pages == HIGH &&
               blocks[1].gpa == 0x100000,
           "the second");
    recorded_clear(&trace);
    rig_clear(&rig);
}

static void fill_with_noise(uint8_t *page)
{
    uint64_t x = 88172645463325252u;

    for (unsigned i = 0; i < 4096; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        page[i] = (uint8_t)(x >> 32);
    }
}

static void test_contents(void)
{
    uint8_t classes[LOW + HIGH], expected[LOW + HIGH] = {0};
    unsigned found = 0;
    FerryTraceFrame frame;
    Recorded trace;
    Rig rig;

    rig_init(&rig);
    fill_with_noise(rig.ram + 2 * 4096);
    memset(rig.ram + LOW * 4096, 0x55, 4096);
    expected[2] = 17;
    expected[LOW] = FERRY_TRACE_CLASS_SAME;
    start(&rig, (FerryRecorderOptions){.content = TRUE});
    fill_with_noise(rig.ram + 69 * 4096);
    memset(rig.ram + LOW * 4096, 0, 4096);
    ferry_mark_dirty(rig.marks, 0, 69, 1);
    ferry_mark_dirty(rig.marks, 1, 0, 1);
    two_more(&rig);
    stop(&rig, &trace);
    EXPECT(ferry_trace_reader_classes(trace.reader, 0, LOW + HIGH, classes, NULL), "no classes");
    EXPECT(memcmp(classes, expected, sizeof classes) == 0, "at the beginning");
    while (recorded_next(&trace, &frame)) {
        const uint8_t *class = frame.classes;
        EXPECT(frame.n_pages == 0 || class != NULL, "none");
        for (uint64_t p = 69; p <= LOW && frame.n_pages > 0; p++) {
            if (recorded_has(&frame, p)) {
                EXPECT(*class == (p == 69 ? 17 : FERRY_TRACE_CLASS_ZERO), "page %u: %u",
                       (unsigned)p, *class);
                class ++;
                found++;
            }
        }
    }
    EXPECT(found == 2, "%u pages", found);
    recorded_clear(&trace);
    rig_clear(&rig);
}

static void test_a_guest_that_stands_still(void)
{
    uint64_t ran = 0, still = 0;
    FerryTraceFrame frame;
    Recorded trace;
    Rig rig;

    rig_init(&rig);
    start(&rig, (FerryRecorderOptions){.paused = TRUE});
    ferry_recorder_set_paused(rig.recorder, FALSE);
    two_more(&rig);
    two_more(&rig);
    ferry_recorder_set_paused(rig.recorder, TRUE);
    two_more(&rig);
    two_more(&rig);
    stop(&rig, &trace);
    while (recorded_next(&trace, &frame)) {
        EXPECT(frame.ran_ns == UINT64_MAX || frame.ran_ns <= frame.span_ns,
               "longer than the frame");
        EXPECT(frame.number > 0 || frame.ran_ns == 0, "it ran at the beginning");
        ran += frame.ran_ns == UINT64_MAX;
        still += frame.ran_ns == 0;
    }
    EXPECT(ran >= 1 && still >= 3, "ran in %u frames, stood in %u", (unsigned)ran, (unsigned)still);
    recorded_clear(&trace);
    rig_clear(&rig);
}

static void expect_end(Rig *rig, const char *how)
{
    Recorded trace;

    if (recorded_open(&trace, rig->file)) {
        EXPECT(strcmp(trace.totals.ended, how) == 0, "%s", trace.totals.ended);
        recorded_clear(&trace);
    }
}

static void test_ends(void)
{
    FerryRecording now;
    Rig rig;

    rig_init(&rig);
    start(&rig, (FerryRecorderOptions){.duration_ns = 20500000});
    now = await(&rig, UINT64_MAX);
    EXPECT(now.status == FERRY_RECORD_ENDED && now.length_ns >= 20500000, "too soon");
    expect_end(&rig, "done");
    start(&rig, (FerryRecorderOptions){.duration_ns = 3600000000000});
    ferry_recorder_stop(rig.recorder, FERRY_RECORD_END_DONE);
    EXPECT(await(&rig, UINT64_MAX).end == FERRY_RECORD_END_INTERRUPTED, "it was not over");
    expect_end(&rig, "interrupted");
    start(&rig, (FerryRecorderOptions){.content = TRUE});
    ferry_recorder_free(rig.recorder); /* in the midst of it */
    expect_end(&rig, "guest-gone");
    rig.recorder = ferry_recorder_new(rig.migration);
    rig_clear(&rig);
}

static void test_a_file_that_cannot_be_written(void)
{
    FerryRecorderOptions options = {.interval_ns = 1000000};
    g_autoptr(GError) error = NULL;
    struct rlimit before;
    FerryRecording now;
    Recorded trace;
    Rig rig;

    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    rig_init(&rig);
    g_autofree char *part = g_strconcat(rig.file, ".part", NULL);
    g_autofree char *nowhere = g_strconcat(rig.directory, "/no/where", NULL);
    options.file = nowhere;
    EXPECT(!ferry_recorder_start(rig.recorder, &options, &error) &&
               strstr(error->message, "No such file") != NULL,
           "%s", error != NULL ? error->message : "begun");
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 64, .rlim_max = before.rlim_max});
    start(&rig, (FerryRecorderOptions){0});
    now = await(&rig, UINT64_MAX);
    EXPECT(now.status == FERRY_RECORD_FAILED && strstr(now.error, "too large") != NULL, "%s",
           now.error);
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT(access(rig.file, F_OK) != 0, "it has its name");
    unlink(part);
    start(&rig, (FerryRecorderOptions){0}); /* the log is free again */
    stop(&rig, &trace);
    recorded_clear(&trace);
    rig_clear(&rig);
}

int main(void)
{
    test_frames_have_what_was_written();
    test_header_says_what_is_known();
    test_contents();
    test_a_guest_that_stands_still();
    test_ends();
    test_a_file_that_cannot_be_written();
    return failures != 0;
}

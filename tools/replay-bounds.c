/* What no policy could have beaten, of the writes as they were played: the trace's frames in the
 * migration's time, with its pauses and throttles, up to where the guest stood. */
#include "tools/replay-frame.h"
#include "tools/replay.h"

typedef struct {
    const FerryReplayOptions *options;
    const FerryReplayRun *run;
    const FerryReplayClock *clock;
    FerryReplayFrames frames;
    FerryReplayFrame cut; /* the frame in which the guest stood */
    GArray *runs, *classes;
    gboolean over;
} Played;

static int by_page(const void *a, const void *b)
{
    const FerryReplayWrite *x = a, *y = b;

    return (x->page > y->page) - (x->page < y->page);
}

/* Of the frame only what was written until then. */
static void cut_frame(Played *p, FerryTraceFrame *frame, uint64_t lap, uint64_t end_ns)
{
    guint n = 0;

    ferry_replay_frame_lay_out(&p->cut, frame, p->options->seed, lap);
    FerryReplayWrite *w = (FerryReplayWrite *)(void *)p->cut.writes->data;
    while (n < p->cut.writes->len && frame->begin_ns + w[n].at_ns <= end_ns) {
        n++;
    }
    if (n) {
        qsort(w, n, sizeof *w, by_page);
    }
    for (guint i = 0; i < n; i++) {
        FerryTraceRun run = {w[i].page, 1};
        FerryTraceRun *last =
            p->runs->len ? &g_array_index(p->runs, FerryTraceRun, p->runs->len - 1) : NULL;
        if (last && last->first + last->n == run.first) {
            last->n++;
        } else {
            g_array_append_val(p->runs, run);
        }
        g_array_append_val(p->classes, w[i].class_);
    }
    frame->span_ns = end_ns - frame->begin_ns;
    frame->runs = (const FerryTraceRun *)(void *)p->runs->data;
    frame->n_runs = p->runs->len;
    frame->n_pages = n;
    frame->classes = frame->classes && n ? (const uint8_t *)p->classes->data : NULL;
    frame->quarters = NULL;
}

static gboolean next(void *self, FerryTraceFrame *out_frame, GError **error)
{
    Played *p = self;
    uint64_t lap, end_ns, stood_ns = p->run->stats.guest_ns;

    (void)error;
    out_frame->span_ns = 0;
    if (p->over || !p->frames.next(p->frames.self, out_frame, &lap) ||
        out_frame->begin_ns >= stood_ns) {
        out_frame->span_ns = 0;
        return TRUE;
    }
    end_ns = out_frame->begin_ns + out_frame->span_ns;
    if (end_ns > stood_ns) {
        p->over = TRUE;
        end_ns = stood_ns;
        cut_frame(p, out_frame, lap, end_ns);
    }
    if (p->run->content != FERRY_REPLAY_TRACE) {
        out_frame->classes = NULL;
    }
    /* Before the migration it stood at its beginning. */
    uint64_t from = MAX(ferry_replay_clock_real(p->clock, out_frame->begin_ns), p->run->begin_ns);
    uint64_t to = ferry_replay_clock_real(p->clock, end_ns);
    out_frame->begin_ns = from - p->run->begin_ns;
    out_frame->span_ns = MAX(to - MIN(from, to), 1);
    return TRUE;
}

/* What the trace's classes do not say of the content that was chosen: the mean of what was sent. */
static uint32_t page_wire_bytes(const FerryReplayRun *run)
{
    const FerryProgress *p = &run->progress;
    uint64_t pages = p->normal_pages + p->zero_pages;

    return run->content == FERRY_REPLAY_TRACE || run->content == FERRY_REPLAY_RANDOM || pages == 0
               ? 0
               : (uint32_t)MIN(p->sent_bytes / pages, FERRY_REPLAY_PAGE + 8);
}

/* The rate of rounds, and the one when nothing holds it back. */
static gboolean measured_link(const FerryReplayOptions *o, const FerryReplayRun *run,
                              FerryBoundsInput *out)
{
    const FerryProgress *p = &run->progress;
    uint64_t rate = p->uncapped_bytes_per_second;

    *out = (FerryBoundsInput){
        .bytes_per_second = o->max_bandwidth ? MIN(o->max_bandwidth, rate) : rate,
        .switchover_bytes_per_second = rate,
        .downtime_limit_ns = o->downtime_limit_ns,
        .fixed_ns = p->downtime.total_ns - MIN(p->downtime.total_ns, p->downtime.last_round_ns),
        .page_wire_bytes = page_wire_bytes(run),
        .packed = run->channels > 0 && run->method != FERRY_MULTIFD_NONE,
    };
    return rate > 0;
}

void ferry_replay_reckon(const FerryReplayOptions *o, FerryReplayRun *run)
{
    FerryResultBoundsInput input = {.pages = ferry_replay_trace_pages(run->trace),
                                    .page_bytes = FERRY_REPLAY_PAGE};
    FerryResultFrames frames = {.next = next};
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *classes = ferry_replay_trace_classes(run->trace, NULL);
    Played played = {.options = o,
                     .run = run,
                     .clock = ferry_replay_guest_clock(run->guest),
                     .runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun)),
                     .classes = g_array_new(FALSE, FALSE, 1)};

    /* A guest that stayed was played on until it was told to stand. */
    played.frames = ferry_replay_trace_frames(run->trace);
    ferry_replay_frame_init(&played.cut);
    frames.self = &played;
    input.classes = run->content == FERRY_REPLAY_TRACE ? classes : NULL;
    run->bounds.at_ns = ferry_replay_clock_real(played.clock, run->stats.guest_ns) - run->begin_ns;
    run->has_bounds = measured_link(o, run, &input.link) &&
                      ferry_result_bounds_reckon(&input, &frames, &run->bounds, 1, &error);
    ferry_replay_frame_clear(&played.cut);
    g_array_unref(played.runs);
    g_array_unref(played.classes);
}

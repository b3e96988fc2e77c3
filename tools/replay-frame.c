#include "tools/replay-frame.h"

#include "tools/replay-content.h"

#define MAX_STEPS 65536u

void ferry_replay_frame_init(FerryReplayFrame *f)
{
    *f = (FerryReplayFrame){.writes = g_array_new(FALSE, FALSE, sizeof(FerryReplayWrite)),
                            .spare = g_array_new(FALSE, FALSE, sizeof(FerryReplayWrite))};
}

void ferry_replay_frame_clear(FerryReplayFrame *f)
{
    g_clear_pointer(&f->writes, g_array_unref);
    g_clear_pointer(&f->spare, g_array_unref);
}

/* A random place in (0, span], or in the quarter of it. */
static uint64_t place(uint64_t random, uint64_t span, const uint8_t *quarter)
{
    double at = (double)(random >> 11) / 9007199254740992.0; /* 2^53 */

    if (quarter) {
        at = ((double)(*quarter & 3) + at) / 4;
    }
    return MIN((uint64_t)(at * (double)span) + 1, MAX(span, 1));
}

static void collect(FerryReplayFrame *f, const FerryTraceFrame *from, uint64_t salt)
{
    uint64_t n = 0;

    g_array_set_size(f->spare, 0);
    for (uint64_t r = 0; r < from->n_runs; r++) {
        for (uint64_t i = 0; i < from->runs[r].n; i++, n++) {
            uint64_t page = from->runs[r].first + i;
            FerryReplayWrite w = {
                .page = page,
                .at_ns = place(ferry_replay_random(salt ^ page * UINT64_C(0x9e3779b97f4a7c15)),
                               from->span_ns, from->quarters ? &from->quarters[n] : NULL),
                .class_ = from->classes ? from->classes[n] : FERRY_TRACE_CLASS_UNKNOWN};
            g_array_append_val(f->spare, w);
        }
    }
}

/* By steps of time; within one they stay in the order of their pages. */
static void sort(FerryReplayFrame *f)
{
    guint n = f->spare->len;
    uint64_t step_ns = MAX(FERRY_REPLAY_STEP_NS, f->span_ns / MAX_STEPS + 1);
    size_t n_steps = (size_t)(f->span_ns / step_ns) + 1;
    g_autofree guint *next = g_new0(guint, n_steps + 1);
    const FerryReplayWrite *from = (const FerryReplayWrite *)(void *)f->spare->data;

    g_array_set_size(f->writes, n);
    FerryReplayWrite *to = (FerryReplayWrite *)(void *)f->writes->data;
    for (guint i = 0; i < n; i++) {
        next[from[i].at_ns / step_ns + 1]++;
    }
    for (size_t s = 1; s < n_steps; s++) {
        next[s] += next[s - 1];
    }
    for (guint i = 0; i < n; i++) {
        FerryReplayWrite *w = &to[next[from[i].at_ns / step_ns]++];
        *w = from[i];
        w->at_ns = MIN(from[i].at_ns / step_ns * step_ns + 1, MAX(f->span_ns, 1));
    }
}

void ferry_replay_frame_lay_out(FerryReplayFrame *f, const FerryTraceFrame *from, uint64_t seed,
                                uint64_t lap)
{
    f->begin_ns = from->begin_ns;
    f->span_ns = from->span_ns;
    collect(f, from, ferry_replay_random(ferry_replay_random(seed + lap) + from->number));
    sort(f);
}

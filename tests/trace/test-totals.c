/* What a writer counts, against counting it the slow way. */
#include <criterion/criterion.h>
#include <string.h>
#include "tests/trace/memory.h"
#include "trace/totals.h"

#define PAGES 70000u /* more than one leaf */
#define FRAMES 37u

static double mean_of_windows(const uint8_t *written, unsigned length)
{
    double sum = 0;

    for (unsigned from = 0; from + length <= FRAMES; from++) {
        for (unsigned p = 0; p < PAGES; p++) {
            gboolean any = FALSE;

            for (unsigned f = from; f < from + length; f++) {
                any = any || written[f * PAGES + p];
            }
            sum += any;
        }
    }
    return sum / (FRAMES - length + 1);
}

Test(totals, curve_is_the_mean_over_all_windows)
{
    static const unsigned lengths[] = {1, 2, 4, 8, 16, 32, 37};
    g_autofree uint8_t *written = g_malloc0(PAGES * FRAMES);
    g_autoptr(FerryTraceCount) count = ferry_trace_count_new();
    g_autoptr(GArray) curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint32_t state = 99;

    for (unsigned f = 0; f < FRAMES; f++) {
        g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));

        if (f % 5 != 2) {
            draw_runs(runs, f % 2 ? 3000 : PAGES, 50, 4, &state);
        }
        for (guint i = 0; i < runs->len; i++) {
            const FerryTraceRun *run = &g_array_index(runs, FerryTraceRun, i);
            memset(written + f * PAGES + run->first, 1, run->n);
        }
        ferry_trace_count_frame(count, (const FerryTraceRun *)(const void *)runs->data, runs->len);
    }
    ferry_trace_count_curve(count, FRAMES * 1000, curve);
    cr_assert_eq(curve->len, 2 * G_N_ELEMENTS(lengths));
    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        double slow = mean_of_windows(written, lengths[i]);

        cr_expect_eq(g_array_index(curve, uint64_t, 2 * i), lengths[i] * 1000);
        cr_expect_eq(g_array_index(curve, uint64_t, 2 * i + 1), (uint64_t)(slow + 0.5));
    }
    cr_assert_eq(ferry_trace_count_distinct(count), (uint64_t)mean_of_windows(written, FRAMES));
}

Test(totals, come_back)
{
    g_autoptr(GArray) curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autoptr(GArray) again = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    FerryTraceTotals out, t = {.frames = 1,
                               .pages_written = 2,
                               .distinct_pages = 3,
                               .capture_ns_per_frame = 4,
                               .late_frames = 5,
                               .capture_cpu_permille = 6,
                               .slowdown_permille = 7,
                               .ended = "guest-gone"};
    uint64_t point[] = {8, 9};

    g_array_append_vals(curve, point, 2);
    g_autofree char *text = ferry_trace_totals_to_json(&t, TRUE, curve);
    cr_assert(ferry_trace_totals_from_json(text, strlen(text), &out, again, NULL));
    cr_assert(out.frames == 1 && out.pages_written == 2 && out.distinct_pages == 3);
    cr_assert(out.capture_ns_per_frame == 4 && out.late_frames == 5);
    cr_assert(out.capture_cpu_permille == 6 && out.slowdown_permille == 7);
    cr_assert_str_eq(out.ended, "guest-gone");
    cr_assert(again->len == 2 && g_array_index(again, uint64_t, 1) == 9);

    t.slowdown_permille = -1;
    t.ended = NULL;
    g_autofree char *bare = ferry_trace_totals_to_json(&t, FALSE, again);
    cr_assert(!strstr(bare, "distinct") && !strstr(bare, "slowdown") && strstr(bare, "\"done\""));
}

Test(totals, refuses)
{
    static const char *const texts[] = {
        "[]",
        "{\"frames\": -1}",
        "{\"curve\": 1}",
        "{\"curve\": [1]}",
        "{\"curve\": [[1]]}",
        "{\"curve\": [[1, 2, 3]]}",
        "{\"curve\": [[1, 2.5]]}",
        "{\"ended\": 3}",
        "{\"slowdown_permille\": 3000000000}",
        "{",
        "",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GArray) curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        g_autoptr(GError) error = NULL;
        FerryTraceTotals t;

        cr_expect(!ferry_trace_totals_from_json(texts[i], strlen(texts[i]), &t, curve, &error),
                  "%s", texts[i]);
        cr_expect(error, "%s", texts[i]);
    }
}

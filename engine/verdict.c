/* What is foreseen, in words. */
#include <string.h>
#include "engine/progress.h"

#define SECOND_NS 1000000000ull

static void add_time(GString *text, uint64_t ns)
{
    if (ns < SECOND_NS) {
        g_string_append_printf(text, "%.0f ms", (double)ns / 1e6);
    } else if (ns < 100 * SECOND_NS) {
        g_string_append_printf(text, "%.1f s", (double)ns / 1e9);
    } else {
        g_string_append_printf(text, "%.0f s", (double)ns / 1e9);
    }
}

static void add_rate(GString *text, uint64_t bytes_per_second)
{
    g_string_append_printf(text, "%.0f MiB/s", (double)bytes_per_second / (1 << 20));
}

/* What a user can do who does not want to wait. */
static void add_choices(GString *text, const FerryForecast *f)
{
    g_string_append(text, "; choices: ");
    if (f->floor_ns > 0 && f->floor_ns < UINT64_MAX) {
        g_string_append(text, "a downtime limit of ");
        add_time(text, f->floor_ns + f->floor_ns / 10);
        g_string_append(text, ", ");
    }
    if (f->needed_bytes_per_second > 0 && f->needed_bytes_per_second < UINT64_MAX) {
        g_string_append(text, "a link of ");
        add_rate(text, f->needed_bytes_per_second);
        g_string_append(text, ", ");
    }
    if (f->throttle_percent > 0 && f->throttle_percent < 100) {
        g_string_append_printf(text, "throttling the guest by %u %%, ", f->throttle_percent);
    }
    g_string_append(text, "pausing it for longer, or cancelling");
}

char *ferry_forecast_dup_text(const FerryForecast *f, uint64_t downtime_limit_ns)
{
    GString *text;

    if (f->outlook == FERRY_OUTLOOK_UNKNOWN || f->outlook >= FERRY_N_OUTLOOKS) {
        return NULL;
    }
    text = g_string_new(NULL);
    if (f->outlook == FERRY_OUTLOOK_STALLS) {
        g_string_append(text, "cannot meet ");
        add_time(text, downtime_limit_ns);
        g_string_append(text, " at these write rates: the shortest downtime is about ");
        add_time(text, f->floor_ns);
        add_choices(text, f);
    } else if (f->finish_ns == UINT64_MAX) {
        g_string_append(text, "can meet ");
        add_time(text, downtime_limit_ns);
    } else {
        g_string_append(text, "will finish in about ");
        add_time(text, f->finish_ns);
        g_string_append(text, " with ");
        add_time(text, f->downtime_ns);
        g_string_append(text, " downtime");
    }
    return g_string_free(text, FALSE);
}

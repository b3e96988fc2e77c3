/* The table of rounds. Hundreds of them are shown as few rows, each of several in a row. */
#include <stdint.h>

#include "tools/report.h"

#define MIB 1048576.0
#define ROWS_MAX 30 /* more than so many rounds are put together */
#define ALONE_FIRST 3
#define ALONE_LAST 5
#define ROWS_MIDDLE 16

typedef struct {
    unsigned first, last; /* round numbers */
    double normal, zero, packed, bytes, ms, dirtied;
    double deferred, throttle, predicted; /* the last round's; predicted -1: none */
} Row;

static void add(Row *row, JsonObject *round)
{
    row->last = (unsigned)ferry_report_number(round, "number", 0);
    row->first = row->first ? row->first : row->last;
    row->normal += ferry_report_number(round, "normal_pages", 0);
    row->zero += ferry_report_number(round, "zero_pages", 0);
    row->packed += ferry_report_number(round, "packed_pages", 0);
    row->bytes += ferry_report_number(round, "sent_bytes", 0);
    row->ms += ferry_report_number(round, "duration_ms", 0);
    row->dirtied += ferry_report_number(round, "dirtied_pages", 0);
    row->deferred = ferry_report_number(round, "deferred_pages", 0);
    row->throttle = ferry_report_number(round, "throttle_percent", 0);
    row->predicted = ferry_report_number(round, "predicted_downtime_ms", -1);
}

/* Which row the @i-th of @n rounds goes to. */
static unsigned row_of(unsigned i, unsigned n)
{
    unsigned middle = n - MIN(n, ALONE_FIRST + ALONE_LAST);

    if (n <= ROWS_MAX || i < ALONE_FIRST) {
        return i;
    }
    if (i >= n - ALONE_LAST) {
        return ALONE_FIRST + ROWS_MIDDLE + i - (n - ALONE_LAST);
    }
    return ALONE_FIRST + (unsigned)((uint64_t)(i - ALONE_FIRST) * ROWS_MIDDLE / middle);
}

/* Columns that would be all zeros are left out. */
typedef struct {
    gboolean packed, deferred, throttle;
} Columns;

static void print_head(const Columns *c, FILE *out)
{
    fprintf(out, "\n%-9s %8s %8s%s %8s %9s %7s %8s %8s%s%s %11s\n", "round", "normal", "zero",
            c->packed ? "   packed" : "", "MiB", "ms", "MiB/s", "dirtied", "dirty/s",
            c->deferred ? "     left" : "", c->throttle ? " slowed" : "", "predicted");
    fprintf(out, "%-9s %8s %8s%s %8s %9s %7s %8s %8s%s%s %11s\n", "", "pages", "pages",
            c->packed ? "    pages" : "", "sent", "", "", "pages", "pages",
            c->deferred ? "    pages" : "", c->throttle ? "       " : "", "downtime");
}

static void print_row(const Row *r, const Columns *c, FILE *out)
{
    char label[24];
    double seconds = r->ms > 0 ? r->ms / 1000 : 1;

    if (r->first == r->last) {
        g_snprintf(label, sizeof label, "%u", r->first);
    } else {
        g_snprintf(label, sizeof label, "%u-%u", r->first, r->last);
    }
    fprintf(out, "%-9s %8.0f %8.0f", label, r->normal, r->zero);
    if (c->packed) {
        fprintf(out, " %8.0f", r->packed);
    }
    fprintf(out, " %8.1f %9.1f %7.1f %8.0f %8.0f", r->bytes / MIB, r->ms, r->bytes / MIB / seconds,
            r->dirtied, r->dirtied / seconds);
    if (c->deferred) {
        fprintf(out, " %8.0f", r->deferred);
    }
    if (c->throttle) {
        fprintf(out, " %4.0f %%", r->throttle);
    }
    if (r->predicted >= 0) {
        fprintf(out, " %8.1f ms\n", r->predicted);
    } else {
        fprintf(out, " %11s\n", "-");
    }
}

void ferry_report_print_rounds(JsonObject *answer, FILE *out)
{
    JsonArray *rounds = ferry_report_rounds(answer);
    unsigned n = rounds ? json_array_get_length(rounds) : 0;
    Row rows[ROWS_MAX] = {0};
    Columns columns = {0};

    for (unsigned i = 0; i < n; i++) {
        add(&rows[row_of(i, n)], json_array_get_object_element(rounds, i));
    }
    for (unsigned i = 0; i < ROWS_MAX; i++) {
        columns.packed |= rows[i].packed > 0;
        columns.deferred |= rows[i].deferred > 0;
        columns.throttle |= rows[i].throttle > 0;
    }
    if (n > 0) {
        print_head(&columns, out);
    }
    for (unsigned i = 0; i < ROWS_MAX && rows[i].last > 0; i++) {
        print_row(&rows[i], &columns, out);
    }
}

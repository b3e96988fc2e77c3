/* Which runs are shown over time. */
#include <string.h>
#include "engine/ferry.h"
#include "tools/figures.h"

static int by_total(gconstpointer a, gconstpointer b)
{
    const FerryResultRun *x = *(FerryResultRun *const *)a, *y = *(FerryResultRun *const *)b;
    double d = x->values[FERRY_RUN_TOTAL_MS] - y->values[FERRY_RUN_TOTAL_MS];

    return d < 0 ? -1 : d > 0;
}

/* The run with the median total time; of runs that know theirs. */
static FerryResultRun *median_run(const FerryResults *results, unsigned policy)
{
    g_autoptr(GPtrArray) runs = g_ptr_array_new();

    for (guint i = 0; i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        if (run->policy_index == policy && run->rounds->len > 0 &&
            !isnan(run->values[FERRY_RUN_TOTAL_MS])) {
            g_ptr_array_add(runs, run);
        }
    }
    g_ptr_array_sort(runs, by_total); /* a merge sort: equal ones stay in order */
    return runs->len > 0 ? runs->pdata[(runs->len - 1) / 2] : NULL;
}

/* The id but for its word about the policy. */
static char *id_of_all(const FerryResultRun *run)
{
    g_autofree char *policy = g_strconcat("policy=", run->policy, NULL);
    g_auto(GStrv) words = g_strsplit(run->id, " ", 64);

    for (char **word = words; *word; word++) {
        if (strcmp(*word, policy) == 0) {
            **word = '\0';
        }
    }
    return g_strjoinv(" ", words);
}

/* What @policy made of the same case; else its median run. */
static FerryResultRun *same_case(const FerryResults *results, unsigned policy,
                                 const FerryResultRun *as)
{
    g_autofree char *id = as ? id_of_all(as) : NULL;

    for (guint i = 0; id && i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        if (run->policy_index == policy && run->rounds->len > 0) {
            g_autofree char *other = id_of_all(run);
            if (strcmp(id, other) == 0) {
                return run;
            }
        }
    }
    return median_run(results, policy);
}

static gboolean choose_named(const FerryFigureTask *task, GPtrArray *chosen, GError **error)
{
    for (char **id = task->chosen; *id; id++) {
        guint before = chosen->len;
        for (guint i = 0; i < task->results->runs->len; i++) {
            FerryResultRun *run = task->results->runs->pdata[i];
            if (strcmp(run->id, *id) == 0) {
                g_ptr_array_add(chosen, run);
            }
        }
        if (chosen->len == before) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                        "--run %s: there is no such run", *id);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_figures_choose(const FerryFigureTask *task, GPtrArray *chosen, GError **error)
{
    const FerryResults *results = task->results;
    guint with_rounds = 0;

    if (task->chosen) {
        return choose_named(task, chosen, error);
    }
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        with_rounds += run->rounds->len > 0;
    }
    for (guint i = 0; with_rounds <= 4 && i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        if (run->rounds->len > 0) {
            g_ptr_array_add(chosen, run);
        }
    }
    for (guint i = 0; with_rounds > 4 && i < ferry_figure_series(results); i++) {
        FerryResultRun *run = same_case(results, i, chosen->len > 0 ? chosen->pdata[0] : NULL);
        if (run) {
            g_ptr_array_add(chosen, run);
        }
    }
    return TRUE;
}

GPtrArray *ferry_figures_most_throttled(const FerryFigureTask *task, GPtrArray *chosen)
{
    const FerryResults *results = task->results;
    GPtrArray *runs = g_ptr_array_new();

    for (guint i = 0; i < ferry_figure_series(results) && runs->len < FERRY_FIGURE_PANELS_MAX;
         i++) {
        FerryResultRun *most = NULL;
        for (guint k = 0; k < results->runs->len; k++) {
            FerryResultRun *run = results->runs->pdata[k];
            double integral = run->values[FERRY_RUN_THROTTLE_INTEGRAL];
            if (run->policy_index == i && run->rounds->len > 0 && integral > 0 &&
                (!most || integral > most->values[FERRY_RUN_THROTTLE_INTEGRAL])) {
                most = run;
            }
        }
        if (most) {
            g_ptr_array_add(runs, most);
        }
    }
    if (runs->len == 0 || task->chosen) {
        g_ptr_array_unref(runs);
        return g_ptr_array_ref(chosen);
    }
    return runs;
}

/* ferry simulate: migrations of a trace or a workload model in virtual time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "simulator/models.h"
#include "tools/simulate-private.h"
#include "tools/verb.h"

#define JOBS_MAX 1024

typedef struct {
    char **words[FERRY_SIMULATE_N];
    char *costs, *output;
    gint runs, jobs;
    gboolean json, rounds, reproducible, no_bounds, list_workloads, list_policies;
} Options;

static void options_clear(Options *o)
{
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        g_strfreev(o->words[i]);
    }
    g_free(o->costs);
    g_free(o->output);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* Where lines go as they come. */
typedef struct {
    FerrySimulateTable *table;
    FILE *file; /* NULL: none */
    gboolean json;
    const char *error; /* GLib's; NULL: all was written so far */
} Output;

static void put(Output *o, const char *text)
{
    if (o->file && (fputs(text, o->file) < 0 || fflush(o->file) != 0)) {
        o->error = g_strerror(errno);
    }
    if (o->json && (fputs(text, stdout) < 0 || fflush(stdout) != 0)) {
        o->error = g_strerror(errno);
    }
}

static gboolean take_lines(void *self, const char *text)
{
    Output *o = self;

    put(o, text);
    ferry_simulate_table_add(o->table, text);
    return !o->error;
}

static gboolean check_workloads(const FerrySimulatePlan *plan, GError **error)
{
    const GArray *models = plan->values[FERRY_SIMULATE_WORKLOAD];
    const GArray *sizes = plan->values[FERRY_SIMULATE_RAM];

    for (guint i = 0; i < models->len * sizes->len; i++) {
        const char *model = g_array_index(models, FerrySimulateValue, i / sizes->len).text;
        uint64_t ram = g_array_index(sizes, FerrySimulateValue, i % sizes->len).number;
        g_autoptr(GError) cause = NULL;
        FerryWorkload workload;
        if (!ferry_model_parse(model, ram, &workload, &cause)) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--workload '%s': %s",
                        model, cause->message);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean check_links(const FerrySimulatePlan *plan, GError **error)
{
    const GArray *links = plan->values[FERRY_SIMULATE_LINK_CHANGE];

    for (guint i = 0; i < links->len; i++) {
        g_autoptr(GArray) steps = g_array_new(FALSE, FALSE, sizeof(FerrySimLinkStep));
        uint64_t repeat_ns;
        if (!ferry_simulate_parse_link(g_array_index(links, FerrySimulateValue, i).text, steps,
                                       &repeat_ns, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What could not be opened by any of its runs is said before any begins. */
static gboolean check_traces(const FerrySimulatePlan *plan, GError **error)
{
    const GArray *traces = plan->values[FERRY_SIMULATE_TRACE];

    for (guint i = 0; i < traces->len; i++) {
        const char *path = g_array_index(traces, FerrySimulateValue, i).text;
        g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, error);
        g_autoptr(FerryTraceReader) reader = NULL;
        if (file) {
            FerryTraceInput input = ferry_trace_file_input(file);
            reader = ferry_trace_reader_new(&input, error);
        }
        if (!reader) {
            g_prefix_error(error, "--trace: %s%s", file ? path : "", file ? ": " : "");
            return FALSE;
        }
    }
    return TRUE;
}

static double cpu_ms(int who)
{
    struct rusage used;

    getrusage(who, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

static char *host_line(gint64 begin_us)
{
    FerryResultLine line;
    struct utsname name;

    uname(&name);
    ferry_result_line_begin(&line, "host");
    ferry_result_line_text(&line, "host", name.nodename);
    ferry_result_line_text(&line, "kernel", name.release);
    ferry_result_line_count(&line, "cpus", g_get_num_processors());
    ferry_result_line_number(&line, "wall_ms", (double)(g_get_monotonic_time() - begin_us) / 1e3);
    ferry_result_line_number(&line, "cpu_ms", cpu_ms(RUSAGE_SELF) + cpu_ms(RUSAGE_CHILDREN));
    return ferry_result_line_end(&line);
}

static FerryExit status_of(const FerrySimulatePlan *plan, const Output *o,
                           const FerrySimulatePoolEnd *end)
{
    if (end->error || o->error || ferry_simulate_table_count(o->table, "failed")) {
        return FERRY_EXIT_FAILED;
    }
    if (end->interrupted) {
        return FERRY_EXIT_CANCELLED;
    }
    return plan->n_runs == 1 && !ferry_simulate_table_count(o->table, "done")
               ? FERRY_EXIT_NOT_CONVERGED
               : FERRY_EXIT_DONE;
}

static void say_errors(const Output *o, const char *error)
{
    g_auto(GStrv) lines = g_strsplit(ferry_simulate_table_errors(o->table), "\n", -1);

    for (char **line = lines; *line && **line; line++) {
        fprintf(stderr, "ferry simulate: %s\n", *line);
    }
    if (error || o->error) {
        fprintf(stderr, "ferry simulate: %s\n", error ? error : o->error);
    }
}

static FerryExit simulate_all(const Options *options, const FerrySimulatePlan *plan, Output *o)
{
    gint64 begin_us = g_get_monotonic_time();
    FerrySimulatePool pool = {
        .jobs = (unsigned)(options->jobs ? options->jobs : (gint)g_get_num_processors()),
        .progress = isatty(STDERR_FILENO) && plan->n_runs > 1,
        .lines = take_lines,
        .self = o};
    FerrySimulatePoolEnd end;

    if (plan->n_runs > 1) {
        g_autofree char *line = ferry_simulate_sweep_line(plan);
        put(o, line);
    }
    ferry_simulate_pool_run(plan, &pool, &end);
    if (!plan->reproducible) {
        g_autofree char *line = host_line(begin_us);
        put(o, line);
    }
    if (!o->json) {
        g_autofree char *text = ferry_simulate_table_text(o->table);
        fputs(text, stdout);
    }
    say_errors(o, end.error);
    FerryExit status = status_of(plan, o, &end);
    g_free(end.error);
    return status;
}

static FerryExit fail(GError *error)
{
    gboolean mistaken = error->domain == G_OPTION_ERROR;

    return ferry_verb_fail("simulate", mistaken ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED, FALSE, "%s",
                           error->message);
}

static FerryExit simulate(Options *options)
{
    g_auto(FerrySimulatePlan) plan = {.costs = FERRY_COSTS_DEFAULT,
                                      .costs_path = options->costs,
                                      .rounds = options->rounds,
                                      .no_bounds = options->no_bounds,
                                      .reproducible = options->reproducible};
    g_autoptr(FerrySimulateTable) table = ferry_simulate_table_new();
    g_autoptr(GError) error = NULL;
    Output output = {.table = table, .json = options->json};

    if (options->runs < 1 || options->runs > 1000000 || options->jobs < 0 ||
        options->jobs > JOBS_MAX) {
        return ferry_verb_fail("simulate", FERRY_EXIT_USAGE, FALSE,
                               options->runs < 1 || options->runs > 1000000
                                   ? "--runs is 1 to 1000000"
                                   : "--jobs is 1 to 1024, or 0: as many as there are CPUs");
    }
    if (!ferry_simulate_plan_init(&plan, options->words, (unsigned)options->runs, &error) ||
        !check_workloads(&plan, &error) || !check_links(&plan, &error) ||
        !check_traces(&plan, &error)) {
        return fail(error);
    }
    if (options->costs && !ferry_costs_read(options->costs, &plan.costs, &error)) {
        g_prefix_error(&error, "--costs: ");
        return fail(error);
    }
    if (options->output && !(output.file = fopen(options->output, "we"))) {
        return ferry_verb_fail("simulate", FERRY_EXIT_FAILED, FALSE, "-o %s: %s", options->output,
                               g_strerror(errno));
    }
    FerryExit status = simulate_all(options, &plan, &output);
    if (output.file) {
        fclose(output.file);
    }
    return status;
}

static void list_workloads(void)
{
    const FerryModel *model;

    for (unsigned i = 0; (model = ferry_model_nth(i)); i++) {
        printf("%-18s %s\n%-18s %s\n", model->name, model->what, "", model->keys);
    }
}

static void list_policies(void)
{
    puts("ferry           the default: hot pages last, pauses when the limit is met\n"
         "qemu            a stock QEMU 10.0\n"
         "qemu-7.2        a stock QEMU 7.2\n"
         "fixed-rounds=N  pauses at the N-th sync, whatever is left");
}

static void add_entry(GOptionEntry *entries, unsigned *n, GOptionEntry entry)
{
    entries[(*n)++] = entry;
}

FerryExit ferry_verb_simulate(int argc, char **argv)
{
    g_auto(Options) o = {.runs = 1};
    GOptionEntry entries[FERRY_SIMULATE_N + 12] = {0};
    const GOptionEntry others[] = {
        {"runs",           0,   0, G_OPTION_ARG_INT,      &o.runs,           "with so many seeds, from each --seed on", "N"   },
        {"jobs",           'j', 0, G_OPTION_ARG_INT,      &o.jobs,           "processes; as many as CPUs unless given", "N"   },
        {"costs",          0,   0, G_OPTION_ARG_FILENAME, &o.costs,
         "what things take here: as ferry check --calibrate wrote it",                                                  "FILE"},
        {"output",         'o', 0, G_OPTION_ARG_FILENAME, &o.output,         "results as JSON lines",                   "FILE"},
        {"json",           0,   0, G_OPTION_ARG_NONE,     &o.json,           "JSON lines instead of the table",         NULL  },
        {"rounds",         0,   0, G_OPTION_ARG_NONE,     &o.rounds,         "a line for each sync as well",            NULL  },
        {"no-bounds",      0,   0, G_OPTION_ARG_NONE,     &o.no_bounds,
         "do not reckon what no policy can beat",                                                                       NULL  },
        {"reproducible",   0,   0, G_OPTION_ARG_NONE,     &o.reproducible,
         "nothing of this host: the same command gives the same bytes",                                                 NULL  },
        {"list-workloads", 0,   0, G_OPTION_ARG_NONE,     &o.list_workloads, "models and their keys",
         NULL                                                                                                                 },
        {"list-policies",  0,   0, G_OPTION_ARG_NONE,     &o.list_policies,  "who may decide",                          NULL  },
    };
    unsigned n = 0;

    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        const FerrySimulateParameter *p = &ferry_simulate_parameters[i];
        add_entry(entries, &n,
                  (GOptionEntry){p->option, 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.words[i], p->help,
                                 p->argument});
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        add_entry(entries, &n, others[i]);
    }
    if (!ferry_verb_parse(&argc, &argv, entries, NULL,
                          "Migrates a trace or a model of a guest in virtual time. Every option "
                          "with a value takes a list,\nA,B,...: all combinations run, and one "
                          "table compares them. Exit status 4: a single run did\nnot converge.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    if (o.list_workloads || o.list_policies) {
        (o.list_workloads ? list_workloads : list_policies)();
        return FERRY_EXIT_DONE;
    }
    return simulate(&o);
}

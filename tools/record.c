/* ferry record: options, and which source they ask for. */
#include <stdio.h>
#include <string.h>

#include "engine/ferry.h"
#include "tools/format.h"
#include "tools/record-run.h"
#include "tools/verb.h"

#define INTERVAL_MIN_NS (G_GUINT64_CONSTANT(1000000))
#define BASELINE_MAX_NS (G_GUINT64_CONSTANT(600000000000))
#define INTERVAL_MAX_NS (G_GUINT64_CONSTANT(3600000000000))

typedef struct {
    char *qmp, *workload, *file, *interval, *duration, *baseline, *ram, *filter, *min_mapping;
    char *licence, *provenance;
    gint pid;
    gint64 seed;
    gboolean content, all_mappings, json;
} Texts;

static void texts_clear(Texts *t)
{
    char *texts[] = {t->baseline, t->qmp,    t->workload,    t->file,    t->interval,  t->duration,
                     t->ram,      t->filter, t->min_mapping, t->licence, t->provenance};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Texts, texts_clear)

/* The source that was asked for. */
static const FerryRecordOps *choose(const FerryRecordOptions *o, GError **error)
{
    const struct {
        gboolean given;
        const char *option;
        const FerryRecordOps *ops;
    } sources[] = {
        {o->pid != 0,         "--pid",      &ferry_record_process  },
        {o->command != NULL,  "-- COMMAND", &ferry_record_command  },
        {o->qmp != NULL,      "--qmp",      &ferry_record_qmp      },
        {o->workload != NULL, "--workload", &ferry_record_synthetic},
    };
    const FerryRecordOps *ops = NULL;
    const char *chosen = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (!sources[i].given) {
            continue;
        }
        if (chosen) {
            ferry_verb_usage(error, "%s and %s: only one can be recorded", chosen,
                             sources[i].option);
            return NULL;
        }
        chosen = sources[i].option;
        ops = sources[i].ops;
    }
    if (!chosen) {
        ferry_verb_usage(error, "one of --pid, --qmp, --workload and -- COMMAND is needed");
    }
    return ops;
}

static gboolean parse_texts(const Texts *t, FerryRecordOptions *o, GError **error)
{
    if (!ferry_parse_ns(t->interval ? t->interval : "100ms", &o->interval_ns, error)) {
        g_prefix_error(error, "--interval ");
        return FALSE;
    }
    if (t->duration && !ferry_parse_ns(t->duration, &o->duration_ns, error)) {
        g_prefix_error(error, "--duration ");
        return FALSE;
    }
    if (!ferry_parse_ns(t->baseline ? t->baseline : "1s", &o->baseline_ns, error)) {
        g_prefix_error(error, "--baseline ");
        return FALSE;
    }
    if (t->ram && !ferry_parse_size(t->ram, &o->ram_bytes, error)) {
        g_prefix_error(error, "--ram ");
        return FALSE;
    }
    if (t->min_mapping && !ferry_parse_size(t->min_mapping, &o->min_mapping_bytes, error)) {
        g_prefix_error(error, "--min-mapping ");
        return FALSE;
    }
    return TRUE;
}

static gboolean check(const Texts *t, const FerryRecordOptions *o, GError **error)
{
    if (!o->file) {
        return ferry_verb_usage(error, "-o FILE is needed");
    }
    if (o->interval_ns < INTERVAL_MIN_NS || o->interval_ns > INTERVAL_MAX_NS) {
        return ferry_verb_usage(error, "--interval is 1 ms to an hour");
    }
    if (t->duration && o->duration_ns < o->interval_ns) {
        return ferry_verb_usage(error, "--duration is shorter than a frame");
    }
    if (o->baseline_ns > BASELINE_MAX_NS || (t->baseline && !o->pid)) {
        return ferry_verb_usage(error, "--baseline goes with --pid and is at most 10 minutes");
    }
    if (o->pid < 0) {
        return ferry_verb_usage(error, "--pid %d is no process", o->pid);
    }
    if ((o->name_filter || t->min_mapping || o->all_mappings) && !o->pid && !o->command) {
        return ferry_verb_usage(error,
                                "--name-filter, --min-mapping and --all-mappings choose among a "
                                "process's mappings: with --pid or -- COMMAND");
    }
    return TRUE;
}

static FerryExit record(const Texts *t, char **command)
{
    FerryRecordOptions o = {
        .pid = t->pid,
        .qmp = t->qmp,
        .workload = t->workload,
        .command = command,
        .file = t->file,
        .seed = t->seed,
        .content = t->content,
        .all_mappings = t->all_mappings,
        .json = t->json,
        .name_filter = t->filter,
        .licence = t->licence,
        .provenance = t->provenance,
    };
    const FerryRecordOps *ops;
    g_autoptr(GError) error = NULL;

    if (parse_texts(t, &o, &error) && check(t, &o, &error) && (ops = choose(&o, &error)) &&
        ferry_record_run(ops, &o, &error)) {
        return FERRY_EXIT_DONE;
    }
    gboolean mistaken = error->domain == G_OPTION_ERROR;
    return ferry_verb_fail("record", mistaken ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED,
                           o.json && !mistaken, "%s", error->message);
}

FerryExit ferry_verb_record(int argc, char **argv)
{
    g_auto(Texts) t = {.seed = 1};
    char **command = NULL;
    const GOptionEntry entries[] = {
        {"pid",          0,   0, G_OPTION_ARG_INT,      &t.pid,          "a running process, or the RAM of a running QEMU",
         "PID"                                                                                                                        },
        {"qmp",          0,   0, G_OPTION_ARG_STRING,   &t.qmp,          "a ferry-vm's monitor: unix:PATH",                 "ADDRESS" },
        {"workload",     0,   0, G_OPTION_ARG_STRING,   &t.workload,
         "nothing that runs: a model of a guest",                                                                           "MODEL"   },
        {"output",       'o', 0, G_OPTION_ARG_FILENAME, &t.file,         "the trace",                                       "FILE.pdt"},
        {"interval",     0,   0, G_OPTION_ARG_STRING,   &t.interval,     "of frames, 100ms unless given",
         "TIME"                                                                                                                       },
        {"duration",     0,   0, G_OPTION_ARG_STRING,   &t.duration,     "until it ends or Ctrl-C unless given",
         "TIME"                                                                                                                       },
        {"baseline",     0,   0, G_OPTION_ARG_STRING,   &t.baseline,
         "with --pid: how long it is watched before, 1s unless given",                                                      "TIME"    },
        {"content",      0,   0, G_OPTION_ARG_NONE,     &t.content,      "also how far each written page packs",
         NULL                                                                                                                         },
        {"name-filter",  0,   0, G_OPTION_ARG_STRING,   &t.filter,
         "only mappings whose names match: '*' and '?'",                                                                    "PATTERN" },
        {"min-mapping",  0,   0, G_OPTION_ARG_STRING,   &t.min_mapping,  "only mappings of this size on",
         "SIZE"                                                                                                                       },
        {"all-mappings", 0,   0, G_OPTION_ARG_NONE,     &t.all_mappings,
         "of a QEMU: all its memory, not the guest's RAM alone",                                                            NULL      },
        {"ram",          0,   0, G_OPTION_ARG_STRING,   &t.ram,          "with --workload: of the guest",                   "SIZE"    },
        {"seed",         0,   0, G_OPTION_ARG_INT64,    &t.seed,         "with --workload: of chance, 1 unless given",
         "N"                                                                                                                          },
        {"licence",      0,   0, G_OPTION_ARG_STRING,   &t.licence,      "under which the trace may be used",
         "TEXT"                                                                                                                       },
        {"provenance",   0,   0, G_OPTION_ARG_STRING,   &t.provenance,
         "where it comes from and how it was made",                                                                         "TEXT"    },
        {"json",         0,   0, G_OPTION_ARG_NONE,     &t.json,         "one JSON object when it is over",                 NULL      },
        G_OPTION_ENTRY_NULL,
    };

    for (int i = 1; i < argc; i++) { /* what follows "--" is not ours to parse */
        if (strcmp(argv[i], "--") == 0) {
            command = argv + i + 1;
            argv[i] = NULL;
            argc = i;
        }
    }
    if (command && !*command) {
        return ferry_verb_fail("record", FERRY_EXIT_USAGE, FALSE, "no command follows --");
    }
    if (!ferry_verb_parse(&argc, &argv, entries, "[-- COMMAND [ARGUMENTS]]",
                          "Records which pages of a memory are written when, as a page dirty "
                          "trace, for ferry\nsimulate, replay and bound.\nExit status 0: the trace "
                          "is complete, whatever the command's own was.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    return record(&t, command);
}

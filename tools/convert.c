/* ferry convert: traces from and to other forms. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tools/format.h"
#include "tools/verb.h"
#include "trace/convert.h"

typedef struct {
    char *from, *to, *ram, *from_time, *until_time, *interval;
    gint64 seed;
    const char *in, *out;
} Options;

static void options_clear(Options *o)
{
    char *texts[] = {o->from, o->to, o->ram, o->from_time, o->until_time, o->interval};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

typedef gboolean (*Importer)(const FerryTraceText *, const FerryImportOptions *,
                             const FerryTraceTarget *, GError **);
typedef FerryTraceTarget (*Exporter)(const FerryTraceSink *);

typedef struct {
    const char *name, *suffixes[3];
    Importer import; /* NULL: .pdt, or not read */
    Exporter export; /* NULL: not written */
} Format;

static const Format formats[] = {
    {"pdt",     {".pdt"},                  NULL,              ferry_export_pdt    },
    {"csv",     {".csv"},                  ferry_import_csv,  ferry_export_csv    },
    {"criu",    {".json"},                 ferry_import_criu, NULL                },
    {"qmp",     {".qmp", ".log"},          ferry_import_qmp,  NULL                },
    {"json",    {".jsonl", ".ndjson"},     NULL,              ferry_export_json   },
    {"roaring", {".roaring", ".croaring"}, NULL,              ferry_export_roaring},
};

static const Format *find_format(const char *name, const char *path)
{
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (name && strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
        for (gsize j = 0; !name && j < G_N_ELEMENTS(formats[i].suffixes); j++) {
            if (formats[i].suffixes[j] && g_str_has_suffix(path, formats[i].suffixes[j])) {
                return &formats[i];
            }
        }
    }
    return NULL;
}

static gboolean is_standard(const char *path) { return strcmp(path, "-") == 0; }

static gboolean find_formats(const Options *o, const Format **out_from, const Format **out_to,
                             GError **error)
{
    const Format *from = find_format(o->from, o->in), *to = find_format(o->to, o->out);

    if (!from || !to) {
        const char *option = from ? "--to" : "--from", *name = from ? o->to : o->from;
        return name ? ferry_verb_usage(error, "%s: there is no format '%s'", option, name)
                    : ferry_verb_usage(error, "%s: the name does not say the format: %s is needed",
                                       from ? o->out : o->in, option);
    }
    if (!from->import && from != &formats[0]) {
        return ferry_verb_usage(error, "%s is written, not read: pdt, csv, criu and qmp are read",
                                from->name);
    }
    if (!to->export) {
        return ferry_verb_usage(
            error, "%s is read, not written: pdt, csv, json and roaring are written", to->name);
    }
    if (from == &formats[0] && is_standard(o->in)) {
        return ferry_verb_usage(error, "-: a .pdt is read from a file, not from standard input");
    }
    *out_from = from;
    *out_to = to;
    return TRUE;
}

static gboolean parse(const Options *o, FerryTraceCut *cut, FerryImportOptions *options,
                      GError **error)
{
    *cut = (FerryTraceCut){.until_ns = UINT64_MAX};
    *options = (FerryImportOptions){.name = is_standard(o->in) ? "standard input" : o->in,
                                    .seed = (uint64_t)o->seed};
    if ((o->ram && !ferry_parse_size(o->ram, &options->ram_bytes, error)) ||
        (o->from_time && !ferry_parse_ns(o->from_time, &cut->from_ns, error)) ||
        (o->until_time && !ferry_parse_ns(o->until_time, &cut->until_ns, error)) ||
        (o->interval && !ferry_parse_ns(o->interval, &cut->interval_ns, error))) {
        return FALSE;
    }
    if (o->seed < 0) {
        return ferry_verb_usage(error, "--seed is 0 or more");
    }
    return cut->until_ns > cut->from_ns ||
           ferry_verb_usage(error, "--until-ms is not behind --from-ms");
}

static gboolean read_file(void *self, void *data, size_t n, size_t *out_n, GError **error)
{
    *out_n = fread(data, 1, n, self);
    if (*out_n == 0 && ferror(self)) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, "%s", g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean write_failed(GError **error)
{
    g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, "standard output: %s",
                g_strerror(errno));
    return FALSE;
}

static gboolean write_standard(void *self, const void *data, size_t n, GError **error)
{
    return fwrite(data, 1, n, self) == n || write_failed(error);
}

static gboolean read_text(const Options *o, const Format *from, const FerryImportOptions *options,
                          const FerryTraceTarget *to, GError **error)
{
    FILE *file = is_standard(o->in) ? stdin : fopen(o->in, "re");
    FerryTraceText text = {read_file, file};
    gboolean ok;

    if (!file) {
        g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, g_strerror(errno));
        return FALSE;
    }
    ok = from->import(&text, options, to, error);
    if (file != stdin) {
        fclose(file);
    }
    return ok;
}

/* What is wrong with it is said, what comes before is taken. */
static gboolean read_pdt(const Options *o, const FerryTraceTarget *to, GError **out_damage,
                         GError **error)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(o->in, error);
    g_autoptr(FerryTraceReader) reader = NULL;
    FerryTraceInput input;

    if (!file) {
        return FALSE;
    }
    input = ferry_trace_file_input(file);
    reader = ferry_trace_reader_new(&input, error);
    return reader && ferry_import_pdt(reader, to, out_damage, error);
}

static gboolean convert(const Options *o, const Format *from, const Format *to,
                        const FerryTraceCut *cut, const FerryImportOptions *options,
                        GError **out_damage, GError **error)
{
    g_autoptr(FerryTraceFile) file = NULL;
    g_auto(FerryTraceTarget) target = {NULL, NULL};
    FerryTraceSink sink = {write_standard, stdout};
    gboolean ok;

    if (!is_standard(o->out)) {
        file = ferry_trace_file_create(o->out, error);
        if (!file) {
            return FALSE;
        }
        sink = ferry_trace_file_sink(file);
    }
    target = to->export(&sink);
    if (!target.ops) {
        return ferry_verb_usage(error, "%s: this ferry was built without libroaring", to->name);
    }
    target = ferry_trace_filter(cut, target);
    ok = from->import ? read_text(o, from, options, &target, error)
                      : read_pdt(o, &target, out_damage, error);
    if (!ok) {
        g_autofree char *part = g_strconcat(o->out, ".part", NULL);
        if (file) {
            (void)unlink(part);
        }
        g_prefix_error(error, "%s: ", o->in);
        return FALSE;
    }
    return file ? ferry_trace_file_commit(file, error) : fflush(stdout) == 0 || write_failed(error);
}

static FerryExit run(const Options *o)
{
    g_autoptr(GError) error = NULL, damage = NULL;
    const Format *from = NULL, *to = NULL;
    FerryTraceCut cut;
    FerryImportOptions options;

    if (!find_formats(o, &from, &to, &error) || !parse(o, &cut, &options, &error) ||
        !convert(o, from, to, &cut, &options, &damage, &error)) {
        return ferry_verb_fail(
            "convert", error->domain == G_OPTION_ERROR ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED,
            FALSE, "%s", error->message);
    }
    if (damage) {
        return ferry_verb_fail("convert", FERRY_EXIT_FAILED, FALSE,
                               "%s: %s; what comes before is in %s", o->in, damage->message,
                               o->out);
    }
    return FERRY_EXIT_DONE;
}

FerryExit ferry_verb_convert(int argc, char **argv)
{
    g_auto(Options) o = {0};
    const GOptionEntry entries[] = {
        {"from",     0, 0, G_OPTION_ARG_STRING, &o.from,       "pdt, csv, criu or qmp; as the name says",
         "FORMAT"                                                                                                   },
        {"to",       0, 0, G_OPTION_ARG_STRING, &o.to,         "pdt, csv, json or roaring; as the name says",
         "FORMAT"                                                                                                   },
        {"from-ms",  0, 0, G_OPTION_ARG_STRING, &o.from_time,  "leave out what is before",                      "MS"},
        {"until-ms", 0, 0, G_OPTION_ARG_STRING, &o.until_time, "leave out what is behind",                      "MS"},
        {"interval", 0, 0, G_OPTION_ARG_STRING, &o.interval,
         "put frames together until they are so long",                                                          "MS"},
        {"ram",      0, 0, G_OPTION_ARG_STRING, &o.ram,        "the memory's size, where the input knows less",
         "SIZE"                                                                                                     },
        {"seed",     0, 0, G_OPTION_ARG_INT64,  &o.seed,       "of pages that are made up",                     "N" },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, "IN OUT",
                          "Converts traces: page dirty traces (.pdt), CSV (.csv), samples of a "
                          "process's pages\n(.json, criu), answers to query-migrate (.qmp), JSON "
                          "lines (.jsonl), Roaring bitmaps\n(.roaring). A - is standard input or "
                          "output.",
                          2, 2)) {
        return FERRY_EXIT_USAGE;
    }
    o.in = argv[1];
    o.out = argv[2];
    return run(&o);
}

/* ferry send: gives a snapshot to a destination, which goes on with the guest. */
#include <string.h>
#include <unistd.h>

#include "engine/compress.h"
#include "protocol/multifd.h"
#include "tools/format.h"
#include "tools/send.h"

typedef struct {
    char *start, *method, *compress, *zero_pages, *max_ram, *max_bandwidth, *timeout, *max_time;
    char *offset;
    FerrySendOptions options;
} Words;

static void words_clear(Words *w)
{
    FerrySendOptions *o = &w->options;
    char *texts[] = {w->start,   w->method,   w->compress, w->zero_pages,    w->max_ram,
                     w->timeout, w->max_time, w->offset,   w->max_bandwidth, o->input,
                     o->peer,    o->peer_qmp, o->machine,  o->uuid};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

/* One of @words, by its place. */
static gboolean choose(const char *option, const char *text, const char *const *words,
                       unsigned *out_index, GError **error)
{
    g_autofree char *all = NULL;

    for (unsigned i = 0; text && words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out_index = i;
            return TRUE;
        }
    }
    all = g_strjoinv(", ", (char **)words);
    return !text || ferry_verb_usage(error, "%s: '%s' is none of %s", option, text, all);
}

static gboolean understand_numbers(Words *w, GError **error)
{
    FerrySendOptions *o = &w->options;
    uint64_t timeout_ms, max_time_ms;

    o->max_ram_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if ((w->max_ram && !ferry_parse_size(w->max_ram, &o->max_ram_bytes, error)) ||
        (w->offset && !ferry_parse_size(w->offset, &o->offset, error)) ||
        (w->max_bandwidth && !ferry_parse_rate(w->max_bandwidth, &o->max_bandwidth, error)) ||
        !ferry_parse_ms(w->timeout ? w->timeout : "10s", &timeout_ms, error) ||
        !ferry_parse_ms(w->max_time ? w->max_time : "0", &max_time_ms, error)) {
        return FALSE;
    }
    o->timeout_ns = timeout_ms * 1000000;
    o->max_time_ns = max_time_ms * 1000000;
    if (timeout_ms == 0 || timeout_ms > 86400000) {
        return ferry_verb_usage(error, "--timeout is above 0 and at most a day");
    }
    if (max_time_ms > 8640000000) {
        return ferry_verb_usage(error, "--max-time is at most 100 days");
    }
    return o->max_ram_bytes > 0 || ferry_verb_usage(error, "--max-ram is above 0");
}

static gboolean understand_methods(Words *w, GError **error)
{
    static const char *const starts[] = {"keep", "running", "paused", NULL};
    static const char *const zeros[] = {"multifd", "legacy", "none", NULL};
    FerrySendOptions *o = &w->options;
    unsigned start = FERRY_START_KEEP, zero_pages = FERRY_ZERO_PAGES_MULTIFD;

    if (!choose("--start", w->start, starts, &start, error) ||
        !choose("--zero-page-detection", w->zero_pages, zeros, &zero_pages, error) ||
        (w->method && !ferry_parse_method("--multifd-compression", w->method, &o->method, error)) ||
        (w->compress && !ferry_parse_method("--compress", w->compress, &o->page_method, error))) {
        return FALSE;
    }
    o->start = (FerryStart)start;
    o->zero_pages = (FerryZeroPages)zero_pages;
    o->has_method = w->method != NULL;
    return TRUE;
}

static gboolean understand_combinations(const Words *w, GError **error)
{
    const FerrySendOptions *o = &w->options;
    FerryMultifdMethod method = w->compress ? o->page_method : o->method;
    int most = method == FERRY_MULTIFD_ZSTD ? FERRY_ZSTD_LEVEL_MAX : FERRY_ZLIB_LEVEL_MAX;

    if (!o->input) {
        return ferry_verb_usage(error, "--input is missing: the snapshot to send");
    }
    if (o->peer && o->peer_qmp) {
        return ferry_verb_usage(error, "--peer says what --peer-qmp would ask");
    }
    if (o->channels < -1 || o->channels > 255) {
        return ferry_verb_usage(error, "--channels is 0 to 255");
    }
    if (w->method && o->channels <= 0 && !o->peer_qmp) {
        return ferry_verb_usage(error, "--multifd-compression needs --channels");
    }
    if (w->compress && o->channels > 0) {
        return ferry_verb_usage(error, "--compress is of the main channel, --channels of others");
    }
    if (o->level < -1 || o->level > most) {
        return ferry_verb_usage(error, "--multifd-level is 0 to %d with %s", most,
                                ferry_multifd_method_name(method));
    }
    return TRUE;
}

/* Channels are more connections to the same address. */
static gboolean understand_uri(const FerrySendOptions *o, GError **error)
{
    g_auto(FerryAddress) address = {0};

    if (!ferry_address_parse(o->uri, &address, error)) {
        return FALSE;
    }
    return o->channels <= 0 || address.type == FERRY_ADDRESS_TCP ||
           address.type == FERRY_ADDRESS_UNIX ||
           ferry_verb_usage(
               error, "--channels needs tcp: or unix:, which can be connected to more than once");
}

FerryExit ferry_verb_send(int argc, char **argv)
{
    g_auto(Words) w = {
        .options = {.channels = -1, .level = -1}
    };
    FerrySendOptions *o = &w.options;
    g_auto(FerrySendPlan) plan = {0};
    g_autoptr(GError) error = NULL;
    uint8_t uuid[16];
    const GOptionEntry entries[] = {
        {"input",               0, 0, G_OPTION_ARG_FILENAME, &o->input,
         "the snapshot: a mapped-ram file, a QEMU's or a Ferry's",                                                      "FILE"   },
        {"offset",              0, 0, G_OPTION_ARG_STRING,   &w.offset,          "where in it the snapshot begins",     "SIZE"   },
        {"peer",                0, 0, G_OPTION_ARG_STRING,   &o->peer,
         "the destination: a version of QEMU, or ferry; by the machine type unless given",                              "VERSION"},
        {"peer-qmp",            0, 0, G_OPTION_ARG_STRING,   &o->peer_qmp,
         "the destination's monitor: asked what it wants, and told to run the guest",                                   "ADDRESS"},
        {"machine",             0, 0, G_OPTION_ARG_STRING,   &o->machine,        "send it as of this machine type",
         "NAME"                                                                                                                  },
        {"uuid",                0, 0, G_OPTION_ARG_STRING,   &o->uuid,           "send it as this guest",               "UUID"   },
        {"start",               0, 0, G_OPTION_ARG_STRING,   &w.start,
         "whether the destination runs it: keep (as it was; default), running, paused",                                 "HOW"    },
        {"channels",            0, 0, G_OPTION_ARG_INT,      &o->channels,       "multifd channels",                    "N"      },
        {"multifd-compression", 0, 0, G_OPTION_ARG_STRING,   &w.method,
         "none (default), zlib or zstd, as the destination has it",                                                     "METHOD" },
        {"multifd-level",       0, 0, G_OPTION_ARG_INT,      &o->level,
         "of compression: zlib 0 to 9, zstd 0 to 20, 1 unless given",                                                   "N"      },
        {"compress",            0, 0, G_OPTION_ARG_STRING,   &w.compress,
         "compress each page (QEMU up to 9.0): zlib, or zstd for forks that have it",                                   "METHOD" },
        {"zero-page-detection", 0, 0, G_OPTION_ARG_STRING,   &w.zero_pages,
         "multifd (default), legacy or none",                                                                           "WHO"    },
        {"no-return-path",      0, 0, G_OPTION_ARG_NONE,     &o->no_return_path,
         "expect no answer, and learn nothing of what became of it",                                                    NULL     },
        {"max-bandwidth",       0, 0, G_OPTION_ARG_STRING,   &w.max_bandwidth,
         "send no faster; unlimited unless given",                                                                      "RATE"   },
        {"max-ram",             0, 0, G_OPTION_ARG_STRING,   &w.max_ram,
         "refuse a snapshot with more; this host's memory unless given",                                                "SIZE"   },
        {"timeout",             0, 0, G_OPTION_ARG_STRING,   &w.timeout,
         "longest wait for the destination, 10s unless given",                                                          "TIME"   },
        {"max-time",            0, 0, G_OPTION_ARG_STRING,   &w.max_time,
         "give up after so long in all; never unless given",                                                            "TIME"   },
        {"json",                0, 0, G_OPTION_ARG_NONE,     &o->json,           "JSON lines: events, then the result", NULL     },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, "URI",
                          "Sends a snapshot to a QEMU that waits for a migration (-incoming), or "
                          "to a Ferry; the guest goes\non there where it stood.",
                          1, 1)) {
        return FERRY_EXIT_USAGE;
    }
    o->uri = argv[1];
    if (!understand_numbers(&w, &error) || !understand_methods(&w, &error) ||
        !understand_combinations(&w, &error) || !understand_uri(o, &error) ||
        (o->uuid && !ferry_parse_uuid(o->uuid, uuid, &error))) {
        return ferry_verb_fail("send", FERRY_EXIT_USAGE, FALSE, "%s", error->message);
    }
    o->level = o->level < 0 ? 1 : o->level;
    if (!ferry_send_plan(o, &plan, &error)) {
        return ferry_transfer_fail("send", o->json, FERRY_WATCH_NOTHING, FALSE, error);
    }
    return ferry_send_run(o, &plan);
}

/* ferry replay: does a trace's writes for real while their memory is migrated. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "engine/compress.h"
#include "tools/format.h"
#include "tools/replay.h"

typedef struct {
    char *max_bandwidth, *downtime_limit, *timeout, *on_timeout, *on_stall, *policy;
    char *compression, *content, *log, *start, *max_ram, *io_timeout;
    int multifd, level;
    gint64 seed;
    FerryReplayOptions options;
} Words;

static void words_clear(Words *w)
{
    FerryReplayOptions *o = &w->options;
    char *texts[] = {w->max_bandwidth, w->downtime_limit, w->timeout, w->on_timeout, w->on_stall,
                     w->policy,        w->compression,    w->content, w->log,        w->start,
                     w->max_ram,       w->io_timeout,     o->output,  o->id,         o->send.input,
                     o->send.peer,     o->send.peer_qmp};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
    g_strfreev(o->command);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

static gboolean understand_decisions(Words *w, GError **error)
{
    FerryReplayOptions *o = &w->options;
    uint64_t limit_ms, timeout_ms;
    const char *why, *on_timeout = w->on_timeout ? w->on_timeout : "cancel";

    o->policy_name = w->policy ? w->policy : "ferry";
    if (!ferry_policy_parse(o->policy_name, &o->policy, &why)) {
        return ferry_verb_usage(error, "--policy '%s': %s", o->policy_name, why);
    }
    if (w->on_stall && !ferry_on_stall_parse(w->on_stall, &o->on_stall)) {
        return ferry_verb_usage(error, "--on-stall is wait, pause, throttle or cancel");
    }
    if (strcmp(on_timeout, "pause") != 0 && strcmp(on_timeout, "cancel") != 0) {
        return ferry_verb_usage(error, "--on-timeout is pause or cancel");
    }
    if ((w->max_bandwidth && !ferry_parse_rate(w->max_bandwidth, &o->max_bandwidth, error)) ||
        !ferry_parse_ms(w->downtime_limit ? w->downtime_limit : "300", &limit_ms, error) ||
        !ferry_parse_ms(w->timeout ? w->timeout : "0", &timeout_ms, error)) {
        return FALSE;
    }
    if (limit_ms > 2000000) {
        return ferry_verb_usage(error, "--downtime-limit is at most 2000 s");
    }
    if (timeout_ms > 8640000000) {
        return ferry_verb_usage(error, "--timeout is at most 100 days");
    }
    o->downtime_limit_ns = limit_ms * 1000000;
    o->timeout = (FerryTimeout){.timeout_ns = timeout_ms * 1000000,
                                .pause = strcmp(on_timeout, "pause") == 0};
    return TRUE;
}

/* What is played, and how. */
static gboolean understand_trace(Words *w, GError **error)
{
    FerryReplayOptions *o = &w->options;
    uint64_t start_ms;

    o->has_content = w->content != NULL;
    if (w->content && !ferry_replay_content_parse(w->content, &o->content)) {
        return ferry_verb_usage(error, "--content is trace, random, text, counters or keep");
    }
    if (!(o->speed >= 0.001 && o->speed <= 1000)) {
        return ferry_verb_usage(error, "--speed is 0.001 to 1000");
    }
    if (!ferry_parse_ms(w->start ? w->start : "0", &start_ms, error)) {
        return FALSE;
    }
    if (start_ms > UINT64_MAX / 1000000) {
        return ferry_verb_usage(error, "--start is too large");
    }
    if (w->seed < 0) {
        return ferry_verb_usage(error, "--seed is not below 0");
    }
    o->start_ns = start_ms * 1000000;
    o->seed = (uint64_t)w->seed;
    const char *log = w->log ? w->log : "auto";
    o->log = strcmp(log, "pagemap") == 0 ? FERRY_REPLAY_LOG_PAGEMAP
             : strcmp(log, "marks") == 0 ? FERRY_REPLAY_LOG_MARKS
                                         : FERRY_REPLAY_LOG_AUTO;
    return o->log != FERRY_REPLAY_LOG_AUTO || strcmp(log, "auto") == 0 ||
           ferry_verb_usage(error, "--dirty-log is auto, pagemap or marks");
}

/* Where to, and by which way. */
static gboolean understand_way(Words *w, GError **error)
{
    FerrySendOptions *s = &w->options.send;
    g_auto(FerryAddress) address = {0};
    uint64_t io_timeout_ms;

    s->max_ram_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (!ferry_address_parse(s->uri, &address, error) ||
        (w->max_ram && !ferry_parse_size(w->max_ram, &s->max_ram_bytes, error)) ||
        !ferry_parse_ms(w->io_timeout ? w->io_timeout : "10s", &io_timeout_ms, error) ||
        (w->compression &&
         !ferry_parse_method("--compression", w->compression, &s->method, error))) {
        return FALSE;
    }
    if (io_timeout_ms == 0 || io_timeout_ms > 86400000) {
        return ferry_verb_usage(error, "--io-timeout is above 0 and at most a day");
    }
    s->timeout_ns = io_timeout_ms * 1000000;
    s->channels = w->multifd;
    s->has_method = w->compression != NULL;
    s->level = w->level < 0 ? 1 : w->level;
    int most = s->method == FERRY_MULTIFD_ZSTD ? FERRY_ZSTD_LEVEL_MAX : FERRY_ZLIB_LEVEL_MAX;
    const char *wrong =
        w->multifd < -1 || w->multifd > 255     ? "--multifd is 0 to 255"
        : w->compression && w->multifd <= 0     ? "--compression needs --multifd"
        : w->level < -1 || w->level > most      ? "--level is 0 to 9 with zlib, 0 to 20 with zstd"
        : (s->peer || s->peer_qmp) && !s->input ? "--peer and --peer-qmp need --snapshot"
        : s->peer && s->peer_qmp                ? "--peer says what --peer-qmp would ask"
        : w->multifd > 0 && address.type != FERRY_ADDRESS_TCP && address.type != FERRY_ADDRESS_UNIX
            ? "--multifd needs tcp: or unix:, which can be connected to more than once"
        : w->options.verify && (s->peer_qmp || (s->peer && strcmp(s->peer, "ferry") != 0))
            ? "--verify is between two Ferrys"
            : NULL;
    return !wrong || ferry_verb_usage(error, "%s", wrong);
}

/* Of what was given: the same run has the same name, and another has another. */
static char *name_run(const Words *w)
{
    const FerryReplayOptions *o = &w->options;
    const struct {
        const char *name, *text;
    } given[] = {
        {"max-bandwidth",  w->max_bandwidth },
        {"downtime-limit", w->downtime_limit},
        {"on-stall",       w->on_stall      },
        {"timeout",        w->timeout       },
        {"on-timeout",     w->on_timeout    },
        {"compression",    w->compression   },
        {"content",        w->content       },
        {"start",          w->start         },
        {"snapshot",       o->send.input    },
        {"dirty-log",      w->log           },
    };
    g_autofree char *trace = g_path_get_basename(o->trace_path);
    GString *name = g_string_new("replay trace=");

    g_string_append(name, trace);
    for (size_t i = 0; i < G_N_ELEMENTS(given); i++) {
        if (given[i].text) {
            g_string_append_printf(name, " %s=%s", given[i].name, given[i].text);
        }
    }
    if (w->multifd >= 0) {
        g_string_append_printf(name, " multifd=%d", w->multifd);
    }
    if (w->level >= 0) {
        g_string_append_printf(name, " level=%d", w->level);
    }
    if (o->speed < 1 || o->speed > 1) {
        g_string_append_printf(name, " speed=%g", o->speed);
    }
    g_string_append_printf(name, "%s%s seed=%" G_GUINT64_FORMAT " policy=%s",
                           o->repeat ? " repeat" : "", o->auto_converge ? " auto-converge" : "",
                           o->seed, o->policy_name);
    return g_string_free(name, FALSE);
}

static char **dup_command(int argc, char **argv)
{
    g_autoptr(GStrvBuilder) b = g_strv_builder_new();

    g_strv_builder_add(b, "ferry");
    for (int i = 0; i < argc; i++) {
        g_strv_builder_add(b, argv[i]);
    }
    return g_strv_builder_end(b);
}

FerryExit ferry_verb_replay(int argc, char **argv)
{
    g_auto(Words) w = {.multifd = -1, .level = -1, .seed = 1, .options = {.speed = 1}};
    FerryReplayOptions *o = &w.options;
    g_autoptr(GError) error = NULL;
    const GOptionEntry entries[] = {
        {"policy",         0,   0, G_OPTION_ARG_STRING,   &w.policy,
         "who decides: ferry (default), qemu, qemu-7.2 or fixed-rounds=N",                                          "NAME"   },
        {"max-bandwidth",  0,   0, G_OPTION_ARG_STRING,   &w.max_bandwidth,
         "send no faster; unlimited unless given",                                                                  "RATE"   },
        {"downtime-limit", 0,   0, G_OPTION_ARG_STRING,   &w.downtime_limit,
         "the downtime budget, 300 ms unless given",                                                                "MS"     },
        {"on-stall",       0,   0, G_OPTION_ARG_STRING,   &w.on_stall,
         "when the budget cannot be met: wait (default), pause, throttle or cancel",                                "NAME"   },
        {"timeout",        0,   0, G_OPTION_ARG_STRING,   &w.timeout,
         "how long it may take; for ever unless given",                                                             "TIME"   },
        {"on-timeout",     0,   0, G_OPTION_ARG_STRING,   &w.on_timeout,
         "what to do then: cancel (default), or pause: switch over",                                                "NAME"   },
        {"auto-converge",  0,   0, G_OPTION_ARG_NONE,     &o->auto_converge,
         "policy qemu: throttle the guest when it outruns the link",                                                NULL     },
        {"multifd",        0,   0, G_OPTION_ARG_INT,      &w.multifd,        "so many channels for pages",          "N"      },
        {"compression",    0,   0, G_OPTION_ARG_STRING,   &w.compression,
         "of multifd: none (default), zlib or zstd",                                                                "METHOD" },
        {"level",          0,   0, G_OPTION_ARG_INT,      &w.level,          "of compression, 1 unless given",      "N"      },
        {"content",        0,   0, G_OPTION_ARG_STRING,   &w.content,
         "what is written: trace (default), random, text, counters or keep",                                        "NAME"   },
        {"speed",          0,   0, G_OPTION_ARG_DOUBLE,   &o->speed,         "of the trace's time, 1 unless given", "X"      },
        {"start",          0,   0, G_OPTION_ARG_STRING,   &w.start,          "where in the trace to begin",         "MS"     },
        {"repeat",         0,   0, G_OPTION_ARG_NONE,     &o->repeat,        "behind its end, play it again",       NULL     },
        {"seed",           0,   0, G_OPTION_ARG_INT64,    &w.seed,           "of what is random, 1 unless given",   "N"      },
        {"dirty-log",      0,   0, G_OPTION_ARG_STRING,   &w.log,
         "who sees writes: pagemap (where the kernel can) or marks",                                                "NAME"   },
        {"snapshot",       0,   0, G_OPTION_ARG_FILENAME, &o->send.input,
         "play on this guest's memory, and send its devices too",                                                   "FILE"   },
        {"peer",           0,   0, G_OPTION_ARG_STRING,   &o->send.peer,
         "with --snapshot, the destination: a version of QEMU, or ferry",                                           "VERSION"},
        {"peer-qmp",       0,   0, G_OPTION_ARG_STRING,   &o->send.peer_qmp,
         "with --snapshot, the destination's monitor: asked what it wants",                                         "ADDRESS"},
        {"verify",         0,   0, G_OPTION_ARG_NONE,     &o->verify,
         "prove that the destination's memory is the source's",                                                     NULL     },
        {"max-ram",        0,   0, G_OPTION_ARG_STRING,   &w.max_ram,
         "refuse a trace of more; this host's memory unless given",                                                 "SIZE"   },
        {"io-timeout",     0,   0, G_OPTION_ARG_STRING,   &w.io_timeout,
         "longest wait for the destination, 10s unless given",                                                      "TIME"   },
        {"id",             0,   0, G_OPTION_ARG_STRING,   &o->id,            "of the run in its result lines",      "TEXT"   },
        {"output",         'o', 0, G_OPTION_ARG_FILENAME, &o->output,        "write result lines here",             "FILE"   },
        {"json",           0,   0, G_OPTION_ARG_NONE,     &o->json,          "result lines on standard output",     NULL     },
        G_OPTION_ENTRY_NULL,
    };

    o->command = dup_command(argc, argv);
    if (!ferry_verb_parse(&argc, &argv, entries, "TRACE URI",
                          "Does a trace's writes for real and in time, on memory of the trace's "
                          "size, while that memory is\nmigrated to a Ferry (ferry receive), or "
                          "with a snapshot to a QEMU.",
                          2, 2)) {
        return FERRY_EXIT_USAGE;
    }
    o->trace_path = argv[1];
    o->send.uri = argv[2];
    if (!understand_decisions(&w, &error) || !understand_trace(&w, &error) ||
        !understand_way(&w, &error)) {
        return ferry_verb_fail("replay", FERRY_EXIT_USAGE, FALSE, "%s", error->message);
    }
    o->id = o->id ? o->id : name_run(&w);
    return ferry_replay_run(o);
}

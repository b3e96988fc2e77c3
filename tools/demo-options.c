/* What `ferry demo` is asked for. */
#include <string.h>

#include "engine/ferry.h"
#include "tools/demo.h"
#include "tools/format.h"
#include "tools/verb.h"

typedef struct {
    char *memory, *bandwidth, *downtime, *timeout, *on_stall, *on_timeout, *policy;
    FerryDemoOptions options;
} Words;

static void words_clear(Words *w)
{
    g_free(w->memory);
    g_free(w->bandwidth);
    g_free(w->downtime);
    g_free(w->timeout);
    g_free(w->on_stall);
    g_free(w->on_timeout);
    g_free(w->policy);
    g_free(w->options.workload);
    g_free(w->options.transport);
    g_free(w->options.accel);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

static gboolean bad(GError **error, const char *option, const char *known)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s is %s", option, known);
    return FALSE;
}

/* What decides, and what follows when it does not converge. */
static gboolean understand_decisions(Words *w, GError **error)
{
    FerryDemoOptions *o = &w->options;
    FerryPolicy policy;
    FerryOnStall on_stall;
    const char *why;

    o->policy = w->policy ? w->policy : "ferry";
    o->on_stall = w->on_stall ? w->on_stall : ferry_on_stall_name(FERRY_ON_STALL_WAIT);
    o->on_timeout = w->on_timeout ? w->on_timeout : ferry_on_stall_name(FERRY_ON_STALL_CANCEL);
    if (!ferry_policy_parse(o->policy, &policy, &why)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--policy '%s': %s", o->policy,
                    why);
        return FALSE;
    }
    if (!ferry_on_stall_parse(o->on_stall, &on_stall)) {
        return bad(error, "--on-stall", "wait, pause, throttle or cancel");
    }
    if (strcmp(o->on_timeout, "pause") != 0 && strcmp(o->on_timeout, "cancel") != 0) {
        return bad(error, "--on-timeout", "pause or cancel");
    }
    return o->timeout_ms > 0 && o->timeout_ms <= 86400000
               ? TRUE
               : bad(error, "--timeout", "above 0 and at most a day");
}

/* Words into values, with their defaults. */
static gboolean understand(Words *w, int n_vcpus, GError **error)
{
    FerryDemoOptions *o = &w->options;

    if (!ferry_parse_size(w->memory ? w->memory : "256M", &o->memory_bytes, error) ||
        !ferry_parse_rate(w->bandwidth ? w->bandwidth : "64M", &o->bandwidth, error) ||
        !ferry_parse_ms(w->downtime ? w->downtime : "500ms", &o->downtime_limit_ms, error) ||
        !ferry_parse_ms(w->timeout ? w->timeout : "120s", &o->timeout_ms, error)) {
        return FALSE;
    }
    if (o->memory_bytes < (16u << 20) || o->memory_bytes % 4096 != 0) {
        return bad(error, "--memory", "at least 16M and whole pages of 4096 bytes");
    }
    o->n_vcpus = (unsigned)n_vcpus;
    if (!o->workload) { /* everything but the guest's own first MiBs */
        o->workload = g_strdup_printf("hot-cold,size=%" G_GUINT64_FORMAT
                                      "M,hot=2M,share=70,rate=20000,fill=random",
                                      (o->memory_bytes >> 20) - 8);
    }
    if (!o->transport) {
        o->transport = g_strdup("tcp");
    }
    if (n_vcpus < 1 || n_vcpus > 4) {
        return bad(error, "--smp", "1 to 4");
    }
    if (strcmp(o->transport, "tcp") != 0 && strcmp(o->transport, "unix") != 0) {
        return bad(error, "--transport", "tcp or unix");
    }
    if (o->accel && strcmp(o->accel, "kvm") != 0 && strcmp(o->accel, "process") != 0) {
        return bad(error, "--accel", "kvm or process");
    }
    return understand_decisions(w, error);
}

FerryExit ferry_verb_demo(int argc, char **argv)
{
    g_auto(Words) w = {0};
    FerryDemoOptions *o = &w.options;
    g_autoptr(GError) error = NULL;
    int n_vcpus = 1;
    const GOptionEntry entries[] = {
        {"memory",         0, 0, G_OPTION_ARG_STRING, &w.memory,     "the guest's RAM, 256M unless given",
         "SIZE"                                                                                                   },
        {"workload",       0, 0, G_OPTION_ARG_STRING, &o->workload,  "what it writes, in ferry-vm's words",
         "SPEC"                                                                                                   },
        {"smp",            0, 0, G_OPTION_ARG_INT,    &n_vcpus,      "vCPUs, 1 unless given",               "N"   },
        {"bandwidth",      0, 0, G_OPTION_ARG_STRING, &w.bandwidth,
         "the link's, 64MiB/s unless given; 0: no link in between",                                         "RATE"},
        {"downtime-limit", 0, 0, G_OPTION_ARG_STRING, &w.downtime,
         "the downtime budget, 500 ms unless given",                                                        "MS"  },
        {"timeout",        0, 0, G_OPTION_ARG_STRING, &w.timeout,
         "how long it may take, 120s unless given",                                                         "TIME"},
        {"on-timeout",     0, 0, G_OPTION_ARG_STRING, &w.on_timeout,
         "what to do then: cancel (default), or pause: switch over",                                        "NAME"},
        {"on-stall",       0, 0, G_OPTION_ARG_STRING, &w.on_stall,
         "when the budget cannot be met: wait (default), pause, throttle or cancel",                        "NAME"},
        {"policy",         0, 0, G_OPTION_ARG_STRING, &w.policy,
         "who decides: ferry (default), qemu, qemu-7.2 or fixed-rounds=N",                                  "NAME"},
        {"transport",      0, 0, G_OPTION_ARG_STRING, &o->transport, "tcp (default) or unix",               "NAME"},
        {"accel",          0, 0, G_OPTION_ARG_STRING, &o->accel,     "kvm (where there is KVM) or process",
         "NAME"                                                                                                   },
        {"keep",           0, 0, G_OPTION_ARG_NONE,   &o->keep,      "keep logs, serial output and memory", NULL  },
        {"json",           0, 0, G_OPTION_ARG_NONE,   &o->json,      "JSON lines: events, then the result", NULL  },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, NULL,
                          "Starts a guest that writes its memory, moves it live to a second "
                          "process over a limited link,\nproves that all of its memory arrived "
                          "and shows each round and each part of the downtime.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    if (!understand(&w, n_vcpus, &error)) {
        return ferry_verb_fail("demo", FERRY_EXIT_USAGE, FALSE, "%s", error->message);
    }
    return ferry_demo_run(o);
}

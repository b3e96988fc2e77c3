/* ferry receive: takes a guest in from whoever sends it, and keeps it. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/gather.h"
#include "tools/format.h"
#include "tools/receive.h"

#define TICKS_PER_WRITE_BACK 5

typedef struct {
    FerryReceiveOptions *options;
    FerryInterrupt *interrupt;
    FerryCapture *capture;
    FerryProgress progress; /* at the end */
    uint64_t cpu_ns;        /* of this process, while it received */

    gboolean moving; /* there is a line to move */
    unsigned ticks;
    pthread_mutex_t lock; /* what the watching thread sees */
    FerryDestination *destination;
    gboolean cancelled;
} Receive;

static void cancel(void *self)
{
    Receive *r = self;

    pthread_mutex_lock(&r->lock);
    r->cancelled = TRUE;
    if (r->destination) {
        (void)ferry_destination_cancel(r->destination);
    } else {
        ferry_interrupt_raise(r->interrupt);
    }
    pthread_mutex_unlock(&r->lock);
}

static void tick(void *self)
{
    Receive *r = self;
    FerryProgress p = {0};

    if (++r->ticks % TICKS_PER_WRITE_BACK == 0) {
        ferry_capture_write_back(r->capture);
    }
    if (!r->moving) {
        return;
    }
    pthread_mutex_lock(&r->lock);
    if (r->destination) {
        ferry_destination_get_progress(r->destination, &p);
    }
    pthread_mutex_unlock(&r->lock);
    if (p.total_ns) {
        g_autofree char *got = ferry_format_bytes(p.sent_bytes);
        g_autofree char *ram = ferry_format_bytes(p.ram_total_bytes);
        g_autofree char *rate =
            ferry_format_rate((uint64_t)((double)p.sent_bytes * 1e9 / (double)p.total_ns));
        g_autofree char *line = g_strdup_printf("%s received  %s of RAM  %s", got, ram, rate);
        ferry_watch_show(line);
    }
}

/* What to cancel from here on; NULL: the wait for connections. */
static void hand_to_watch(Receive *r, FerryDestination *destination)
{
    pthread_mutex_lock(&r->lock);
    r->destination = destination;
    if (r->cancelled && destination) {
        (void)ferry_destination_cancel(destination);
    }
    pthread_mutex_unlock(&r->lock);
}

static void on_dropped(void *self, const char *peer, const GError *why)
{
    const Receive *r = self;

    ferry_watch_wipe();
    if (r->options->json) {
        ferry_transfer_event("dropped", "peer", peer, "reason", why->message, NULL);
    } else {
        fprintf(stderr, "ferry receive: dropped a connection: %s\n", why->message);
    }
}

static void on_notify(void *self, const FerryProgress *p)
{
    const Receive *r = self;

    if (r->options->json) {
        ferry_transfer_phase(p);
    }
}

static gboolean gather(Receive *r, FerryListener *listener, FerryGathering *out_gathering,
                       GError **error)
{
    const FerryReceiveOptions *o = r->options;
    FerryGatherOptions options = {.multifd_channels = o->channels,
                                  .uuid = o->has_uuid ? o->uuid : NULL,
                                  .hello_ns = o->timeout_ns,
                                  .complete_ns = 3 * o->timeout_ns,
                                  .dropped = on_dropped,
                                  .dropped_self = r};

    if (o->json) {
        ferry_transfer_event("listening", "uri", ferry_listener_get_uri(listener), NULL);
    } else {
        fprintf(stderr, "listening on %s\n", ferry_listener_get_uri(listener));
    }
    if (!ferry_gather(listener, &options, out_gathering, error)) {
        return FALSE;
    }
    if (o->json) {
        ferry_transfer_event("connected", "peer",
                             ferry_channel_get_description(out_gathering->main), NULL);
    }
    return TRUE;
}

static gboolean take_in(Receive *r, FerryGathering *g, GError **error)
{
    const FerryReceiveOptions *o = r->options;
    FerryDestinationOptions options = {.io_timeout_ns = o->timeout_ns,
                                       .switchover_ack = o->switchover_ack,
                                       .page_bits = o->page_bits,
                                       .max_device_bytes = o->max_device_bytes,
                                       .multifd = g->multifd,
                                       .n_multifd = g->n_multifd,
                                       .multifd_uuid = g->n_multifd ? g->uuid : NULL,
                                       .any_method = !o->has_method,
                                       .multifd_method = o->method,
                                       .notify = on_notify,
                                       .notify_self = r};
    g_autoptr(FerryDestination) destination = ferry_destination_new(
        ferry_capture_guest(r->capture), g_steal_pointer(&g->main), r->interrupt, &options);

    g->n_multifd = 0; /* taken */
    uint64_t begin_ns = ferry_cpu_now_ns();
    hand_to_watch(r, destination);
    gboolean ok = ferry_destination_run(destination, error);
    hand_to_watch(r, NULL);
    r->cpu_ns = ferry_cpu_now_ns() - begin_ns;
    ferry_destination_get_progress(destination, &r->progress);
    return ok;
}

static FerryExit receive(FerryReceiveOptions *o)
{
    static const FerryWatchOps ops = {.cancel = cancel, .tick = tick};
    const FerryCaptureOptions keep = {.max_ram_bytes = o->max_ram_bytes,
                                      .output = o->output,
                                      .ram_dir = o->ram_dir,
                                      .page_bits = o->page_bits,
                                      .uuid = o->has_uuid ? o->uuid : NULL};
    Receive r = {.options = o,
                 .moving = ferry_watch_can_show() && !o->json,
                 .lock = PTHREAD_MUTEX_INITIALIZER};
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryInterrupt) interrupt = r.interrupt = ferry_interrupt_new(&error);
    FerryTransportOptions transport = {.interrupt = interrupt};
    g_autoptr(FerryCapture) capture = interrupt ? ferry_capture_new(&keep, &error) : NULL;
    g_autoptr(FerryListener) listener =
        capture ? ferry_listener_new(&o->address, &transport, &error) : NULL;
    g_auto(FerryGathering) gathering = {0};

    if (!listener) {
        return ferry_transfer_fail("receive", o->json, FERRY_WATCH_NOTHING, FALSE, error);
    }
    r.capture = capture;
    g_autoptr(FerryWatch) watch = ferry_watch_new(&ops, &r, o->max_time_ns);
    gboolean ok = gather(&r, listener, &gathering, &error);
    g_clear_pointer(&listener, ferry_listener_free); /* whoever comes now is too late */
    ok = ok && take_in(&r, &gathering, &error);
    ferry_watch_stop(watch);
    if (!ok) {
        return ferry_transfer_fail("receive", o->json, ferry_watch_reason(watch), TRUE, error);
    }
    ferry_receive_report(o, capture, &r.progress, r.cpu_ns);
    return FERRY_EXIT_DONE;
}

typedef struct {
    char *uuid, *method, *max_ram, *max_device_state, *timeout, *max_time;
    int channels, page_bits;
    FerryReceiveOptions options;
} Words;

static void words_clear(Words *w)
{
    g_free(w->uuid);
    g_free(w->method);
    g_free(w->max_ram);
    g_free(w->max_device_state);
    g_free(w->timeout);
    g_free(w->max_time);
    g_free(w->options.output);
    g_free(w->options.ram_dir);
    ferry_address_clear(&w->options.address);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Words, words_clear)

/* Words into values, with their defaults. */
static gboolean understand(Words *w, const char *uri, GError **error)
{
    FerryReceiveOptions *o = &w->options;
    uint64_t timeout_ms, max_time_ms;

    /* What a source declares is taken for granted up to what this host has. */
    o->max_device_bytes = 24u << 20;
    o->max_ram_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (!ferry_address_parse(uri, &o->address, error) ||
        (w->max_ram && !ferry_parse_size(w->max_ram, &o->max_ram_bytes, error)) ||
        (w->max_device_state &&
         !ferry_parse_size(w->max_device_state, &o->max_device_bytes, error)) ||
        !ferry_parse_ms(w->timeout ? w->timeout : "10s", &timeout_ms, error) ||
        !ferry_parse_ms(w->max_time ? w->max_time : "0", &max_time_ms, error) ||
        (w->uuid && !ferry_parse_uuid(w->uuid, o->uuid, error)) ||
        (w->method && !ferry_parse_method("--multifd-compression", w->method, &o->method, error))) {
        return FALSE;
    }
    o->has_uuid = w->uuid != NULL;
    o->has_method = w->method != NULL;
    o->channels = (unsigned)w->channels;
    o->page_bits = (unsigned)w->page_bits;
    o->timeout_ns = timeout_ms * 1000000;
    o->max_time_ns = max_time_ms * 1000000;
    const char *wrong =
        timeout_ms == 0 || timeout_ms > 86400000 ? "--timeout is above 0 and at most a day"
        : max_time_ms > 8640000000               ? "--max-time is at most 100 days"
        : o->max_ram_bytes == 0                  ? "--max-ram is above 0"
        : o->max_device_bytes == 0 || o->max_device_bytes > 1u << 30
            ? "--max-device-state is above 0 and at most 1G"
        : w->channels < 0 || w->channels > 255 ? "--channels is 0 to 255"
        : w->method && !w->channels            ? "--multifd-compression needs --channels"
        : w->page_bits && (w->page_bits < 10 || w->page_bits > 16) ? "--page-bits is 10 to 16"
        : o->output && o->ram_dir ? "--output and --ram-dir exclude each other"
                                  : NULL;
    if (wrong) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, wrong);
    }
    return !wrong;
}

FerryExit ferry_verb_receive(int argc, char **argv)
{
    g_auto(Words) w = {0};
    FerryReceiveOptions *o = &w.options;
    g_autoptr(GError) error = NULL;
    const GOptionEntry entries[] = {
        {"output",              0, 0, G_OPTION_ARG_FILENAME, &o->output,
         "write a snapshot in QEMU's mapped-ram layout",                                                                 "FILE"  },
        {"ram-dir",             0, 0, G_OPTION_ARG_FILENAME, &o->ram_dir,
         "keep RAM in one file per block, there from the beginning",                                                     "DIR"   },
        {"channels",            0, 0, G_OPTION_ARG_INT,      &w.channels,         "multifd channels of the source",      "N"     },
        {"multifd-compression", 0, 0, G_OPTION_ARG_STRING,   &w.method,
         "none, zlib or zstd, and nothing else; any of them unless given",                                               "METHOD"},
        {"switchover-ack",      0, 0, G_OPTION_ARG_NONE,     &o->switchover_ack,
         "give the source its leave to switch over (its capability is on)",                                              NULL    },
        {"uuid",                0, 0, G_OPTION_ARG_STRING,   &w.uuid,             "refuse another guest's than this",    "UUID"  },
        {"max-ram",             0, 0, G_OPTION_ARG_STRING,   &w.max_ram,
         "refuse a source with more; this host's memory unless given",                                                   "SIZE"  },
        {"max-device-state",    0, 0, G_OPTION_ARG_STRING,   &w.max_device_state,
         "refuse more than this of device state, 24M unless given",                                                      "SIZE"  },
        {"page-bits",           0, 0, G_OPTION_ARG_INT,      &w.page_bits,
         "of pages, where the source does not say; 12 unless given",                                                     "N"     },
        {"timeout",             0, 0, G_OPTION_ARG_STRING,   &w.timeout,
         "longest silence of the source, 10s unless given",                                                              "TIME"  },
        {"max-time",            0, 0, G_OPTION_ARG_STRING,   &w.max_time,
         "give up after so long in all; never unless given",                                                             "TIME"  },
        {"hash",                0, 0, G_OPTION_ARG_NONE,     &o->hash,            "SHA-256 of each RAM block",           NULL    },
        {"json",                0, 0, G_OPTION_ARG_NONE,     &o->json,            "JSON lines: events, then the result", NULL    },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, "URI",
                          "Waits for a migration from a QEMU or a Ferry, takes the guest in and "
                          "keeps it: its RAM,\nits device sections byte for byte and their "
                          "description.",
                          1, 1)) {
        return FERRY_EXIT_USAGE;
    }
    if (!understand(&w, argv[1], &error)) {
        return ferry_verb_fail("receive", FERRY_EXIT_USAGE, FALSE, "%s", error->message);
    }
    return receive(o);
}

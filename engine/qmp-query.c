#include "engine/qmp-private.h"
#include "protocol/ram.h"

static void put_int(JsonBuilder *b, const char *name, uint64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)MIN(value, (uint64_t)INT64_MAX));
}

/* With three decimals: microseconds. */
static void put_ms(JsonBuilder *b, const char *name, uint64_t ns)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, (double)(ns / 1000) / 1000);
}

static void put_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static uint64_t to_ms(uint64_t ns) { return ns / 1000000; }

/* Who looks at a running migration looks often: all rounds that are kept are for afterwards. */
#define ROUNDS_RUNNING 100

static uint64_t pages_per_second(const FerryMigrationView *view)
{
    const FerryRoundReport *last;

    if (view->rounds == NULL || view->rounds->len == 0) {
        return 0;
    }
    last = &g_array_index(view->rounds, FerryRoundReport, view->rounds->len - 1);
    uint64_t pages = last->normal_pages + last->zero_pages + last->packed_pages;
    return last->duration_ns == 0 ? 0 : (uint64_t)((double)pages * 1e9 / (double)last->duration_ns);
}

static void put_ram(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;

    json_builder_set_member_name(b, "ram");
    json_builder_begin_object(b);
    put_int(b, "transferred", p->sent_bytes);
    put_int(b, "remaining", p->ram_remaining_bytes);
    put_int(b, "total", p->ram_total_bytes);
    put_int(b, "duplicate", p->zero_pages);
    put_int(b, "skipped", 0);
    put_int(b, "normal", p->normal_pages);
    put_int(b, "normal-bytes", p->normal_pages * FERRY_PAGE_SIZE);
    put_int(b, "dirty-pages-rate", p->dirty_pages_per_second);
    json_builder_set_member_name(b, "mbps");
    json_builder_add_double_value(b, (double)p->bytes_per_second * 8 / 1e6);
    put_int(b, "dirty-sync-count", p->dirty_syncs);
    put_int(b, "dirty-sync-missed-zero-copy", 0);
    put_int(b, "page-size", FERRY_PAGE_SIZE);
    put_int(b, "multifd-bytes", p->multifd_bytes);
    put_int(b, "pages-per-second", pages_per_second(view));
    put_int(b, "precopy-bytes", view->precopy_bytes);
    put_int(b, "downtime-bytes",
            view->main_bytes > view->precopy_bytes ? view->main_bytes - view->precopy_bytes : 0);
    put_int(b, "postcopy-bytes", 0);
    put_int(b, "postcopy-requests", 0);
    json_builder_end_object(b);
}

static void put_number(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static double ratio(uint64_t pages, uint64_t bytes)
{
    return bytes ? (double)pages * FERRY_PAGE_SIZE / (double)bytes : 0;
}

/* QEMU's, where the capability is on. */
static void put_packing(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;

    if (view->used.xbzrle) {
        json_builder_set_member_name(b, "xbzrle-cache");
        json_builder_begin_object(b);
        put_int(b, "cache-size", view->used.xbzrle_cache_size);
        put_int(b, "bytes", p->xbzrle_bytes);
        put_int(b, "pages", p->xbzrle_pages);
        put_int(b, "cache-miss", p->xbzrle_misses);
        put_number(b, "cache-miss-rate", p->xbzrle_miss_rate);
        put_number(b, "encoding-rate", p->xbzrle_encoding_rate);
        put_int(b, "overflow", p->xbzrle_overflows);
        json_builder_end_object(b);
    }
    if (view->used.compress) { /* by the migration's own thread, which is never found busy */
        json_builder_set_member_name(b, "compression");
        json_builder_begin_object(b);
        put_int(b, "pages", p->compressed_pages);
        put_int(b, "busy", 0);
        put_number(b, "busy-rate", 0);
        put_int(b, "compressed-size", p->compressed_bytes);
        put_number(b, "compression-rate", ratio(p->compressed_pages, p->compressed_bytes));
        json_builder_end_object(b);
    }
}

/* How much less travelled than was meant, either way. */
static void put_packed(JsonBuilder *b, const char *name, uint64_t pages, uint64_t bytes)
{
    if (pages == 0) {
        return;
    }
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    put_int(b, "pages", pages);
    put_int(b, "bytes", bytes);
    put_number(b, "ratio", ratio(pages, bytes));
    json_builder_end_object(b);
}

static void put_ways(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;

    if (p->way != NULL) {
        put_text(b, "way", p->way);
    }
    if (view->used.multifd && !view->used.mapped_ram) {
        put_int(b, "multifd_channels", view->used.multifd_channels);
    }
    put_packed(b, "xbzrle", p->xbzrle_pages, p->xbzrle_bytes);
    put_packed(b, "compress", p->compressed_pages, p->compressed_bytes);
    put_packed(b, "multifd", p->coded_pages, p->coded_bytes);
    if (p->unchanged_pages > 0) {
        put_int(b, "unchanged_pages", p->unchanged_pages);
    }
}

static void put_downtime(JsonBuilder *b, const char *name, const FerryDowntime *d)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    put_ms(b, "pause_ms", d->pause_ns);
    put_ms(b, "last_round_ms", d->last_round_ns);
    put_ms(b, "device_state_ms", d->device_state_ns);
    put_ms(b, "verify_ms", d->verify_ns);
    put_ms(b, "load_ms", d->load_ns);
    put_ms(b, "start_ms", d->start_ns);
    put_ms(b, "total_ms", d->total_ns);
    json_builder_end_object(b);
}

static void put_round(JsonBuilder *b, const FerryRoundReport *r)
{
    json_builder_begin_object(b);
    put_int(b, "number", r->number);
    put_int(b, "normal_pages", r->normal_pages);
    put_int(b, "zero_pages", r->zero_pages);
    put_int(b, "packed_pages", r->packed_pages);
    put_int(b, "first_pages", r->first_pages);
    put_int(b, "deferred_pages", r->deferred_pages);
    put_int(b, "unchanged_pages_estimate", r->unchanged_pages_estimate);
    put_int(b, "sent_bytes", r->sent_bytes);
    put_ms(b, "duration_ms", r->duration_ns);
    put_int(b, "dirtied_pages", r->dirtied_pages);
    put_int(b, "bytes_per_second", r->bytes_per_second);
    put_int(b, "dirty_pages_per_second", r->dirty_pages_per_second);
    if (r->predicted_downtime_ns != UINT64_MAX) {
        put_ms(b, "predicted_downtime_ms", r->predicted_downtime_ns);
    }
    put_int(b, "throttle_percent", r->throttle_percent);
    json_builder_end_object(b);
}

static void put_rounds(JsonBuilder *b, const GArray *rounds, gboolean all)
{
    guint n = rounds != NULL ? rounds->len : 0;

    json_builder_set_member_name(b, "rounds");
    json_builder_begin_array(b);
    for (guint i = all || n < ROUNDS_RUNNING ? 0 : n - ROUNDS_RUNNING; i < n; i++) {
        put_round(b, &g_array_index(rounds, FerryRoundReport, i));
    }
    json_builder_end_array(b);
}

/* NULL while it runs. */
static const char *outcome(const FerryMigrationView *view)
{
    switch (view->status) {
    case FERRY_STATUS_COMPLETED:
        return "completed";
    case FERRY_STATUS_CANCELLED:
        return "cancelled";
    case FERRY_STATUS_IN_DOUBT:
        return "in-doubt";
    case FERRY_STATUS_FAILED:
        return !view->stalled ? "failed" : view->progress.timed_out ? "timed-out" : "stalled";
    default:
        return NULL;
    }
}

static void put_forecast(JsonBuilder *b, const FerryProgress *p)
{
    const FerryForecast *f = &p->forecast;
    g_autofree char *text = ferry_forecast_dup_text(f, p->downtime_limit_ns);

    json_builder_set_member_name(b, "forecast");
    json_builder_begin_object(b);
    put_text(b, "outlook", ferry_outlook_name(f->outlook));
    if (text != NULL) {
        put_text(b, "verdict", text);
        put_ms(b, "downtime_ms", f->downtime_ns);
        put_ms(b, "floor_ms", f->floor_ns);
        put_int(b, "floor_pages", f->floor_pages);
        put_int(b, "throttle_percent", f->throttle_percent);
    }
    if (text != NULL && f->finish_ns != UINT64_MAX) {
        put_ms(b, "finish_ms", f->finish_ns);
    }
    if (text != NULL && f->needed_bytes_per_second != UINT64_MAX) {
        put_int(b, "needed_bytes_per_second", f->needed_bytes_per_second);
    }
    json_builder_end_object(b);
}

/* How decisions are made, and what came of them. */
static void put_convergence(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;
    const char *how = outcome(view);
    uint64_t pages = p->normal_pages + p->zero_pages + p->xbzrle_pages + p->unchanged_pages +
                     p->compressed_pages;
    double total = (double)MAX(p->ram_total_bytes, 1);

    if (how != NULL) {
        put_text(b, "outcome", how);
    }
    put_text(b, "policy", p->policy);
    put_ms(b, "downtime_limit_ms", p->downtime_limit_ns);
    put_forecast(b, p);
    json_builder_set_member_name(b, "timed_out");
    json_builder_add_boolean_value(b, p->timed_out);
    put_ms(b, "throttled_ms", p->throttled_ns);
    put_int(b, "unsent_pages", p->unsent_pages);
    put_int(b, "sent_pages", pages);
    put_int(b, "unchanged_pages_estimate", p->unchanged_pages_estimate);
    put_int(b, "sent_bytes", p->sent_bytes); /* told of failed ones too, unlike QEMU's "ram" */
    put_int(b, "dirty_pages_per_second", p->dirty_pages_per_second);
    json_builder_set_member_name(b, "amplification");
    json_builder_begin_object(b);
    put_number(b, "bytes", (double)p->sent_bytes / total);
    put_number(b, "pages", (double)pages * FERRY_PAGE_SIZE / total);
    json_builder_end_object(b);
}

/* What QEMU does not tell. */
static void put_ours(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;
    char hash[17];

    json_builder_set_member_name(b, "x-ferry");
    json_builder_begin_object(b);
    put_text(b, "direction", view->incoming ? "incoming" : "outgoing");
    put_text(b, "phase", ferry_phase_name(p->phase));
    if (view->io != NULL) {
        put_text(b, "io", view->io);
    }
    if (!view->incoming && view->dirty_log != NULL) {
        put_text(b, "dirty-log", view->dirty_log);
    }
    /* A Ferry says so before the first page; who has said nothing by then is a QEMU. */
    if (p->peer_is_ferry || p->normal_pages + p->zero_pages > 0) {
        put_text(b, "peer", p->peer_is_ferry ? "ferry" : "qemu");
    }
    put_ways(b, view);
    put_ms(b, "setup_ms", p->setup_ns);
    put_ms(b, "total_ms", p->total_ns);
    put_int(b, "uncapped_bytes_per_second", p->uncapped_bytes_per_second);
    if (p->dirty_syncs > 0 && p->predicted_downtime_ns != UINT64_MAX) {
        put_ms(b, "predicted_downtime_ms", p->predicted_downtime_ns);
        put_downtime(b, "predicted", &p->predicted);
    }
    if (p->downtime.total_ns > 0) {
        put_downtime(b, "downtime", &p->downtime);
    }
    if (p->ram_hash != 0) {
        g_snprintf(hash, sizeof hash, "%016" G_GINT64_MODIFIER "x", p->ram_hash);
        put_text(b, "hash", hash);
        json_builder_set_member_name(b, "verified");
        json_builder_add_boolean_value(b, p->verified);
    }
    if (!view->incoming && p->policy != NULL) {
        put_convergence(b, view);
    }
    put_int(b, "rounds_total", p->rounds);
    put_rounds(b, view->rounds, outcome(view) != NULL);
    json_builder_end_object(b);
}

/* QEMU: the limit until a prediction exists. */
static uint64_t expected_downtime_ms(const FerryMigrationView *view)
{
    uint64_t ns = view->progress.predicted_downtime_ns;

    return ns == 0 || ns == UINT64_MAX ? view->settings.downtime_limit_ms : to_ms(ns);
}

static void put_source(JsonBuilder *b, const FerryMigrationView *view)
{
    const FerryProgress *p = &view->progress;

    if (view->status == FERRY_STATUS_SETUP || view->status == FERRY_STATUS_CANCELLED ||
        view->status == FERRY_STATUS_FAILED) {
        return;
    }
    put_int(b, "total-time", to_ms(p->total_ns));
    put_int(b, "setup-time", to_ms(p->setup_ns));
    if (view->status == FERRY_STATUS_COMPLETED) {
        put_int(b, "downtime", to_ms(p->downtime.total_ns));
    } else {
        put_int(b, "expected-downtime", expected_downtime_ms(view));
    }
    if (p->throttle_percent > 0) {
        put_int(b, "cpu-throttle-percentage", p->throttle_percent);
    }
    put_ram(b, view);
    put_packing(b, view);
}

static void put_socket_address(JsonBuilder *b, const char *uri)
{
    g_auto(FerryAddress) address = {0};
    char port[8];

    if (!ferry_address_parse(uri, &address, NULL) ||
        (address.type != FERRY_ADDRESS_TCP && address.type != FERRY_ADDRESS_UNIX)) {
        return;
    }
    json_builder_set_member_name(b, "socket-address");
    json_builder_begin_array(b);
    json_builder_begin_object(b);
    if (address.type == FERRY_ADDRESS_UNIX) {
        put_text(b, "type", "unix");
        put_text(b, "path", address.text);
    } else {
        g_snprintf(port, sizeof port, "%u", address.port);
        put_text(b, "type", "inet");
        put_text(b, "host", address.text);
        put_text(b, "port", port);
    }
    json_builder_end_object(b);
    json_builder_end_array(b);
}

JsonNode *ferry_qmp_query_migrate(FerryMigration *migration)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_auto(FerryMigrationView) view = {0};

    ferry_migration_view(migration, &view);
    json_builder_begin_object(b);
    if (view.status != FERRY_STATUS_NONE) {
        put_text(b, "status", ferry_status_name(view.status));
        if (view.error != NULL && view.status != FERRY_STATUS_CANCELLED) {
            put_text(b, "error-desc", view.error);
        }
        if (!view.incoming) {
            put_source(b, &view);
        } else if (view.incoming_uri != NULL) {
            put_socket_address(b, view.incoming_uri);
        }
        put_ours(b, &view);
    }
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

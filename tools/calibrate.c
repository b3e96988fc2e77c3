#include "tools/calibrate.h"
#include <sys/utsname.h>

#define MIGRATION_LEVEL 1 /* of zlib and zstd, unless the user says otherwise */

static void take_packed(FerryCosts *costs, FerryResultLine *line, GString *text)
{
    g_autoptr(GArray) packed = ferry_calibrate_packed();

    ferry_result_line_open(line, "packed", '[');
    for (guint i = 0; i < packed->len; i++) {
        const FerryCalibratePacked *p = &g_array_index(packed, FerryCalibratePacked, i);
        const char *content = ferry_calibrate_content_name(p->content);
        if (p->kind == FERRY_SIM_CODEC_XBZRLE ||
            (p->level == MIGRATION_LEVEL && p->content == FERRY_CALIBRATE_TEXT)) {
            costs->pack_ns[p->kind] = p->page_ns;
        }
        ferry_result_line_open(line, NULL, '{');
        ferry_result_line_text(line, "how", ferry_sim_codec_name(p->kind));
        ferry_result_line_number(line, "level", p->level);
        ferry_result_line_text(line, "content", content);
        ferry_result_line_count(line, "page_ns", p->page_ns);
        ferry_result_line_count(line, "wire_permille", p->wire_permille);
        ferry_result_line_close(line, '}');
        g_string_append_printf(
            text, "%-7s level %2d  %-9s %8" G_GUINT64_FORMAT " ns/page  %5.1f %% of its size\n",
            ferry_sim_codec_name(p->kind), p->level, content, p->page_ns, p->wire_permille / 10.0);
    }
    ferry_result_line_close(line, ']');
}

/* From the largest chunk and the one before. */
static uint64_t clear_ns_per_gib(const FerryCalibrateLog *log)
{
    const unsigned last = FERRY_CALIBRATE_N_CHUNKS - 1;
    uint64_t bytes = log->chunk_bytes[last] - log->chunk_bytes[last - 1];
    uint64_t ns = log->clear_ns[last] - MIN(log->clear_ns[last - 1], log->clear_ns[last]);

    return (ns << 30) / bytes;
}

static void take_kvm(FerryCosts *costs, FerryResultLine *line, GString *text)
{
    g_autoptr(GError) error = NULL;
    FerryCalibrateLog log;

    if (!ferry_calibrate_kvm(&log, &error)) {
        ferry_result_line_text(line, "not_measured", error->message);
        g_string_append_printf(text, "KVM's dirty log was not measured: %s\n", error->message);
        return;
    }
    costs->host.sync_ns = log.sync_ns;
    costs->host.sync_ns_per_gib = log.sync_ns_per_gib;
    costs->clear_ns_per_gib = clear_ns_per_gib(&log);
    g_string_append_printf(
        text, "KVM sync            %8" G_GUINT64_FORMAT " ns  and %8" G_GUINT64_FORMAT " ns/GiB\n",
        log.sync_ns, log.sync_ns_per_gib);
    ferry_result_line_open(line, "clears", '[');
    for (unsigned i = 0; i < FERRY_CALIBRATE_N_CHUNKS; i++) {
        if (log.chunk_bytes[i] == 2u << 20) { /* what simulations clear at once */
            costs->host.clear_ns = log.clear_ns[i];
        }
        ferry_result_line_open(line, NULL, '{');
        ferry_result_line_count(line, "chunk_bytes", log.chunk_bytes[i]);
        ferry_result_line_count(line, "clear_ns", log.clear_ns[i]);
        ferry_result_line_close(line, '}');
        g_string_append_printf(text, "KVM clear %5u KiB %8" G_GUINT64_FORMAT " ns\n",
                               (unsigned)(log.chunk_bytes[i] >> 10), log.clear_ns[i]);
    }
    ferry_result_line_close(line, ']');
}

char *ferry_calibrate(GString *text)
{
    g_auto(FerryCosts) costs = FERRY_COSTS_DEFAULT;
    FerryResultLine line;
    struct utsname name;

    uname(&name);
    costs.machine = g_strdup_printf("%s, Linux %s", name.nodename, name.release);
    ferry_result_line_begin(&line, "costs");
    uint64_t page_ns = ferry_calibrate_page_ns();
    costs.host.page_ns = page_ns ? page_ns : costs.host.page_ns;
    g_string_append_printf(text, "zero test and send  %8" G_GUINT64_FORMAT " ns/page\n",
                           costs.host.page_ns);
    take_packed(&costs, &line, text);
    take_kvm(&costs, &line, text);
    ferry_costs_add(&line, &costs);
    return ferry_result_line_end(&line);
}

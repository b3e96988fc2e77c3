/* x-ferry-record and what goes with it, by the monitor's answers on real sockets. */
#include "tests/engine/qmp-client.h"
#include <unistd.h>
#include "tests/engine/recorded.h"

#define START(c, m, more)                                                                          \
    do {                                                                                           \
        g_autofree char *request = record_request(m, more);                                        \
        ASK(c, request, "{\"return\": {}}");                                                       \
    } while (0)

static char *record_request(const Machine *m, const char *more)
{
    return g_strdup_printf("{\"execute\": \"x-ferry-record\", \"arguments\": {\"file\": "
                           "\"%s.pdt\", \"interval-ms\": 1%s}}",
                           m->path, more);
}

static char *trace_of(const Machine *m) { return g_strconcat(m->path, ".pdt", NULL); }

static void await_status(Client *c, const char *expected)
{
    gint64 until = g_get_monotonic_time() + QMP_PATIENCE_MS * 1000;
    g_autofree char *last = NULL;

    do {
        g_autoptr(JsonNode) now = client_ask(c, "x-ferry-query-record");
        g_free(last);
        last = g_strdup(qmp_member(now, "status"));
        if (strcmp(last, expected) == 0) {
            return;
        }
        g_usleep(500);
    } while (g_get_monotonic_time() < until);
    EXPECT(FALSE, "%s, never %s", last, expected);
}

static gint64 frames(Client *c)
{
    g_autoptr(JsonNode) now = client_ask(c, "x-ferry-query-record");

    return json_object_get_int_member_with_default(json_node_get_object(now), "frames", 0);
}

/* Two frames end: one of them began after the call. */
static void await_frame(Client *c)
{
    gint64 until = g_get_monotonic_time() + QMP_PATIENCE_MS * 1000, before = frames(c);

    while (frames(c) < before + 2 && g_get_monotonic_time() < until) {
        g_usleep(500);
    }
}

static void expect_whole(const Machine *m, const char *how)
{
    g_autofree char *path = trace_of(m);
    Recorded trace;

    if (recorded_open(&trace, path)) {
        EXPECT(strcmp(trace.totals.ended, how) == 0, "%s", trace.totals.ended);
        recorded_clear(&trace);
    }
    unlink(path);
}

static void test_arguments(void)
{
    static const struct {
        const char *arguments, *part;
    } rows[] = {
        {"{}",                                                "'file' is missing"               },
        {"{\"file\": 1}",                                     "'file', expected: string"        },
        {"{\"file\": \"\"}",                                  "'file' is empty"                 },
        {"{\"file\": \"/no/where/at/all\"}",                  "No such file"                    },
        {"{\"file\": \"x\", \"interval-ms\": 0}",             "interval-ms is out of range[1, " },
        {"{\"file\": \"x\", \"interval-ms\": 86400001}",      "interval-ms is out of range[1, " },
        {"{\"file\": \"x\", \"interval-ms\": 0.5}",           "'interval-ms', expected: integer"},
        {"{\"file\": \"x\", \"duration-ms\": -1}",            "duration-ms is out of range[1, " },
        {"{\"file\": \"x\", \"duration-ms\": 9223372036855}", "duration-ms is out of range[1, " },
        {"{\"file\": \"x\", \"content\": 1}",                 "'content', expected: boolean"    },
        {"{\"file\": \"x\", \"licence\": 1}",                 "'licence', expected: string"     },
        {"{\"file\": \"x\", \"interval\": 1}",                "'interval' is unexpected"        },
    };
    Machine m;
    Client c;

    machine_init(&m, "arguments", FALSE);
    client_open(&c, m.path);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *request = g_strdup_printf(
            "{\"execute\": \"x-ferry-record\", \"arguments\": %s}", rows[i].arguments);
        client_write(&c, request);
        EXPECT_ERROR(&c, "GenericError", rows[i].part);
    }
    client_write(&c, "{\"execute\": \"x-ferry-record-stop\"}");
    EXPECT_ERROR(&c, "GenericError", "No dirty pages are being recorded");
    ASK(&c, "{\"execute\": \"x-ferry-query-record\"}", "{\"return\": {\"status\": \"none\"}}");
    client_clear(&c);
    machine_clear(&m);
}

static void test_records(void)
{
    g_autoptr(JsonNode) now = NULL;
    FerryTraceFrame frame;
    Recorded trace;
    uint64_t pages = 0;
    Machine m;
    Client c;

    machine_init(&m, "records", FALSE);
    client_open(&c, m.path);
    START(&c, &m, ", \"duration-ms\": 100, \"workload\": \"counting\"");
    await_status(&c, "ended");
    now = client_ask(&c, "x-ferry-query-record");
    JsonObject *told = json_node_get_object(now);
    g_autofree char *path = trace_of(&m);
    if (recorded_open(&trace, path)) {
        while (recorded_next(&trace, &frame)) {
            pages += frame.n_pages;
            EXPECT(frame.n_pages <= QMP_PAGES, "%u pages", (unsigned)frame.n_pages);
        }
        EXPECT(pages > 0 && pages == trace.totals.pages_written, "%u pages", (unsigned)pages);
        EXPECT(strcmp(ferry_trace_reader_header(trace.reader)->workload, "counting") == 0, "other");
        EXPECT(json_object_get_int_member(told, "pages") == (gint64)pages &&
                   json_object_get_int_member(told, "frames") == (gint64)trace.totals.frames &&
                   json_object_get_double_member(told, "length-ms") >= 100 &&
                   strcmp(qmp_member(now, "ended"), "done") == 0,
               "not what is there");
        recorded_clear(&trace);
    }
    unlink(path);
    client_clear(&c);
    machine_clear(&m);
}

static void test_one_thing_at_a_time(void)
{
    Machine m;
    Client c;

    machine_init(&m, "one", FALSE);
    client_open(&c, m.path);
    START(&c, &m, "");
    g_autofree char *again = record_request(&m, "");
    client_write(&c, again);
    EXPECT_ERROR(&c, "GenericError", "being recorded: x-ferry-record-stop");
    client_write(&c, "{\"execute\": \"calc-dirty-rate\", \"arguments\": {\"calc-time\": 1}}");
    EXPECT_ERROR(&c, "GenericError", "being recorded: x-ferry-record-stop");
    ASK(&c, "{\"execute\": \"x-ferry-record-stop\"}", "{\"return\": {}}");
    await_status(&c, "ended");
    expect_whole(&m, "done");
    client_write(&c, "{\"execute\": \"calc-dirty-rate\", \"arguments\": {\"calc-time\": 60}}");
    EXPECT_ANSWER(&c, "{\"return\": {}}");
    client_write(&c, again);
    EXPECT_ERROR(&c, "GenericError", "The dirty rate is being measured");
    client_clear(&c);
    machine_clear(&m);
}

/* Moving a guest goes before watching it. */
static void test_a_migration_ends_it(void)
{
    g_autofree char *uri = g_strdup_printf("unix:%s/arrival", qmp_directory);
    g_autofree char *migrate =
        g_strdup_printf("{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"%s\"}}", uri);
    Machine source, destination;
    Client c;

    machine_init(&source, "source", FALSE);
    machine_init(&destination, "destination", TRUE);
    EXPECT(ferry_migration_incoming(destination.migration, uri, FALSE, NULL), "no listener");
    client_open(&c, source.path);
    START(&c, &source, "");
    client_write(&c, "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"nonsense\"}}");
    EXPECT_ERROR(&c, "GenericError", "nonsense");
    await_status(&c, "recording"); /* still */
    ASK(&c, migrate, "{\"return\": {}}");
    await_status(&c, "ended");
    expect_whole(&source, "interrupted");
    EXPECT(ferry_migration_wait(source.migration, ferry_now_ns() + QMP_PATIENCE_MS * 1000000ull) &&
               ferry_migration_get_status(source.migration) == FERRY_STATUS_COMPLETED,
           "it did not move");
    EXPECT(
        ferry_migration_wait(destination.migration, ferry_now_ns() + QMP_PATIENCE_MS * 1000000ull),
        "it did not arrive");
    g_autofree char *gone = record_request(&source, "");
    client_write(&c, gone);
    EXPECT_ERROR(&c, "GenericError", "was migrated away");
    client_clear(&c);
    machine_clear(&source);
    machine_clear(&destination);
}

static void test_not_during_a_migration(void)
{
    g_autofree char *uri = g_strdup_printf("unix:%s/nobody-comes", qmp_directory);
    Machine m;
    Client c;

    machine_init(&m, "busy", TRUE);
    EXPECT(ferry_migration_incoming(m.migration, uri, FALSE, NULL), "no listener");
    client_open(&c, m.path);
    g_autofree char *request = record_request(&m, "");
    client_write(&c, request);
    EXPECT_ERROR(&c, "GenericError", "already in progress");
    client_clear(&c);
    machine_clear(&m);
}

static void test_ends_with_its_connection(void)
{
    Machine m;
    Client c, other, third;

    machine_init(&m, "connection", FALSE);
    client_open(&c, m.path);
    client_open(&other, m.path);
    client_open(&third, m.path);
    START(&c, &m, ", \"while-connected\": true");
    client_clear(&third); /* nobody's business */
    await_status(&other, "recording");
    client_clear(&c);
    await_status(&other, "ended");
    expect_whole(&m, "interrupted");
    client_open(&c, m.path);
    START(&c, &m, "");
    client_clear(&c); /* it goes on: nobody said otherwise */
    await_status(&other, "recording");
    ASK(&other, "{\"execute\": \"x-ferry-record-stop\"}", "{\"return\": {}}");
    await_status(&other, "ended");
    expect_whole(&m, "done");
    client_clear(&other);
    machine_clear(&m);
}

static void test_knows_when_the_guest_stands(void)
{
    uint64_t still = 0, ran = 0;
    FerryTraceFrame frame;
    Recorded trace;
    Machine m;
    Client c;

    machine_init(&m, "stands", FALSE);
    client_open(&c, m.path);
    START(&c, &m, "");
    await_frame(&c);
    ASK(&c, "{\"execute\": \"stop\"}", "{\"return\": {}}");
    await_frame(&c);
    machine_clear(&m); /* with the recording */
    client_clear(&c);
    g_autofree char *path = g_strdup_printf("%s/stands.pdt", qmp_directory);
    if (recorded_open(&trace, path)) {
        EXPECT(strcmp(trace.totals.ended, "guest-gone") == 0, "%s", trace.totals.ended);
        while (recorded_next(&trace, &frame)) {
            still += frame.ran_ns == 0;
            ran += frame.ran_ns == UINT64_MAX;
        }
        EXPECT(still > 0 && ran > 0, "stood %u, ran %u", (unsigned)still, (unsigned)ran);
        recorded_clear(&trace);
    }
    unlink(path);
}

int main(void)
{
    qmp_begin();
    test_arguments();
    test_records();
    test_one_thing_at_a_time();
    test_a_migration_ends_it();
    test_not_during_a_migration();
    test_ends_with_its_connection();
    test_knows_when_the_guest_stands();
    return qmp_end();
}

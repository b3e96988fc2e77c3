/* calc-dirty-rate while the guest runs, by the monitor's answers. */
#include <string.h>
#include <unistd.h>
#include "engine/qmp-private.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 512ull
#define PATIENCE_NS 60000000000ull /* for what must come; reached only by a failure */

typedef struct {
    CountingGuest *guest;
    FerryMigration *migration;
    FerryQmp *qmp;
    char *directory, *path;
} Machine;

static const char *status(void *self)
{
    (void)self;
    return "running";
}

static void machine_init(Machine *m, FerryGuest *without_log)
{
    static const FerryQmpOps ops = {.status = status};
    g_autoptr(GError) error = NULL;

    m->directory = g_dir_make_tmp("ferry-dirty-rate-XXXXXX", NULL);
    m->path = g_strdup_printf("%s/monitor", m->directory);
    m->guest = counting_guest_new(PAGES, 5, 1);
    m->migration = ferry_migration_new(
        without_log ? without_log : counting_guest_describe(m->guest), NULL, NULL);
    m->qmp = ferry_qmp_new(m->path, m->migration, &ops, m, &error);
    g_assert_no_error(error);
    counting_guest_run(m->guest);
}

static void machine_clear(Machine *m)
{
    ferry_qmp_free(m->qmp);
    ferry_migration_free(m->migration);
    counting_guest_free(m->guest);
    rmdir(m->directory);
    g_free(m->directory);
    g_free(m->path);
}

/* The answer; free with json_node_unref. */
static JsonNode *ask(Machine *m, const char *request)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    gboolean negotiated = TRUE;

    g_assert(json_parser_load_from_data(parser, request, -1, NULL));
    return ferry_qmp_answer(m->qmp, json_parser_get_root(parser), NULL, &negotiated);
}

static void expect_answer(Machine *m, const char *request, const char *part)
{
    g_autoptr(JsonNode) node = ask(m, request);
    g_autofree char *text = ferry_qmp_to_text(node);

    EXPECT(strstr(text, part) != NULL, "%s: %s", request, text);
}

static void test_arguments(Machine *m)
{
    static const struct {
        const char *arguments, *answer;
    } cases[] = {
        {"{}",                                                       "'calc-time' is missing"       },
        {"{\"calc-time\": 0}",                                       "out of range[1, 60]"          },
        {"{\"calc-time\": 61}",                                      "out of range[1, 60]"          },
        {"{\"calc-time\": -9223372036854775808}",                    "out of range[1, 60]"          },
        {"{\"calc-time\": 9223372036854775807}",                     "out of range[1, 60]"          },
        {"{\"calc-time\": 49, \"calc-time-unit\": \"millisecond\"}", "out of range[50, 60000]"      },
        {"{\"calc-time\": 1, \"calc-time-unit\": \"hour\"}",         "does not accept value 'hour'" },
        {"{\"calc-time\": \"1\"}",                                   "expected: integer"            },
        {"{\"calc-time\": 1, \"mode\": \"page-sampling\"}",          "page-sampling is not built"   },
        {"{\"calc-time\": 1, \"mode\": \"dirty-ring\"}",             "dirty-ring is not built"      },
        {"{\"calc-time\": 1, \"mode\": \"guess\"}",                  "does not accept value 'guess'"},
        {"{\"calc-time\": 1, \"mode\": 1}",                          "expected: string"             },
        {"{\"calc-time\": 1, \"sample-pages\": 512}",                "only in page-sampling"        },
        {"{\"calc-time\": 1, \"calc\": 1}",                          "'calc' is unexpected"         },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *request = g_strdup_printf(
            "{\"execute\": \"calc-dirty-rate\", \"arguments\": %s}", cases[i].arguments);
        expect_answer(m, request, cases[i].answer);
    }
    expect_answer(m, "{\"execute\": \"query-dirty-rate\"}", "\"unstarted\"");
}

static JsonNode *await_measured(Machine *m)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    for (;;) {
        JsonNode *node = ask(m, "{\"execute\": \"query-dirty-rate\", \"arguments\": "
                                "{\"calc-time-unit\": \"millisecond\"}}");
        JsonObject *answer = json_object_get_object_member(json_node_get_object(node), "return");
        if (strcmp(json_object_get_string_member(answer, "status"), "measuring") != 0 ||
            ferry_now_ns() > until) {
            return node;
        }
        json_node_unref(node);
        g_usleep(1000);
    }
}

#define MEASURE(ms)                                                                                \
    "{\"execute\": \"calc-dirty-rate\", \"arguments\": {\"calc-time\": " ms                        \
    ", \"calc-time-unit\": \"millisecond\", \"mode\": \"dirty-bitmap\"}}"

static void test_measures(Machine *m)
{
    static const double expected_ms[] = {10, 20, 50, 100, 150};

    expect_answer(m, MEASURE("150"), "\"return\": {}");
    g_autoptr(JsonNode) node = await_measured(m);
    JsonObject *answer = json_object_get_object_member(json_node_get_object(node), "return");
    JsonObject *more = json_object_get_object_member(answer, "x-ferry");
    JsonArray *windows = json_object_get_array_member(more, "windows");
    gint64 pages = 0, sampled = json_object_get_int_member(more, "sampled-pages");
    EXPECT(strcmp(json_object_get_string_member(answer, "status"), "measured") == 0, "not");
    EXPECT(json_object_get_int_member(answer, "calc-time") == 150, "of another length");
    EXPECT(json_object_has_member(answer, "dirty-rate"), "no rate");
    EXPECT(json_array_get_length(windows) == 5, "%u windows", json_array_get_length(windows));
    for (unsigned i = 0; i < json_array_get_length(windows); i++) {
        JsonObject *window = json_array_get_object_element(windows, i);
        gint64 now = json_object_get_int_member(window, "pages");
        EXPECT(json_object_get_double_member(window, "ms") >= expected_ms[i], "window %u", i);
        EXPECT(now >= pages, "window %u: fewer pages", i);
        pages = now;
    }
    EXPECT(pages > 0 && pages <= (gint64)PAGES, "%d pages", (int)pages);
    EXPECT(json_object_get_int_member(more, "ram-bytes") == (PAGES + 3) * 4096, "other memory");
    EXPECT(sampled == PAGES + 3, "%d sampled", (int)sampled);
    EXPECT(json_object_get_int_member(more, "sampled-zero-pages") <= sampled, "more than all");
}

static void test_one_at_a_time(Machine *m)
{
    expect_answer(m, MEASURE("60000"), "\"return\": {}");
    expect_answer(m, MEASURE("50"), "already being measured");
    expect_answer(m, "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:/nowhere\"}}",
                  "The dirty rate is being measured");
    expect_answer(m, "{\"execute\": \"query-dirty-rate\"}", "\"measuring\"");
    /* And it ends with the monitor. */
}

static void test_not_during_a_migration(void)
{
    Machine m;

    machine_init(&m, NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/in", m.directory);
    EXPECT(ferry_migration_incoming(m.migration, uri, TRUE, NULL), "no listener");
    expect_answer(&m, MEASURE("50"), "already in progress");
    machine_clear(&m);
}

static gboolean pause_guest(void *self, FerryPauseReason why, gboolean *out_was, GError **error)
{
    (void)self;
    (void)why;
    (void)error;
    *out_was = TRUE;
    return TRUE;
}

static gboolean resume_guest(void *self, GError **error)
{
    (void)self;
    (void)error;
    return TRUE;
}

static void test_needs_a_log(void)
{
    static const FerryGuestOps ops = {.pause = pause_guest, .resume = resume_guest};
    FerryGuest *bare = ferry_guest_new("none", &ops, NULL);
    Machine m;

    machine_init(&m, bare);
    expect_answer(&m, MEASURE("50"), "it has no dirty log");
    machine_clear(&m);
    ferry_guest_free(bare);
}

int main(void)
{
    Machine m;

    machine_init(&m, NULL);
    test_arguments(&m);
    test_measures(&m);
    test_measures(&m);
    test_one_at_a_time(&m);
    machine_clear(&m);
    test_not_during_a_migration();
    test_needs_a_log();
    return failures == 0 ? 0 : 1;
}

/* Conversations with the monitor over a real socket: QEMU's words, whole or in pieces. */
#include "tests/engine/qmp-client.h"

static void test_capabilities_come_first(void)
{
    g_autofree char *greeting = NULL;
    Machine m;
    Client c;

    machine_init(&m, "first", FALSE);
    client_connect(&c, m.path);
    greeting = client_line(&c);
    client_write(&c, "{\"execute\": \"query-status\"}");
    EXPECT_ERROR(&c, "CommandNotFound", "qmp_capabilities");
    client_write(&c, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}");
    EXPECT_ERROR(&c, "GenericError", "apabilit");
    ASK(&c, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": []}, \"id\": 7}",
        "{\"return\": {}, \"id\": 7}");
    client_write(&c, "{\"execute\": \"qmp_capabilities\"}");
    EXPECT_ERROR(&c, "CommandNotFound", "already complete");
    ASK(&c, "{\"execute\": \"query-status\"}",
        "{\"return\": {\"status\": \"running\", \"running\": true}}");
    client_clear(&c);
    machine_clear(&m);
}

static void test_packets_are_not_messages(void)
{
    const char *text = "{\"execute\": \"query-name\", \"id\": {\"a\": [1, \"}\"]}}";
    Machine m;
    Client c;

    machine_init(&m, "packets", FALSE);
    client_open(&c, m.path);
    ASK(&c, "{'execute': 'query-name'} {\"execute\":\"query-name\",\"id\":\"two\"}\r\n",
        "{\"return\": {}}");
    EXPECT_ANSWER(&c, "{\"return\": {}, \"id\": \"two\"}");
    for (const char *at = text; *at != '\0'; at++) {
        char one[2] = {*at, '\0'};
        client_write(&c, one);
    }
    EXPECT_ANSWER(&c, "{\"return\": {}, \"id\": {\"a\": [1, \"}\"]}}");
    client_clear(&c);
    machine_clear(&m);
}

static void test_garbage_is_answered(void)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"rubbish",                                                                               "JSON parse error"      },
        {"[]",                                                                                    "must be a JSON object" },
        {"{}",                                                                                    "lacks member 'execute'"},
        {"{\"a\": 1}",                                                                            "'a' is unexpected"     },
        {"{\"execute\": 3}",                                                                      "must be a string"      },
        {"{\"execute\": \"stop\", \"arguments\": []}",                                            "must be an object"     },
        {"{\"execute\": }",                                                                       "JSON parse error"      },
        {"{\"execute\": \"stop\xc3\"}",                                                           "UTF-8"                 },
        {"{\"execute\": \"query-status\", \"arguments\": {\"x\": 1}}",                            "'x' is unexpected"     },
        {"{\"execute\": \"migrate\"}",                                                            "'uri' is missing"      },
        {"{\"execute\": \"migrate\", \"arguments\": {\"uri\": 3}}",                               "expected: string"      },
        {"{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"bad\"}}",                         "bad"                   },
        {"{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"tcp:a:1\", \"resume\": true}}",
         "resume"                                                                                                         },
        {"{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"tcp:0:0\"}}",            "incoming"              },
        {"{\"execute\": \"migrate-continue\", \"arguments\": {\"state\": \"pre-switchover\"}}",
         "not in expected state: none"                                                                                    },
        {"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": -1}}",
         "downtime-limit"                                                                                                 },
        {"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"max-bandwidth\": \"1\"}}",
         "max-bandwidth"                                                                                                  },
        {"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"nope\": 1}}",               "nope"                  },
        {"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
         "[{\"capability\": \"postcopy-ram\", \"state\": true}]}}",                      "postcopy-ram"          },
        {"{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"info\"}}",
         "human-monitor-command"                                                                                          },
        {"{\"execute\": \"x-ferry-resolve\", \"arguments\": {\"owner\": \"me\"}}",                "me"                    },
        {"{\"execute\": \"x-ferry-resolve\", \"arguments\": {\"owner\": \"here\"}}",              "in doubt"              },
    };
    Machine m;
    Client c;

    machine_init(&m, "garbage", FALSE);
    client_open(&c, m.path);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        client_write(&c, rows[i].text);
        EXPECT_ERROR(&c, "GenericError", rows[i].part);
        ASK(&c, "{\"execute\": \"query-name\"}", "{\"return\": {}}");
    }
    client_write(&c, "{\"execute\": \"device_add\", \"id\": 1}");
    EXPECT_ERROR(&c, "CommandNotFound", "The command device_add has not been found\"}, \"id\": 1}");
    client_clear(&c);
    machine_clear(&m);
}

static void test_parameters_are_all_or_none(void)
{
    g_autoptr(JsonNode) parameters = NULL;
    JsonObject *object;
    Machine m;
    Client c;

    machine_init(&m, "parameters", FALSE);
    client_open(&c, m.path);
    client_write(&c, "{\"execute\": \"migrate-set-parameters\", \"arguments\": "
                     "{\"max-bandwidth\": 5, \"downtime-limit\": 2000001}}");
    EXPECT_ERROR(&c, "GenericError", "downtime-limit");
    ASK(&c, "{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": 42}}",
        "{\"return\": {}}");
    parameters = client_ask(&c, "query-migrate-parameters");
    object = json_node_get_object(parameters);
    EXPECT(json_object_get_int_member(object, "max-bandwidth") == 134217728, "half of it was set");
    EXPECT(json_object_get_int_member(object, "downtime-limit") == 42, "it was not set");
    EXPECT(strcmp(json_object_get_string_member(object, "tls-creds"), "") == 0, "a text");
    EXPECT(!json_object_get_boolean_member(object, "cpu-throttle-tailslow"), "a bool");
    client_clear(&c);
    machine_clear(&m);
}

static gboolean capability_is_on(Client *c, const char *name)
{
    g_autoptr(JsonNode) list = client_ask(c, "query-migrate-capabilities");
    JsonArray *array = json_node_get_array(list);

    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonObject *one = json_array_get_object_element(array, i);
        if (strcmp(json_object_get_string_member(one, "capability"), name) == 0) {
            return json_object_get_boolean_member(one, "state");
        }
    }
    EXPECT(FALSE, "%s is not listed", name);
    return FALSE;
}

static void test_capabilities_are_all_or_none(void)
{
    Machine m;
    Client c;

    machine_init(&m, "capabilities", FALSE);
    client_open(&c, m.path);
    client_write(&c, "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\":"
                     "[{\"capability\": \"events\", \"state\": true},"
                     " {\"capability\": \"postcopy-ram\", \"state\": true}]}}");
    EXPECT_ERROR(&c, "GenericError", "postcopy-ram");
    EXPECT(!capability_is_on(&c, "events"), "half of it was set");
    EXPECT(!capability_is_on(&c, "postcopy-ram"), "it is not built");
    ASK(&c,
        "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\":"
        "[{\"capability\": \"events\", \"state\": true},"
        " {\"capability\": \"postcopy-ram\", \"state\": false}]}}",
        "{\"return\": {}}");
    EXPECT(capability_is_on(&c, "events"), "it was not set");
    client_clear(&c);
    machine_clear(&m);
}

static void test_events_reach_all_before_the_answer(void)
{
    g_autofree char *greeting = NULL, *line = NULL;
    Client a, b, deaf; /* deaf: has not negotiated */
    Machine m;

    machine_init(&m, "events", FALSE);
    client_open(&a, m.path);
    client_open(&b, m.path);
    client_connect(&deaf, m.path);
    greeting = client_line(&deaf);
    client_write(&a, "{\"execute\": \"stop\"}");
    client_expect_event(&a, "STOP");
    EXPECT_ANSWER(&a, "{\"return\": {}}");
    client_expect_event(&b, "STOP");
    client_write(&b, "{\"execute\": \"cont\"}");
    client_expect_event(&b, "RESUME");
    EXPECT_ANSWER(&b, "{\"return\": {}}");
    client_expect_event(&a, "RESUME");
    client_write(&deaf, "{\"execute\": \"qmp_capabilities\"}");
    line = client_line(&deaf);
    EXPECT(line != NULL && !qmp_is_event(line), "%s", line);
    client_clear(&a);
    client_clear(&b);
    client_clear(&deaf);
    machine_clear(&m);
}

static void test_quit_is_answered_first(void)
{
    Machine m;
    Client c;

    machine_init(&m, "quit", FALSE);
    client_open(&c, m.path);
    client_write(&c, "{\"execute\": \"quit\"}");
    client_expect_event(&c, "SHUTDOWN");
    EXPECT_ANSWER(&c, "{\"return\": {}}");
    for (unsigned i = 0; g_atomic_int_get(&m.quits) == 0 && i < QMP_PATIENCE_MS; i++) {
        g_usleep(1000);
    }
    EXPECT(g_atomic_int_get(&m.quits) == 1, "%d", g_atomic_int_get(&m.quits));
    client_clear(&c);
    machine_clear(&m);
}

int main(void)
{
    qmp_begin();
    test_capabilities_come_first();
    test_packets_are_not_messages();
    test_garbage_is_answered();
    test_parameters_are_all_or_none();
    test_capabilities_are_all_or_none();
    test_events_reach_all_before_the_answer();
    test_quit_is_answered_first();
    return qmp_end();
}

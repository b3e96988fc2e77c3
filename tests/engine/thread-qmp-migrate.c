/* Migrations by the monitor's words alone, and what it tells of them. */
#include "tests/engine/qmp-client.h"

/* Until it ended; json_node_unref. */
static JsonNode *wait_for_end(Client *c)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "x-ferry-in-doubt",
                                       NULL};

    for (unsigned i = 0; i < QMP_PATIENCE_MS; i++) {
        JsonNode *node = client_ask(c, "query-migrate");
        if (g_strv_contains(ends, qmp_member(node, "status"))) {
            return node;
        }
        json_node_unref(node);
        g_usleep(1000);
    }
    EXPECT(FALSE, "no end");
    return json_node_new(JSON_NODE_NULL);
}

static void expect_members(JsonObject *object, const char *const *names)
{
    for (; *names != NULL; names++) {
        EXPECT(json_object_has_member(object, *names), "%s is missing", *names);
    }
}

static void expect_qemus_keys(JsonNode *node)
{
    static const char *const keys[] = {"status",   "total-time", "setup-time",
                                       "downtime", "ram",        NULL};
    static const char *const ram[] = {"total",
                                      "postcopy-requests",
                                      "dirty-sync-count",
                                      "multifd-bytes",
                                      "page-size",
                                      "pages-per-second",
                                      "downtime-bytes",
                                      "remaining",
                                      "mbps",
                                      "transferred",
                                      "precopy-bytes",
                                      "postcopy-bytes",
                                      "duplicate",
                                      "dirty-pages-rate",
                                      "skipped",
                                      "normal-bytes",
                                      "normal",
                                      "dirty-sync-missed-zero-copy",
                                      NULL};
    JsonObject *object = json_node_get_object(node), *of_ram;

    expect_members(object, keys);
    of_ram = json_object_get_object_member(object, "ram");
    expect_members(of_ram, ram);
    EXPECT(json_object_get_int_member(of_ram, "total") == (gint64)(QMP_PAGES + 3) * 4096, "total");
    EXPECT(json_object_get_int_member(of_ram, "precopy-bytes") +
                   json_object_get_int_member(of_ram, "downtime-bytes") ==
               json_object_get_int_member(of_ram, "transferred"),
           "the parts are not the whole");
}

static void test_a_migration(const char *migrate)
{
    g_autofree char *incoming = g_strdup_printf(
        "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:%s/data\"}}",
        qmp_directory);
    g_autoptr(JsonNode) before = NULL, listening = NULL, here = NULL, there = NULL;
    JsonObject *address;
    Machine from, to;
    Client a, b;

    machine_init(&from, "from", FALSE);
    machine_init(&to, "to", TRUE);
    client_open(&a, from.path);
    client_open(&b, to.path);
    before = client_ask(&a, "query-migrate");
    EXPECT(json_object_get_size(json_node_get_object(before)) == 0, "nothing was migrated yet");
    ASK(&b, incoming, "{\"return\": {}}");
    listening = client_ask(&b, "query-migrate");
    address = json_array_get_object_element(
        json_object_get_array_member(json_node_get_object(listening), "socket-address"), 0);
    EXPECT(strcmp(json_object_get_string_member(address, "type"), "unix") == 0, "type");
    ASK(&a, migrate, "{\"return\": {}}");
    here = wait_for_end(&a);
    there = wait_for_end(&b);
    EXPECT(strcmp(qmp_member(here, "status"), "completed") == 0, "%s",
           qmp_member(here, "error-desc"));
    EXPECT(strcmp(qmp_member(there, "status"), "completed") == 0, "%s",
           qmp_member(there, "error-desc"));
    expect_qemus_keys(here);
    EXPECT(json_object_has_member(json_node_get_object(here), "x-ferry"), "x-ferry");
    client_write(&a, "{\"execute\": \"cont\"}");
    EXPECT_ERROR(&a, "GenericError", "must not run twice");
    EXPECT(!counting_guest_is_running(from.guest) && counting_guest_is_running(to.guest),
           "it is not there");
    client_clear(&a);
    client_clear(&b);
    machine_clear(&from);
    machine_clear(&to);
}

static void test_migrations(void)
{
    g_autofree char *uri = g_strdup_printf(
        "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:%s/data\", \"detach\": true}}",
        qmp_directory);
    g_autofree char *channels = g_strdup_printf(
        "{\"execute\": \"migrate\", \"arguments\": {\"channels\": [{\"channel-type\": \"main\", "
        "\"addr\": {\"transport\": \"socket\", \"type\": \"unix\", \"path\": \"%s/data\"}}]}}",
        qmp_directory);

    test_a_migration(uri);
    test_a_migration(channels);
}

static void test_a_failed_migration_is_told(void)
{
    static const char *const events[] = {"MIGRATION", "MIGRATION"};
    g_autofree char *migrate = g_strdup_printf(
        "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:%s/nobody\"}}", qmp_directory);
    g_autoptr(JsonNode) end = NULL;
    unsigned heard = 0;
    Machine m;
    Client c;

    machine_init(&m, "failed", FALSE);
    client_open(&c, m.path);
    ASK(&c,
        "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\":"
        "[{\"capability\": \"events\", \"state\": true}]}}",
        "{\"return\": {}}");
    client_write(&c, migrate);
    for (unsigned i = 0; i < 3; i++) { /* two events and an answer, the answer somewhere */
        g_autofree char *line = client_line(&c);
        if (line != NULL && qmp_is_event(line)) {
            EXPECT(heard < 2 && strstr(line, events[heard]), "%s", line);
            EXPECT(strstr(line, heard == 0 ? "\"setup\"" : "\"failed\"") != NULL, "%s", line);
            heard++;
        } else {
            EXPECT(line != NULL && strcmp(line, "{\"return\": {}}") == 0, "%s", line);
        }
    }
    EXPECT(heard == 2, "%u events", heard);
    end = client_ask(&c, "query-migrate");
    EXPECT(strcmp(qmp_member(end, "status"), "failed") == 0, "%s", qmp_member(end, "status"));
    EXPECT(strstr(qmp_member(end, "error-desc"), "/nobody") != NULL, "%s",
           qmp_member(end, "error-desc"));
    ASK(&c, "{\"execute\": \"query-status\"}",
        "{\"return\": {\"status\": \"running\", \"running\": true}}");
    client_clear(&c);
    machine_clear(&m);
}

int main(void)
{
    qmp_begin();
    test_migrations();
    test_a_failed_migration_is_told();
    return qmp_end();
}

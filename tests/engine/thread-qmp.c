/* Conversations with the monitor over a real socket: QEMU's words, whole or in pieces; clients that
 * misbehave, and others that do not notice. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <json-glib/json-glib.h>
#include "engine/guest-private.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 256ull
#define PATIENCE_MS 60000 /* for what must come; reached only by a failure */

static char *directory;

/* An embedder. */
typedef struct {
    CountingGuest *guest;
    FerryMigration *migration;
    FerryQmp *qmp;
    char *path;
    gboolean incoming;
    gint quits; /* atomic */
} Machine;

static gboolean do_stop(void *self, GError **error)
{
    Machine *m = self;
    gboolean was_running;

    if (!ferry_guest_pause(counting_guest_describe(m->guest), FERRY_PAUSE_SWITCHOVER, &was_running,
                           error)) {
        return FALSE;
    }
    ferry_qmp_event(m->qmp, "STOP");
    return TRUE;
}

static gboolean do_cont(void *self, GError **error)
{
    Machine *m = self;

    if (!counting_guest_is_running(m->guest) &&
        !ferry_guest_resume(counting_guest_describe(m->guest), error)) {
        return FALSE;
    }
    ferry_qmp_event(m->qmp, "RESUME");
    return TRUE;
}

static void do_quit(void *self)
{
    Machine *m = self;

    g_atomic_int_inc(&m->quits);
}

static const char *do_status(void *self)
{
    Machine *m = self;

    if (m->incoming && ferry_migration_get_status(m->migration) != FERRY_STATUS_COMPLETED) {
        return "inmigrate";
    }
    return counting_guest_is_running(m->guest) ? "running" : "paused";
}

static const FerryQmpOps ops = {
    .stop = do_stop, .cont = do_cont, .quit = do_quit, .status = do_status};

static void machine_init(Machine *m, const char *name, gboolean incoming)
{
    g_autoptr(GError) error = NULL;

    memset(m, 0, sizeof *m);
    m->incoming = incoming;
    m->guest = counting_guest_new(PAGES, 5, 1);
    m->migration = ferry_migration_new(counting_guest_describe(m->guest), NULL, NULL);
    m->path = g_strdup_printf("%s/%s", directory, name);
    m->qmp = ferry_qmp_new(m->path, m->migration, &ops, m, &error);
    g_assert_no_error(error);
    ferry_migration_set_listener(m->migration, &ferry_qmp_listener, m->qmp);
    if (!incoming) {
        counting_guest_run(m->guest);
    }
}

static void machine_clear(Machine *m)
{
    ferry_migration_set_listener(m->migration, NULL, NULL);
    ferry_qmp_free(m->qmp);
    EXPECT(access(m->path, F_OK) != 0, "the socket is left");
    ferry_migration_free(m->migration);
    counting_guest_free(m->guest);
    g_free(m->path);
}

/* A client. */
typedef struct {
    int fd;
    GString *input;
} Client;

static void client_connect(Client *c, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    c->input = g_string_new(NULL);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(connect(c->fd, (struct sockaddr *)&addr, sizeof addr) == 0, "%s", g_strerror(errno));
}

static void client_clear(Client *c)
{
    close(c->fd);
    g_string_free(c->input, TRUE);
}

static void client_write(Client *c, const char *text)
{
    gsize n = strlen(text);

    EXPECT(send(c->fd, text, n, MSG_NOSIGNAL) == (gssize)n, "%s", g_strerror(errno));
}

/* FALSE at the end of the connection. */
static gboolean client_read(Client *c)
{
    struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
    char buffer[4096];
    gssize n;

    if (poll(&pfd, 1, PATIENCE_MS) <= 0) {
        EXPECT(FALSE, "the monitor is silent");
        return FALSE;
    }
    n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n > 0) {
        g_string_append_len(c->input, buffer, n);
    }
    return n > 0;
}

/* The next line without its end; g_free. NULL: there is none. */
static char *client_line(Client *c)
{
    char *end, *line;

    while ((end = strstr(c->input->str, "\r\n")) == NULL) {
        if (!client_read(c)) {
            return NULL;
        }
    }
    line = g_strndup(c->input->str, (gsize)(end - c->input->str));
    g_string_erase(c->input, 0, end - c->input->str + 2);
    return line;
}

static gboolean is_event(const char *line) { return g_str_has_prefix(line, "{\"timestamp\""); }

/* The next line that is no event. */
static char *client_answer(Client *c)
{
    char *line = client_line(c);

    while (line != NULL && is_event(line)) {
        g_free(line);
        line = client_line(c);
    }
    return line;
}

#define EXPECT_ANSWER(client, expected)                                                            \
    do {                                                                                           \
        g_autofree char *got = client_answer(client);                                              \
        EXPECT(got != NULL && strcmp(got, expected) == 0, "%s", got);                              \
    } while (0)
#define EXPECT_ERROR(client, class, part)                                                          \
    do {                                                                                           \
        g_autofree char *got = client_answer(client);                                              \
        EXPECT(got != NULL && strstr(got, "\"class\": \"" class "\"") && strstr(got, part), "%s",  \
               got);                                                                               \
    } while (0)
#define ASK(client, text, expected)                                                                \
    do {                                                                                           \
        client_write(client, text);                                                                \
        EXPECT_ANSWER(client, expected);                                                           \
    } while (0)

static void client_open(Client *c, const char *path)
{
    g_autofree char *greeting = NULL;

    client_connect(c, path);
    greeting = client_line(c);
    EXPECT(greeting != NULL && g_str_has_prefix(greeting, "{\"QMP\": {\"version\": {\"qemu\": {"),
           "%s", greeting);
    ASK(c, "{\"execute\": \"qmp_capabilities\"}", "{\"return\": {}}");
}

/* The return value of a command; json_node_unref. */
static JsonNode *ask(Client *c, const char *command)
{
    g_autofree char *text = g_strdup_printf("{\"execute\": \"%s\"}\n", command);
    g_autofree char *line = NULL;
    JsonNode *node, *result;

    client_write(c, text);
    line = client_answer(c);
    node = line != NULL ? json_from_string(line, NULL) : NULL;
    g_assert(node != NULL);
    result = json_object_dup_member(json_node_get_object(node), "return");
    json_node_unref(node);
    EXPECT(result != NULL, "%s: %s", command, line);
    return result;
}

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
    parameters = ask(&c, "query-migrate-parameters");
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
    g_autoptr(JsonNode) list = ask(c, "query-migrate-capabilities");
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

static void expect_event(Client *c, const char *name)
{
    g_autofree char *line = client_line(c);
    g_autofree char *event = g_strdup_printf("\"event\": \"%s\"", name);

    EXPECT(line != NULL && is_event(line) && strstr(line, event), "%s instead of %s", line, name);
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
    expect_event(&a, "STOP");
    EXPECT_ANSWER(&a, "{\"return\": {}}");
    expect_event(&b, "STOP");
    client_write(&b, "{\"execute\": \"cont\"}");
    expect_event(&b, "RESUME");
    EXPECT_ANSWER(&b, "{\"return\": {}}");
    expect_event(&a, "RESUME");
    client_write(&deaf, "{\"execute\": \"qmp_capabilities\"}");
    line = client_line(&deaf);
    EXPECT(line != NULL && !is_event(line), "%s", line);
    client_clear(&a);
    client_clear(&b);
    client_clear(&deaf);
    machine_clear(&m);
}

/* It asks and never reads; another one is served all the while, and it is dropped in the end. */
static void test_a_client_that_does_not_read_is_dropped(void)
{
    static const char text[] = "{\"execute\": \"query-migrate-parameters\"}";
    Client rude, good;
    gssize n = 0;
    Machine m;

    machine_init(&m, "rude", FALSE);
    client_open(&good, m.path);
    client_open(&rude, m.path);
    for (unsigned i = 0; i < 1000000 && n >= 0; i++) {
        n = send(rude.fd, text, sizeof text - 1, MSG_NOSIGNAL);
        if (i % 500 == 0) {
            ASK(&good, "{\"execute\": \"query-name\"}", "{\"return\": {}}");
        }
    }
    EXPECT(n < 0, "it may leave everything unread");
    ASK(&good, "{\"execute\": \"query-name\"}", "{\"return\": {}}");
    client_clear(&rude);
    client_clear(&good);
    machine_clear(&m);
}

static void test_half_closed_gets_its_answers(void)
{
    g_autofree char *greeting = NULL;
    Machine m;
    Client c;

    machine_init(&m, "half", FALSE);
    client_connect(&c, m.path);
    client_write(&c, "{\"execute\": \"qmp_capabilities\"}{\"execute\": \"query-name\", \"id\": 1}");
    shutdown(c.fd, SHUT_WR);
    greeting = client_line(&c);
    EXPECT_ANSWER(&c, "{\"return\": {}}");
    EXPECT_ANSWER(&c, "{\"return\": {}, \"id\": 1}");
    EXPECT(!client_read(&c), "it stays open");
    client_clear(&c);
    machine_clear(&m);
}

static void test_too_many_are_turned_away(void)
{
    Client many[80];
    unsigned greeted = 0;
    Machine m;

    machine_init(&m, "many", FALSE);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
        client_connect(&many[i], m.path);
        greeted += client_read(&many[i]);
    }
    EXPECT(greeted == 64, "%u", greeted);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
        client_clear(&many[i]);
    }
    machine_clear(&m);
}

static void test_quit_is_answered_first(void)
{
    Machine m;
    Client c;

    machine_init(&m, "quit", FALSE);
    client_open(&c, m.path);
    client_write(&c, "{\"execute\": \"quit\"}");
    expect_event(&c, "SHUTDOWN");
    EXPECT_ANSWER(&c, "{\"return\": {}}");
    for (unsigned i = 0; g_atomic_int_get(&m.quits) == 0 && i < PATIENCE_MS; i++) {
        g_usleep(1000);
    }
    EXPECT(g_atomic_int_get(&m.quits) == 1, "%d", g_atomic_int_get(&m.quits));
    client_clear(&c);
    machine_clear(&m);
}

static void test_the_socket(void)
{
    g_autofree char *too_long = g_strnfill(200, 'x');
    g_autoptr(GError) error = NULL;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    FerryQmp *second;
    struct stat st;
    Machine m;
    Client c;
    int fd;

    machine_init(&m, "socket", FALSE);
    EXPECT(stat(m.path, &st) == 0 && (st.st_mode & 0777) == 0600, "others may command");
    second = ferry_qmp_new(m.path, m.migration, &ops, &m, &error);
    EXPECT(second == NULL && error != NULL && strstr(error->message, m.path), "it was taken over");
    g_clear_error(&error);
    second = ferry_qmp_new(too_long, m.migration, &ops, &m, &error);
    EXPECT(second == NULL && error->code == FERRY_TRANSPORT_ERROR_ADDRESS, "too long");
    client_open(&c, m.path);
    client_clear(&c);
    machine_clear(&m);

    /* What a dead process left behind is replaced. */
    g_snprintf(addr.sun_path, sizeof addr.sun_path, "%s/socket", directory);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "%s", g_strerror(errno));
    close(fd);
    machine_init(&m, "socket", FALSE);
    client_open(&c, m.path);
    client_clear(&c);
    machine_clear(&m);
}

static const char *member(JsonNode *node, const char *name)
{
    return json_object_get_string_member_with_default(json_node_get_object(node), name, "");
}

/* Until it ended; json_node_unref. */
static JsonNode *wait_for_end(Client *c)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "x-ferry-in-doubt",
                                       NULL};

    for (unsigned i = 0; i < PATIENCE_MS; i++) {
        JsonNode *node = ask(c, "query-migrate");
        if (g_strv_contains(ends, member(node, "status"))) {
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
    EXPECT(json_object_get_int_member(of_ram, "total") == (gint64)(PAGES + 3) * 4096, "total");
    EXPECT(json_object_get_int_member(of_ram, "precopy-bytes") +
                   json_object_get_int_member(of_ram, "downtime-bytes") ==
               json_object_get_int_member(of_ram, "transferred"),
           "the parts are not the whole");
}

static void test_a_migration(const char *migrate)
{
    g_autofree char *incoming = g_strdup_printf(
        "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:%s/data\"}}",
        directory);
    g_autoptr(JsonNode) before = NULL, listening = NULL, here = NULL, there = NULL;
    JsonObject *address;
    Machine from, to;
    Client a, b;

    machine_init(&from, "from", FALSE);
    machine_init(&to, "to", TRUE);
    client_open(&a, from.path);
    client_open(&b, to.path);
    before = ask(&a, "query-migrate");
    EXPECT(json_object_get_size(json_node_get_object(before)) == 0, "nothing was migrated yet");
    ASK(&b, incoming, "{\"return\": {}}");
    listening = ask(&b, "query-migrate");
    address = json_array_get_object_element(
        json_object_get_array_member(json_node_get_object(listening), "socket-address"), 0);
    EXPECT(strcmp(json_object_get_string_member(address, "type"), "unix") == 0, "type");
    ASK(&a, migrate, "{\"return\": {}}");
    here = wait_for_end(&a);
    there = wait_for_end(&b);
    EXPECT(strcmp(member(here, "status"), "completed") == 0, "%s", member(here, "error-desc"));
    EXPECT(strcmp(member(there, "status"), "completed") == 0, "%s", member(there, "error-desc"));
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
        directory);
    g_autofree char *channels = g_strdup_printf(
        "{\"execute\": \"migrate\", \"arguments\": {\"channels\": [{\"channel-type\": \"main\", "
        "\"addr\": {\"transport\": \"socket\", \"type\": \"unix\", \"path\": \"%s/data\"}}]}}",
        directory);

    test_a_migration(uri);
    test_a_migration(channels);
}

static void test_a_failed_migration_is_told(void)
{
    static const char *const events[] = {"MIGRATION", "MIGRATION"};
    g_autofree char *migrate = g_strdup_printf(
        "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:%s/nobody\"}}", directory);
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
        if (line != NULL && is_event(line)) {
            EXPECT(heard < 2 && strstr(line, events[heard]), "%s", line);
            EXPECT(strstr(line, heard == 0 ? "\"setup\"" : "\"failed\"") != NULL, "%s", line);
            heard++;
        } else {
            EXPECT(line != NULL && strcmp(line, "{\"return\": {}}") == 0, "%s", line);
        }
    }
    EXPECT(heard == 2, "%u events", heard);
    end = ask(&c, "query-migrate");
    EXPECT(strcmp(member(end, "status"), "failed") == 0, "%s", member(end, "status"));
    EXPECT(strstr(member(end, "error-desc"), "/nobody") != NULL, "%s", member(end, "error-desc"));
    ASK(&c, "{\"execute\": \"query-status\"}",
        "{\"return\": {\"status\": \"running\", \"running\": true}}");
    client_clear(&c);
    machine_clear(&m);
}

int main(void)
{
    directory = g_dir_make_tmp("ferry-qmp-XXXXXX", NULL);
    test_capabilities_come_first();
    test_packets_are_not_messages();
    test_garbage_is_answered();
    test_parameters_are_all_or_none();
    test_capabilities_are_all_or_none();
    test_events_reach_all_before_the_answer();
    test_a_client_that_does_not_read_is_dropped();
    test_half_closed_gets_its_answers();
    test_too_many_are_turned_away();
    test_quit_is_answered_first();
    test_the_socket();
    test_migrations();
    test_a_failed_migration_is_told();
    EXPECT(rmdir(directory) == 0, "something is left in %s", directory);
    g_free(directory);
    return failures == 0 ? 0 : 1;
}

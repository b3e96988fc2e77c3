#include "tests/engine/qmp-client.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "engine/guest-private.h"

char *qmp_directory;

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

const FerryQmpOps machine_ops = {
    .stop = do_stop, .cont = do_cont, .quit = do_quit, .status = do_status};

void machine_init(Machine *m, const char *name, gboolean incoming)
{
    g_autoptr(GError) error = NULL;

    memset(m, 0, sizeof *m);
    m->incoming = incoming;
    m->guest = counting_guest_new(QMP_PAGES, 5, 1);
    m->migration = ferry_migration_new(counting_guest_describe(m->guest), NULL, NULL);
    m->path = g_strdup_printf("%s/%s", qmp_directory, name);
    m->qmp = ferry_qmp_new(m->path, m->migration, &machine_ops, m, &error);
    g_assert_no_error(error);
    ferry_migration_set_listener(m->migration, &ferry_qmp_listener, m->qmp);
    if (!incoming) {
        counting_guest_run(m->guest);
    }
}

void machine_clear(Machine *m)
{
    ferry_migration_set_listener(m->migration, NULL, NULL);
    ferry_qmp_free(m->qmp);
    EXPECT(access(m->path, F_OK) != 0, "the socket is left");
    ferry_migration_free(m->migration);
    counting_guest_free(m->guest);
    g_free(m->path);
}

void client_connect(Client *c, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    c->input = g_string_new(NULL);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(connect(c->fd, (struct sockaddr *)&addr, sizeof addr) == 0, "%s", g_strerror(errno));
}

void client_clear(Client *c)
{
    close(c->fd);
    g_string_free(c->input, TRUE);
}

void client_write(Client *c, const char *text)
{
    gsize n = strlen(text);

    EXPECT(send(c->fd, text, n, MSG_NOSIGNAL) == (gssize)n, "%s", g_strerror(errno));
}

gboolean client_read(Client *c)
{
    struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
    char buffer[4096];
    gssize n;

    if (poll(&pfd, 1, QMP_PATIENCE_MS) <= 0) {
        EXPECT(FALSE, "the monitor is silent");
        return FALSE;
    }
    n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n > 0) {
        g_string_append_len(c->input, buffer, n);
    }
    return n > 0;
}

char *client_line(Client *c)
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

gboolean qmp_is_event(const char *line) { return g_str_has_prefix(line, "{\"timestamp\""); }

char *client_answer(Client *c)
{
    char *line = client_line(c);

    while (line != NULL && qmp_is_event(line)) {
        g_free(line);
        line = client_line(c);
    }
    return line;
}

void client_open(Client *c, const char *path)
{
    g_autofree char *greeting = NULL;

    client_connect(c, path);
    greeting = client_line(c);
    EXPECT(greeting != NULL && g_str_has_prefix(greeting, "{\"QMP\": {\"version\": {\"qemu\": {"),
           "%s", greeting);
    ASK(c, "{\"execute\": \"qmp_capabilities\"}", "{\"return\": {}}");
}

JsonNode *client_ask(Client *c, const char *command)
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

void client_expect_event(Client *c, const char *name)
{
    g_autofree char *line = client_line(c);
    g_autofree char *event = g_strdup_printf("\"event\": \"%s\"", name);

    EXPECT(line != NULL && qmp_is_event(line) && strstr(line, event), "%s instead of %s", line,
           name);
}

const char *qmp_member(JsonNode *node, const char *name)
{
    return json_object_get_string_member_with_default(json_node_get_object(node), name, "");
}

void qmp_begin(void) { qmp_directory = g_dir_make_tmp("ferry-qmp-XXXXXX", NULL); }

int qmp_end(void)
{
    EXPECT(rmdir(qmp_directory) == 0, "something is left in %s", qmp_directory);
    g_free(qmp_directory);
    return failures != 0;
}

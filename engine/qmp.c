#include "engine/qmp-private.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "engine/qmp-framer.h"

#define CLIENTS_MAX 64
#define OUTPUT_MAX (4u << 20) /* what a client may leave unread before it is dropped */
#define BACKLOG 16

typedef struct {
    uint64_t number;
    int fd;
    FerryQmpFramer framer;
    GString *output;
    gboolean negotiated;
    gboolean ended; /* it sends no more; it may still read */
    gboolean dead;
} Client;

static void client_free(gpointer data)
{
    Client *c = data;

    close(c->fd);
    ferry_qmp_framer_clear(&c->framer);
    g_string_free(c->output, TRUE);
    g_free(c);
}

static void client_send(Client *c, const char *text)
{
    if (c->dead) {
        return;
    }
    g_string_append(c->output, text);
    if (c->output->len > OUTPUT_MAX) {
        c->dead = TRUE;
    }
}

static void client_send_node(Client *c, JsonNode *node)
{
    g_autofree char *text = ferry_qmp_to_text(node);

    client_send(c, text);
}

static void client_flush(Client *c)
{
    while (!c->dead && c->output->len > 0) {
        gssize n = send(c->fd, c->output->str, c->output->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            g_string_erase(c->output, 0, n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            c->dead = TRUE;
        }
    }
}

/* Events come before the answer of the command that caused them, as in QEMU. */
static void deliver_events(FerryQmp *qmp)
{
    g_autoptr(GPtrArray) events = NULL;

    pthread_mutex_lock(&qmp->lock);
    if (qmp->events->len > 0) {
        events = g_steal_pointer(&qmp->events);
        qmp->events = g_ptr_array_new_with_free_func(g_free);
    }
    pthread_mutex_unlock(&qmp->lock);
    for (guint i = 0; events != NULL && i < events->len; i++) {
        for (guint j = 0; j < qmp->clients->len; j++) {
            Client *c = qmp->clients->pdata[j];
            if (c->negotiated) {
                client_send(c, events->pdata[i]);
            }
        }
    }
}

/* @text NULL: what came was no message, and @why says so. */
static void answer(FerryQmp *qmp, Client *c, const GString *text, const char *why)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) reply = NULL;
    g_autofree char *parse_error = NULL;
    JsonNode *request = NULL;

    if (text != NULL && !g_utf8_validate_len(text->str, text->len, NULL)) {
        why = "JSON parse error, text is not UTF-8";
    } else if (text != NULL) {
        if (json_parser_load_from_data(parser, text->str, (gssize)text->len, &error)) {
            request = json_parser_get_root(parser);
            why = "JSON parse error, nothing there";
        } else {
            why = parse_error = g_strdup_printf("JSON parse error, %s", error->message);
        }
    }
    qmp->asking = c->number;
    reply = ferry_qmp_answer(qmp, request, why, &c->negotiated);
    qmp->asking = 0;
    deliver_events(qmp);
    client_send_node(c, reply);
}

static void client_input(FerryQmp *qmp, Client *c, const char *bytes, gsize n)
{
    gsize used;

    for (; n > 0 && !c->dead; bytes += used, n -= used) {
        switch (ferry_qmp_framer_push(&c->framer, bytes, n, &used)) {
        case FERRY_QMP_MORE:
            break;
        case FERRY_QMP_MESSAGE:
            answer(qmp, c, c->framer.message, NULL);
            break;
        case FERRY_QMP_BAD:
            answer(qmp, c, NULL, c->framer.why);
            break;
        }
    }
}

static void client_read(FerryQmp *qmp, Client *c)
{
    char buffer[16384];
    gssize n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n > 0) {
        client_input(qmp, c, buffer, (gsize)n);
    } else if (n == 0) {
        c->ended = TRUE;
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        c->dead = TRUE;
    }
}

static void accept_client(FerryQmp *qmp)
{
    int fd = accept4(qmp->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    g_autoptr(JsonNode) greeting = NULL;
    Client *c;

    if (fd < 0) {
        return;
    }
    if (qmp->clients->len >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    c = g_new0(Client, 1);
    c->number = ++qmp->connections;
    c->fd = fd;
    c->output = g_string_new(NULL);
    ferry_qmp_framer_init(&c->framer);
    greeting = ferry_qmp_greeting();
    client_send_node(c, greeting);
    g_ptr_array_add(qmp->clients, c);
}

static void flush_clients(FerryQmp *qmp)
{
    for (guint i = qmp->clients->len; i-- > 0;) {
        Client *c = qmp->clients->pdata[i];
        client_flush(c);
        if (c->dead || (c->ended && c->output->len == 0)) {
            if (qmp->recording == c->number) {
                ferry_recorder_stop(qmp->recorder, FERRY_RECORD_END_INTERRUPTED);
            }
            g_ptr_array_remove_index(qmp->clients, i);
        }
    }
}

/* The first two are the listener and the eventfd; then the clients in their order. */
static unsigned fill_poll(FerryQmp *qmp, struct pollfd *fds)
{
    unsigned n = 0;

    fds[n++] = (struct pollfd){.fd = qmp->listen_fd, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = qmp->wake_fd, .events = POLLIN};
    for (guint i = 0; i < qmp->clients->len; i++) {
        Client *c = qmp->clients->pdata[i];
        fds[n++] = (struct pollfd){
            .fd = c->fd,
            .events = (short)((c->ended ? 0 : POLLIN) | (c->output->len > 0 ? POLLOUT : 0))};
    }
    return n;
}

static gboolean must_stop(FerryQmp *qmp)
{
    gboolean stop;

    pthread_mutex_lock(&qmp->lock);
    stop = qmp->stop;
    pthread_mutex_unlock(&qmp->lock);
    return stop;
}

static void serve(FerryQmp *qmp, const struct pollfd *fds, unsigned n)
{
    uint64_t count;

    if ((fds[1].revents & POLLIN) && read(qmp->wake_fd, &count, sizeof count) < 0) {
        g_assert(errno == EAGAIN || errno == EINTR);
    }
    for (unsigned i = 2; i < n; i++) {
        Client *c = qmp->clients->pdata[i - 2];
        if (fds[i].revents & (POLLERR | POLLNVAL)) {
            c->dead = TRUE;
        } else if ((fds[i].revents & (POLLIN | POLLHUP)) && !c->ended) {
            client_read(qmp, c);
        } else if ((fds[i].revents & POLLHUP) && c->ended) {
            c->dead = TRUE; /* nobody reads either */
        }
    }
    if (fds[0].revents & POLLIN) {
        accept_client(qmp);
    }
    deliver_events(qmp);
    flush_clients(qmp);
    if (qmp->quit_asked) {
        qmp->quit_asked = FALSE;
        qmp->ops->quit(qmp->self);
    }
}

static void *monitor_thread(void *data)
{
    struct pollfd fds[2 + CLIENTS_MAX];
    FerryQmp *qmp = data;

    while (!must_stop(qmp)) {
        unsigned n = fill_poll(qmp, fds);
        if (poll(fds, n, -1) > 0) {
            serve(qmp, fds, n);
        }
    }
    deliver_events(qmp);
    flush_clients(qmp);
    return NULL;
}

static gboolean somebody_listens(const struct sockaddr_un *addr)
{
    g_auto(FerryFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd >= 0 &&
           (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno != ECONNREFUSED);
}

/* -1 with errno. For its owner only: whoever may write here may run commands ("exec:"). */
static int bind_unix(const struct sockaddr_un *addr)
{
    g_auto(FerryFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int bound;

    if (fd < 0 || fchmod(fd, S_IRUSR | S_IWUSR) < 0) {
        return -1;
    }
    bound = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    if (bound < 0 && errno == EADDRINUSE) {
        if (somebody_listens(addr)) {
            errno = EADDRINUSE;
            return -1;
        }
        unlink(addr->sun_path); /* left behind by a process that is gone */
        bound = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    }
    if (bound < 0 || listen(fd, BACKLOG) < 0) {
        return -1;
    }
    return ferry_fd_steal(&fd);
}

static gboolean open_fds(FerryQmp *qmp, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (g_strlcpy(addr.sun_path, qmp->path, sizeof addr.sun_path) >= sizeof addr.sun_path) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                    "monitor unix:%s: the path is longer than %zu bytes", qmp->path,
                    sizeof addr.sun_path - 1);
        return FALSE;
    }
    qmp->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (qmp->wake_fd >= 0) {
        qmp->listen_fd = bind_unix(&addr);
    }
    if (qmp->listen_fd < 0) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_IO, "monitor unix:%s: %s",
                    qmp->path, g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

FerryQmp *ferry_qmp_new(const char *path, FerryMigration *migration, const FerryQmpOps *ops,
                        void *self, GError **error)
{
    g_autoptr(FerryQmp) qmp = g_new0(FerryQmp, 1);

    qmp->migration = migration;
    qmp->dirty_rate = ferry_dirty_rate_meter_new(migration);
    qmp->recorder = ferry_recorder_new(migration);
    qmp->ops = ops;
    qmp->self = self;
    qmp->path = g_strdup(path);
    qmp->listen_fd = qmp->wake_fd = -1;
    qmp->events = g_ptr_array_new_with_free_func(g_free);
    qmp->clients = g_ptr_array_new_with_free_func(client_free);
    pthread_mutex_init(&qmp->lock, NULL);
    if (!open_fds(qmp, error)) {
        return NULL;
    }
    qmp->thread = g_thread_try_new("ferry-qmp", monitor_thread, qmp, error);
    return qmp->thread != NULL ? g_steal_pointer(&qmp) : NULL;
}

static void wake(FerryQmp *qmp)
{
    uint64_t one = 1;

    /* Can only fail when it is already full, and then the thread wakes anyway. */
    if (write(qmp->wake_fd, &one, sizeof one) < 0) {
        g_assert(errno == EAGAIN || errno == EINTR);
    }
}

void ferry_qmp_send_event(FerryQmp *qmp, const char *name, JsonNode *data)
{
    gint64 now_us = g_get_real_time();
    JsonObject *event = json_object_new(), *timestamp = json_object_new();
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_int_member(timestamp, "seconds", now_us / G_USEC_PER_SEC);
    json_object_set_int_member(timestamp, "microseconds", now_us % G_USEC_PER_SEC);
    json_object_set_object_member(event, "timestamp", timestamp);
    json_object_set_string_member(event, "event", name);
    if (data != NULL) {
        json_object_set_member(event, "data", data);
    }
    json_node_take_object(node, event);
    pthread_mutex_lock(&qmp->lock);
    g_ptr_array_add(qmp->events, ferry_qmp_to_text(node));
    pthread_mutex_unlock(&qmp->lock);
    wake(qmp);
}

void ferry_qmp_event(FerryQmp *qmp, const char *name)
{
    if (strcmp(name, "STOP") == 0 || strcmp(name, "RESUME") == 0) {
        ferry_recorder_set_paused(qmp->recorder, strcmp(name, "STOP") == 0);
    }
    ferry_qmp_send_event(qmp, name, NULL);
}

static gboolean wants_events(FerryQmp *qmp)
{
    gboolean on = FALSE;

    ferry_migration_get_capability(qmp->migration, "events", &on);
    return on;
}

static void on_status(void *self, FerryStatus status, const GError *error)
{
    FerryQmp *qmp = self;
    JsonNode *data;
    JsonObject *object;

    (void)error;
    if (!wants_events(qmp)) {
        return;
    }
    object = json_object_new();
    json_object_set_string_member(object, "status", ferry_status_name(status));
    data = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(data, object);
    ferry_qmp_send_event(qmp, "MIGRATION", data);
}

static void on_pass(void *self, uint64_t pass)
{
    FerryQmp *qmp = self;
    JsonNode *data;
    JsonObject *object;

    if (!wants_events(qmp)) {
        return;
    }
    object = json_object_new();
    json_object_set_int_member(object, "pass", (gint64)pass);
    data = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(data, object);
    ferry_qmp_send_event(qmp, "MIGRATION_PASS", data);
}

const FerryMigrationListener ferry_qmp_listener = {.status = on_status, .pass = on_pass};

void ferry_qmp_set_start_paused(FerryQmp *qmp, gboolean start_paused)
{
    g_atomic_int_set(&qmp->start_paused, start_paused);
}

void ferry_qmp_free(FerryQmp *qmp)
{
    if (qmp == NULL) {
        return;
    }
    if (qmp->thread != NULL) {
        pthread_mutex_lock(&qmp->lock);
        qmp->stop = TRUE;
        pthread_mutex_unlock(&qmp->lock);
        wake(qmp);
        g_thread_join(qmp->thread);
    }
    ferry_dirty_rate_meter_free(qmp->dirty_rate);
    ferry_recorder_free(qmp->recorder);
    if (qmp->listen_fd >= 0) {
        close(qmp->listen_fd);
        unlink(qmp->path);
    }
    if (qmp->wake_fd >= 0) {
        close(qmp->wake_fd);
    }
    g_ptr_array_unref(qmp->clients);
    g_ptr_array_unref(qmp->events);
    pthread_mutex_destroy(&qmp->lock);
    g_free(qmp->path);
    g_free(qmp);
}

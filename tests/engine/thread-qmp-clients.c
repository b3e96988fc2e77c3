/* The monitor's socket; clients that misbehave, and others that do not notice. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "tests/engine/qmp-client.h"

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
    second = ferry_qmp_new(m.path, m.migration, &machine_ops, &m, &error);
    EXPECT(second == NULL && error != NULL && strstr(error->message, m.path), "it was taken over");
    g_clear_error(&error);
    second = ferry_qmp_new(too_long, m.migration, &machine_ops, &m, &error);
    EXPECT(second == NULL && error->code == FERRY_TRANSPORT_ERROR_ADDRESS, "too long");
    client_open(&c, m.path);
    client_clear(&c);
    machine_clear(&m);

    /* What a dead process left behind is replaced. */
    g_snprintf(addr.sun_path, sizeof addr.sun_path, "%s/socket", qmp_directory);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "%s", g_strerror(errno));
    close(fd);
    machine_init(&m, "socket", FALSE);
    client_open(&c, m.path);
    client_clear(&c);
    machine_clear(&m);
}

int main(void)
{
    qmp_begin();
    test_a_client_that_does_not_read_is_dropped();
    test_half_closed_gets_its_answers();
    test_too_many_are_turned_away();
    test_the_socket();
    return qmp_end();
}

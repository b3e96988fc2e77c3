/* An embedder whose monitor listens on a real socket in a directory of the test's own, and clients
 * of that. */
#pragma once
#include <string.h>
#include <json-glib/json-glib.h>
#include "engine/ferry.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define QMP_PAGES 256ull
#define QMP_PATIENCE_MS 60000 /* for what must come; reached only by a failure */

extern char *qmp_directory;
void qmp_begin(void); /* makes it */
int qmp_end(void);    /* removes it; the test's exit status */

/* An embedder. */
extern const FerryQmpOps machine_ops;
typedef struct {
    CountingGuest *guest;
    FerryMigration *migration;
    FerryQmp *qmp;
    char *path;
    gboolean incoming;
    gint quits; /* atomic */
} Machine;

/* Its monitor is the socket of that @name in the directory. */
void machine_init(Machine *m, const char *name, gboolean incoming);
void machine_clear(Machine *m);

/* A client. */
typedef struct {
    int fd;
    GString *input;
} Client;

void client_connect(Client *c, const char *path);
void client_clear(Client *c);
void client_write(Client *c, const char *text);
/* FALSE at the end of the connection. */
gboolean client_read(Client *c);
/* The next line without its end; g_free. NULL: there is none. */
char *client_line(Client *c);
gboolean qmp_is_event(const char *line);
/* The next line that is no event. */
char *client_answer(Client *c);
/* Connects, is greeted and negotiates. */
void client_open(Client *c, const char *path);
/* The return value of a command; json_node_unref. */
JsonNode *client_ask(Client *c, const char *command);
void client_expect_event(Client *c, const char *name);
const char *qmp_member(JsonNode *node, const char *name);

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

/* The monitor from the inside: connections (qmp.c), requests and answers (qmp-answer.c), commands
 * (qmp-command.c), what query-migrate says (qmp-query.c). */
#pragma once
#include <pthread.h>
#include <json-glib/json-glib.h>
#include "engine/dirty-rate.h"
#include "engine/migration-private.h"
#include "engine/qmp.h"
#include "engine/record.h"

G_BEGIN_DECLS

struct FerryQmp {
    FerryMigration *migration;
    FerryDirtyRateMeter *dirty_rate;
    FerryRecorder *recorder;
    const FerryQmpOps *ops;
    void *self;
    char *path;
    int listen_fd, wake_fd;
    GThread *thread;

    pthread_mutex_t lock;
    GPtrArray *events; /* texts on their way to the connections; guarded by lock */
    gboolean stop;     /* guarded by lock */
    gboolean start_paused;

    /* The monitor's thread only. */
    GPtrArray *clients;
    gboolean quit_asked;
    uint64_t connections; /* so far: each has its number, from 1 on */
    uint64_t asking;      /* whose command runs; 0: nobody's */
    uint64_t recording;   /* with whose connection the recording ends; 0: with nobody's */
};

typedef struct {
    const char *name;
    /* NULL with the error set. */
    JsonNode *(*run)(FerryQmp *qmp, JsonObject *args, GError **error);
    gboolean takes_arguments;
} FerryQmpCommand;
const FerryQmpCommand *ferry_qmp_find_command(const char *name);

JsonNode *ferry_qmp_object(JsonObject *object); /* takes it */
JsonNode *ferry_qmp_nothing(void);              /* {} */
JsonNode *ferry_qmp_greeting(void);
/* @request is one parsed message, NULL: it could not be parsed, and @why says so. Never fails: the
 * answer may be an error. *negotiated is the connection's state. */
JsonNode *ferry_qmp_answer(FerryQmp *qmp, JsonNode *request, const char *why, gboolean *negotiated);
JsonNode *ferry_qmp_query_migrate(FerryMigration *migration);
JsonNode *ferry_qmp_calc_dirty_rate(FerryQmp *qmp, JsonObject *args, GError **error);
JsonNode *ferry_qmp_query_dirty_rate(FerryQmp *qmp, JsonObject *args, GError **error);
JsonNode *ferry_qmp_record(FerryQmp *qmp, JsonObject *args, GError **error);
JsonNode *ferry_qmp_record_stop(FerryQmp *qmp, JsonObject *args, GError **error);
JsonNode *ferry_qmp_query_record(FerryQmp *qmp, JsonObject *args, GError **error);
/* As QEMU prints it, CR LF included; g_free. */
char *ferry_qmp_to_text(JsonNode *node);
/* Takes @data, which may be NULL. */
void ferry_qmp_send_event(FerryQmp *qmp, const char *name, JsonNode *data);

G_END_DECLS

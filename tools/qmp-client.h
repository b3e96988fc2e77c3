/* The asking side of QEMU's monitor protocol: connects to a ferry-vm or a QEMU, sends a command,
 * waits for its answer. Blocking, every wait has a deadline. Belongs to one thread. */
#pragma once
#include <json-glib/json-glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_QMP_CLIENT_ERROR (ferry_qmp_client_error_quark())
GQuark ferry_qmp_client_error_quark(void);
/* Whatever the connection itself fails with is a FERRY_TRANSPORT_ERROR. */
typedef enum {
    FERRY_QMP_CLIENT_ERROR_ANSWER,   /* the command was refused; the connection lives on */
    FERRY_QMP_CLIENT_ERROR_PROTOCOL, /* what came is not QMP */
} FerryQmpClientError;

typedef struct FerryQmpClient FerryQmpClient;
/* @address: unix:PATH or tcp:HOST:PORT. Reads the greeting and leaves negotiation mode. @timeout_ns
 * is the longest wait for each answer, here and later. */
FerryQmpClient *ferry_qmp_client_new(const char *address, uint64_t timeout_ns, GError **error);
/* Takes @arguments, an object or NULL. The answer's "return" value; free with json_node_unref.
 * Events that arrive meanwhile are dropped: whoever wants news asks again. */
JsonNode *ferry_qmp_client_call(FerryQmpClient *client, const char *command, JsonNode *arguments,
                                GError **error);
/* For answers that say nothing. */
gboolean ferry_qmp_client_do(FerryQmpClient *client, const char *command, JsonNode *arguments,
                             GError **error);
void ferry_qmp_client_free(FerryQmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryQmpClient, ferry_qmp_client_free)

/* Length of the first whole JSON object in @text including what stands before it; 0: none yet. */
size_t ferry_qmp_message_length(const char *text, size_t length);

G_END_DECLS

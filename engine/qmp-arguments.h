/* What the monitor's commands read from their arguments, and refuse in QEMU's words. Getters leave
 * *out as it was when the argument is absent; what they hand out is borrowed from @args. */
#pragma once
#include <json-glib/json-glib.h>
#include "engine/migration.h"

G_BEGIN_DECLS

/* Sets @error, answers NULL. */
void *ferry_qmp_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* No argument but the @known ones, NULL-terminated. */
gboolean ferry_qmp_only(JsonObject *args, const char *const *known, GError **error);
#define FERRY_QMP_ONLY(args, error, ...)                                                           \
    ferry_qmp_only(args, (const char *const[]){__VA_ARGS__, NULL}, error)

gboolean ferry_qmp_is_a(JsonNode *node, GType type);
gboolean ferry_qmp_get_string(JsonObject *args, const char *name, const char **out, GError **error);
gboolean ferry_qmp_need_string(JsonObject *args, const char *name, const char **out,
                               GError **error);
gboolean ferry_qmp_get_bool(JsonObject *args, const char *name, gboolean *out, GError **error);
gboolean ferry_qmp_get_object(JsonNode *node, const char *name, JsonObject **out, GError **error);
JsonArray *ferry_qmp_need_list(JsonObject *args, const char *name, GError **error);
/* Where to: "uri", or "channels" as QEMU has it since 8.2; g_free. */
char *ferry_qmp_get_uri(JsonObject *args, GError **error);

G_END_DECLS

/* What the reading of result files is made of. */
#pragma once
#include "tools/figures.h"

G_BEGIN_DECLS

/* FALSE, and the error. */
gboolean ferry_result_bad(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The text of member @name, "" without one. Frees what *out was. */
gboolean ferry_result_text(JsonObject *object, const char *name, char **out, GError **error);
/* The number "name" or "object.name", at least 0; *out stays as it is without one. */
gboolean ferry_result_number(JsonObject *object, const char *name, double *out, GError **error);
/* 'command', for a shell; "" without one. Frees what *out was. */
gboolean ferry_result_take_command(JsonObject *object, char **out, GError **error);
/* Texts, numbers and truths as text; NULL of anything else. */
char *ferry_result_scalar(JsonNode *node);

G_END_DECLS

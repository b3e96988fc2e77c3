/* A trace's JSON, which others wrote: strict, bounded, integers from 0 to 2^63 - 1. */
#pragma once
#include <json-glib/json-glib.h>
#include "trace/trace.h"

G_BEGIN_DECLS

#define FERRY_TRACE_JSON_MAX (16u << 20)

/* NULL and @error: not one JSON value, or more than we take in. */
JsonParser *ferry_trace_json_parse(const char *text, size_t length, GError **error);
gboolean ferry_trace_json_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Absent members leave *@out as it is. FALSE: it is there and is something else. */
gboolean ferry_trace_json_integer(JsonObject *object, const char *name, uint64_t most,
                                  uint64_t *out, GError **error);
gboolean ferry_trace_json_string(JsonObject *object, const char *name, char **out, GError **error);

/* Appends what follows "{" or a member before; nothing for NULL. */
void ferry_trace_json_add_integer(GString *text, const char *name, uint64_t value);
void ferry_trace_json_add_string(GString *text, const char *name, const char *value);

G_END_DECLS

/* What `ferry receive` and `ferry send` share: words of options, events, how they end. */
#pragma once
#include <stdint.h>

#include "engine/ferry.h"
#include "tools/verb.h"
#include "tools/watch.h"

G_BEGIN_DECLS

/* "123e4567-e89b-12d3-a456-426614174000". */
gboolean ferry_parse_uuid(const char *text, uint8_t out_uuid[16], GError **error);
char *ferry_format_uuid(const uint8_t uuid[16]); /* g_free */
/* "none", "zlib", "zstd"; others that QEMU has are refused by name. */
gboolean ferry_parse_method(const char *option, const char *text, FerryMultifdMethod *out_method,
                            GError **error);

/* A line of JSON: {"event": @event, key: text, ...}; keys and texts until NULL. */
void ferry_transfer_event(const char *event, ...) G_GNUC_NULL_TERMINATED;
/* {"event": "phase", ...} */
void ferry_transfer_phase(const FerryProgress *progress);
/* Says why it failed, to people and as the last object of JSON; the status to exit with. */
FerryExit ferry_transfer_fail(const char *verb, gboolean json, FerryWatchReason reason,
                              gboolean began, const GError *error);

void ferry_json_add_string(JsonBuilder *b, const char *key, const char *value); /* NULL: null */
void ferry_json_add_int(JsonBuilder *b, const char *key, uint64_t value);
void ferry_json_add_ms(JsonBuilder *b, const char *key, uint64_t ns);
/* CPU time of this process so far. */
uint64_t ferry_cpu_now_ns(void);

G_END_DECLS

/* How a migration is shown to people: from the answer of query-migrate, a QEMU's or a ferry-vm's.
 * What a monitor does not say is left out. */
#pragma once
#include <json-glib/json-glib.h>
#include <stdio.h>

G_BEGIN_DECLS

/* A value by its path, "ram.transferred"; @otherwise where there is none. */
double ferry_report_number(JsonObject *answer, const char *path, double otherwise);
const char *ferry_report_text(JsonObject *answer, const char *path, const char *otherwise);
gboolean ferry_report_flag(JsonObject *answer, const char *path);
JsonObject *ferry_report_object(JsonObject *answer, const char *path); /* NULL: none */
JsonArray *ferry_report_rounds(JsonObject *answer);                    /* NULL: none */

/* %, MiB, MiB/s, dirty MiB/s, round, time left, expected downtime; no line end. Free with g_free.
 */
char *ferry_report_progress_line(JsonObject *answer);
/* QEMU's words and units, one value a line. */
void ferry_report_print_status(JsonObject *answer, FILE *out);
/* Ferry's own: a row per round, or for several where there are many; each part of the downtime,
 * predicted and measured; how much more was sent than the guest has. */
void ferry_report_print_rounds(JsonObject *answer, FILE *out);
void ferry_report_print_downtime(JsonObject *answer, FILE *out);
void ferry_report_print_amplification(JsonObject *answer, FILE *out);

G_END_DECLS

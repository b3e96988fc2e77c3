/* Lines of JSON as docs/results.md has them: one object, members in the order in which they are
 * added. Numbers look the same everywhere, so the same values give the same bytes. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_RESULT_UNKNOWN UINT64_MAX /* a member with this value is left out */

typedef struct {
    GString *text;
    gboolean more; /* a comma comes before the next member or element */
} FerryResultLine;

/* A NULL @name, everywhere: an element of the array that is open. */
void ferry_result_line_begin(FerryResultLine *line, const char *type);
void ferry_result_line_text(FerryResultLine *line, const char *name,
                            const char *text); /* or NULL */
void ferry_result_line_texts(FerryResultLine *line, const char *name, const char *const *texts);
void ferry_result_line_count(FerryResultLine *line, const char *name, uint64_t value);
/* Up to three places behind the point, none that is not needed; left out if it is no number. */
void ferry_result_line_number(FerryResultLine *line, const char *name, double value);
void ferry_result_line_ms(FerryResultLine *line, const char *name, uint64_t ns);
void ferry_result_line_open(FerryResultLine *line, const char *name, char bracket); /* { or [ */
void ferry_result_line_close(FerryResultLine *line, char bracket);                  /* } or ] */
/* The line with its newline; free with g_free. */
char *ferry_result_line_end(FerryResultLine *line);

G_END_DECLS

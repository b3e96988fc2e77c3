/* Text that comes in pieces, read character by character, and JSON in it as a row of events: files
 * may be far larger than memory. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    /* Up to @n bytes; *out_n 0: the end. */
    gboolean (*read)(void *self, void *data, size_t n, size_t *out_n, GError **error);
    void *self;
} FerryTraceText;

typedef struct {
    const FerryTraceText *text;
    uint64_t line; /* from 1 */
    size_t at, n;
    gboolean over;
    GError *error; /* of the callback */
    uint8_t bytes[32768];
} FerryTextReader;

void ferry_text_init(FerryTextReader *reader, const FerryTraceText *text); /* borrows @text */
void ferry_text_clear(FerryTextReader *reader);
gboolean ferry_text_fill(FerryTextReader *reader); /* FALSE: no more */

/* The next character, or -1: the end or an error. */
static inline int ferry_text_peek(FerryTextReader *r)
{
    return r->at < r->n || ferry_text_fill(r) ? r->bytes[r->at] : -1;
}

static inline int ferry_text_get(FerryTextReader *r)
{
    int c = ferry_text_peek(r);

    if (c >= 0) {
        r->at++;
        r->line += c == '\n';
    }
    return c;
}

/* "line N: WHY", or the callback's error. FALSE. */
gboolean ferry_text_refuse(FerryTextReader *reader, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* A line without its end into @out; *out_end: there is none. */
gboolean ferry_text_line(FerryTextReader *reader, char *out, size_t size, gboolean *out_end,
                         GError **error);

typedef enum {
    FERRY_TEXT_OBJECT,
    FERRY_TEXT_OBJECT_END,
    FERRY_TEXT_ARRAY,
    FERRY_TEXT_ARRAY_END,
    FERRY_TEXT_STRING, /* text */
    FERRY_TEXT_NUMBER, /* text and number */
    FERRY_TEXT_WORD,   /* true, false, null: text */
    FERRY_TEXT_END,
} FerryTextKind;

#define FERRY_TEXT_DEPTH_MAX 32u
#define FERRY_TEXT_NAME_MAX 64u
#define FERRY_TEXT_STRING_MAX 256u

/* Values behind one another, as in JSON lines, are taken too. */
typedef struct {
    FerryTextReader reader;
    unsigned depth; /* how many objects and arrays are open behind the event */
    char closing[FERRY_TEXT_DEPTH_MAX];
    gboolean more; /* in the innermost: a comma must come first */
    char names[FERRY_TEXT_DEPTH_MAX + 1][FERRY_TEXT_NAME_MAX]; /* by depth: the member's, or "" */
    FerryTextKind kind;
    char text[FERRY_TEXT_STRING_MAX]; /* cut off where it is longer */
    double number;
} FerryTextJson;

void ferry_text_json_init(FerryTextJson *json, const FerryTraceText *text);
void ferry_text_json_clear(FerryTextJson *json);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryTextJson, ferry_text_json_clear)
/* The next event is in kind, text and number. A member's name is in names[depth], that of an object
 * or array which begins in names[depth - 1]. */
gboolean ferry_text_json_next(FerryTextJson *json, GError **error);

G_END_DECLS

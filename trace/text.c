#include "trace/text.h"
#include <string.h>

void ferry_text_init(FerryTextReader *r, const FerryTraceText *text)
{
    r->text = text;
    r->line = 1;
    r->at = r->n = 0;
    r->over = FALSE;
    r->error = NULL;
}

void ferry_text_clear(FerryTextReader *r) { g_clear_error(&r->error); }

gboolean ferry_text_fill(FerryTextReader *r)
{
    size_t n = 0;

    if (r->over || !r->text->read(r->text->self, r->bytes, sizeof r->bytes, &n, &r->error) ||
        n == 0) {
        r->over = TRUE;
        return FALSE;
    }
    r->at = 0;
    r->n = n;
    return TRUE;
}

gboolean ferry_text_refuse(FerryTextReader *r, GError **error, const char *format, ...)
{
    va_list arguments;

    if (r->error) {
        g_propagate_error(error, g_steal_pointer(&r->error));
        return FALSE;
    }
    va_start(arguments, format);
    g_autofree char *why = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                "line %" G_GUINT64_FORMAT ": %s", r->line, why);
    return FALSE;
}

gboolean ferry_text_line(FerryTextReader *r, char *out, size_t size, gboolean *out_end,
                         GError **error)
{
    size_t n = 0;

    *out_end = ferry_text_peek(r) < 0;
    for (;;) {
        int c = ferry_text_peek(r);
        if (r->error) {
            return ferry_text_refuse(r, error, "it cannot be read");
        }
        if (c < 0 || c == '\n') {
            out[n] = '\0';
            return TRUE; /* its end is left, so that errors name its line */
        }
        if (n + 1 == size) {
            return ferry_text_refuse(r, error, "it is too long");
        }
        if (c == '\0') {
            return ferry_text_refuse(r, error, "it has a zero byte");
        }
        out[n++] = (char)c;
        (void)ferry_text_get(r);
    }
}

void ferry_text_json_init(FerryTextJson *j, const FerryTraceText *text)
{
    ferry_text_init(&j->reader, text);
    j->depth = 0;
    j->more = FALSE;
    j->names[0][0] = '\0';
    j->text[0] = '\0';
    j->number = 0;
}

void ferry_text_json_clear(FerryTextJson *j) { ferry_text_clear(&j->reader); }

static int skip_space(FerryTextReader *r)
{
    int c;

    while ((c = ferry_text_peek(r)) == ' ' || c == '\t' || c == '\n' || c == '\r') {
        (void)ferry_text_get(r);
    }
    return c;
}

static void keep(char *out, size_t size, size_t *n, char c)
{
    if (*n + 1 < size) {
        out[(*n)++] = c;
    }
}

/* Behind the backslash. Characters beyond ASCII do not matter to us: they become '?'. */
static gboolean read_escape(FerryTextReader *r, char *out, size_t size, size_t *n, GError **error)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = ferry_text_get(r);
    const char *found = c > 0 ? strchr(from, c) : NULL;
    unsigned code = 0;

    if (found) {
        keep(out, size, n, to[found - from]);
        return TRUE;
    }
    if (c != 'u') {
        return ferry_text_refuse(r, error, "a string has a wrong escape");
    }
    for (unsigned i = 0; i < 4; i++) {
        c = ferry_text_get(r);
        if (c < 0 || !g_ascii_isxdigit((char)c)) {
            return ferry_text_refuse(r, error, "a string has a wrong escape");
        }
        code = code * 16 + (unsigned)g_ascii_xdigit_value((char)c);
    }
    keep(out, size, n, code > 0 && code < 0x80 ? (char)code : '?');
    return TRUE;
}

static gboolean read_string(FerryTextReader *r, char *out, size_t size, GError **error)
{
    size_t n = 0;

    (void)ferry_text_get(r);
    for (;;) {
        int c = ferry_text_get(r);
        if (c == '"') {
            out[n] = '\0';
            return TRUE;
        }
        if (c < 0x20) {
            return ferry_text_refuse(r, error, "a string does not end");
        }
        if (c != '\\') {
            keep(out, size, &n, (char)c);
        } else if (!read_escape(r, out, size, &n, error)) {
            return FALSE;
        }
    }
}

/* A number or a word. */
static gboolean read_plain(FerryTextJson *j, GError **error)
{
    static const char *const words[] = {"true", "false", "null"};
    FerryTextReader *r = &j->reader;
    size_t n = 0;
    char *end;
    int c;

    while ((c = ferry_text_peek(r)) > 0 &&
           (g_ascii_isalnum((char)c) || c == '+' || c == '-' || c == '.')) {
        if (n + 1 == sizeof j->text) {
            return ferry_text_refuse(r, error, "a number is too long");
        }
        j->text[n++] = (char)ferry_text_get(r);
    }
    j->text[n] = '\0';
    j->kind = FERRY_TEXT_WORD;
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(j->text, words[i]) == 0) {
            return TRUE;
        }
    }
    j->kind = FERRY_TEXT_NUMBER;
    j->number = g_ascii_strtod(j->text, &end);
    if (n == 0 || *end || !(g_ascii_isdigit(j->text[0]) || j->text[0] == '-') ||
        strpbrk(j->text, "xXnN")) {
        return ferry_text_refuse(r, error, "there is no JSON value where one should be");
    }
    return TRUE;
}

static gboolean open_level(FerryTextJson *j, FerryTextKind kind, char closing, GError **error)
{
    (void)ferry_text_get(&j->reader);
    if (j->depth == FERRY_TEXT_DEPTH_MAX) {
        return ferry_text_refuse(&j->reader, error, "it is nested more than %u deep",
                                 FERRY_TEXT_DEPTH_MAX);
    }
    j->closing[j->depth++] = closing;
    j->names[j->depth][0] = '\0';
    j->more = FALSE;
    j->kind = kind;
    return TRUE;
}

static gboolean close_level(FerryTextJson *j)
{
    char closing = (char)ferry_text_get(&j->reader);

    j->kind = closing == '}' ? FERRY_TEXT_OBJECT_END : FERRY_TEXT_ARRAY_END;
    j->depth--;
    j->more = TRUE;
    return TRUE;
}

static gboolean read_name(FerryTextJson *j, GError **error)
{
    FerryTextReader *r = &j->reader;

    if (skip_space(r) != '"') {
        return ferry_text_refuse(r, error, "a member has no name");
    }
    if (!read_string(r, j->names[j->depth], sizeof j->names[0], error)) {
        return FALSE;
    }
    if (skip_space(r) != ':') {
        return ferry_text_refuse(r, error, "a member has no value");
    }
    (void)ferry_text_get(r);
    return TRUE;
}

gboolean ferry_text_json_next(FerryTextJson *j, GError **error)
{
    FerryTextReader *r = &j->reader;
    int c = skip_space(r);

    if (j->depth > 0 && c == j->closing[j->depth - 1]) {
        return close_level(j);
    }
    if (j->depth > 0 && j->more) {
        if (c != ',') {
            return ferry_text_refuse(r, error,
                                     c < 0 ? "the text ends in the middle of a value"
                                           : "a comma or the end is missing");
        }
        (void)ferry_text_get(r);
    }
    if (j->depth > 0 && j->closing[j->depth - 1] == '}' && !read_name(j, error)) {
        return FALSE;
    }
    j->more = TRUE;
    c = skip_space(r);
    if (c < 0 && j->depth == 0 && !r->error) {
        j->kind = FERRY_TEXT_END;
        return TRUE;
    }
    if (c == '{' || c == '[') {
        return c == '{' ? open_level(j, FERRY_TEXT_OBJECT, '}', error)
                        : open_level(j, FERRY_TEXT_ARRAY, ']', error);
    }
    j->kind = FERRY_TEXT_STRING;
    return c == '"' ? read_string(r, j->text, sizeof j->text, error) : read_plain(j, error);
}

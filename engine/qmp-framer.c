#include "engine/qmp-framer.h"
#include <string.h>

void ferry_qmp_framer_init(FerryQmpFramer *framer)
{
    memset(framer, 0, sizeof *framer);
    framer->message = g_string_new(NULL);
}

void ferry_qmp_framer_clear(FerryQmpFramer *framer) { g_string_free(framer->message, TRUE); }

static FerryQmpFrame bad(FerryQmpFramer *f, const char *why)
{
    f->why = why;
    f->depth = 0;
    f->quote = 0;
    f->escaped = FALSE;
    f->skipping = TRUE;
    return FERRY_QMP_BAD;
}

/* What is refused is read on to its end but not kept. */
static void keep(FerryQmpFramer *f, char c)
{
    if (f->message->len >= FERRY_QMP_MESSAGE_MAX && f->refuse == NULL) {
        f->refuse = "JSON message too long";
    }
    if (f->refuse == NULL) {
        g_string_append_c(f->message, c);
    }
}

static FerryQmpFrame in_string(FerryQmpFramer *f, char c)
{
    if ((unsigned char)c < 0x20 || c == '\xff') {
        return bad(f, "JSON parse error, control character in a string");
    }
    if (f->escaped) {
        f->escaped = FALSE;
        if (c != '\'') { /* only JSON's own escapes stay */
            keep(f, '\\');
        }
        keep(f, c);
    } else if (c == '\\') {
        f->escaped = TRUE;
    } else if (c == f->quote) {
        f->quote = 0;
        keep(f, '"');
    } else {
        if (c == '"') {
            keep(f, '\\');
        }
        keep(f, c);
    }
    return FERRY_QMP_MORE;
}

static void open_bracket(FerryQmpFramer *f, char c)
{
    if (f->depth == 0) {
        g_string_truncate(f->message, 0);
        f->refuse = NULL;
        f->skipping = FALSE;
    }
    if (f->depth < FERRY_QMP_DEPTH_MAX) {
        f->open[f->depth] = c;
    } else {
        f->refuse = "JSON nesting too deep";
    }
    f->depth++;
    keep(f, c);
}

static FerryQmpFrame close_bracket(FerryQmpFramer *f, char c)
{
    f->depth--;
    if (f->depth < FERRY_QMP_DEPTH_MAX && f->open[f->depth] != (c == '}' ? '{' : '[')) {
        return bad(f, "JSON parse error, brackets do not match");
    }
    keep(f, c);
    if (f->depth > 0) {
        return FERRY_QMP_MORE;
    }
    if (f->refuse != NULL) {
        f->why = f->refuse;
        return FERRY_QMP_BAD;
    }
    return FERRY_QMP_MESSAGE;
}

static FerryQmpFrame take(FerryQmpFramer *f, char c)
{
    if (f->quote != 0) {
        return in_string(f, c);
    }
    if (c == '{' || c == '[') {
        open_bracket(f, c);
        return FERRY_QMP_MORE;
    }
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        if (f->depth > 0) {
            keep(f, c);
        }
        return FERRY_QMP_MORE;
    }
    if (f->depth == 0) {
        return f->skipping ? FERRY_QMP_MORE : bad(f, "JSON parse error, expecting an object");
    }
    if (c == '}' || c == ']') {
        return close_bracket(f, c);
    }
    if ((unsigned char)c < 0x20 || (unsigned char)c >= 0x7f) {
        return bad(f, "JSON parse error, stray character");
    }
    if (c == '"' || c == '\'') {
        f->quote = c;
        c = '"';
    }
    keep(f, c);
    return FERRY_QMP_MORE;
}

FerryQmpFrame ferry_qmp_framer_push(FerryQmpFramer *framer, const char *bytes, gsize n,
                                    gsize *out_used)
{
    for (gsize i = 0; i < n; i++) {
        FerryQmpFrame frame = take(framer, bytes[i]);
        if (frame != FERRY_QMP_MORE) {
            *out_used = i + 1;
            return frame;
        }
    }
    *out_used = n;
    return FERRY_QMP_MORE;
}

#include "tools/result-line.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void quote(GString *to, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    g_string_append_c(to, '"');
    for (const char *c = valid; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            g_string_append_printf(to, "\\u%04x", (unsigned)*c);
        } else {
            if (*c == '"' || *c == '\\') {
                g_string_append_c(to, '\\');
            }
            g_string_append_c(to, *c);
        }
    }
    g_string_append_c(to, '"');
}

static void name_member(FerryResultLine *line, const char *name)
{
    if (line->more) {
        g_string_append_c(line->text, ',');
    }
    if (name) {
        quote(line->text, name);
        g_string_append_c(line->text, ':');
    }
    line->more = TRUE;
}

void ferry_result_line_begin(FerryResultLine *line, const char *type)
{
    line->text = g_string_new("{");
    line->more = FALSE;
    ferry_result_line_text(line, "type", type);
}

void ferry_result_line_text(FerryResultLine *line, const char *name, const char *text)
{
    if (text) {
        name_member(line, name);
        quote(line->text, text);
    }
}

void ferry_result_line_texts(FerryResultLine *line, const char *name, const char *const *texts)
{
    ferry_result_line_open(line, name, '[');
    for (; *texts; texts++) {
        ferry_result_line_text(line, NULL, *texts);
    }
    ferry_result_line_close(line, ']');
}

void ferry_result_line_count(FerryResultLine *line, const char *name, uint64_t value)
{
    if (value != FERRY_RESULT_UNKNOWN) {
        name_member(line, name);
        g_string_append_printf(line->text, "%" G_GUINT64_FORMAT, value);
    }
}

void ferry_result_line_number(FerryResultLine *line, const char *name, double value)
{
    char digits[400];

    if (!isfinite(value)) {
        return;
    }
    name_member(line, name);
    snprintf(digits, sizeof digits, "%.3f", value);
    gsize n = strlen(digits);
    while (digits[n - 1] == '0') {
        digits[--n] = 0;
    }
    if (digits[n - 1] == '.') {
        digits[--n] = 0;
    }
    g_string_append(line->text, strcmp(digits, "-0") == 0 ? "0" : digits);
}

void ferry_result_line_ms(FerryResultLine *line, const char *name, uint64_t ns)
{
    if (ns != FERRY_RESULT_UNKNOWN) {
        ferry_result_line_number(line, name, (double)ns / 1e6);
    }
}

void ferry_result_line_open(FerryResultLine *line, const char *name, char bracket)
{
    name_member(line, name);
    g_string_append_c(line->text, bracket);
    line->more = FALSE;
}

void ferry_result_line_close(FerryResultLine *line, char bracket)
{
    g_string_append_c(line->text, bracket);
    line->more = TRUE;
}

char *ferry_result_line_end(FerryResultLine *line)
{
    g_string_append(line->text, "}\n");
    return g_string_free(g_steal_pointer(&line->text), FALSE);
}

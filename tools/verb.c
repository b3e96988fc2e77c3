#include "tools/verb.h"

#include <stdio.h>
#include <unistd.h>

gboolean ferry_verb_parse(int *argc, char ***argv, const GOptionEntry *entries,
                          const char *arguments, const char *description, int min_args,
                          int max_args)
{
    const char *verb = (*argv)[0];
    g_autofree char *name = g_strconcat("ferry ", verb, NULL);
    g_autoptr(GOptionContext) context = g_option_context_new(arguments);
    g_autoptr(GError) error = NULL;

    /* argv[0] is what GLib's help shows as the program. */
    (*argv)[0] = name;
    g_set_prgname(name);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_set_summary(context, description);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", name, error->message, name);
        return FALSE;
    }
    (*argv)[0] = (char *)verb;
    if (*argc - 1 < min_args || *argc - 1 > max_args) {
        fprintf(stderr, "%s: %s\nTry '%s --help'.\n", name,
                *argc - 1 < min_args ? "too few arguments" : "too many arguments", name);
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_verb_usage(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_propagate_error(
        error, g_error_new_valist(G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, format, arguments));
    va_end(arguments);
    return FALSE;
}

FerryExit ferry_verb_fail(const char *verb, FerryExit status, gboolean json, const char *format,
                          ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    fprintf(stderr, "ferry %s: %s\n", verb, message);
    if (json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "status");
        json_builder_add_string_value(builder, "failed");
        json_builder_set_member_name(builder, "error");
        json_builder_add_string_value(builder, message);
        json_builder_end_object(builder);
        ferry_verb_print_json(ferry_verb_build(builder), FALSE);
    }
    return status;
}

void ferry_verb_print_json(JsonNode *node, gboolean pretty)
{
    g_autoptr(JsonNode) owned = node;
    g_autofree char *text = json_to_string(owned, pretty && isatty(STDOUT_FILENO));

    puts(text);
    fflush(stdout);
}

JsonNode *ferry_verb_build(JsonBuilder *builder) { return json_builder_get_root(builder); }

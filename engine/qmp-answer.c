/* From a request to its answer. */
#include <string.h>
#include "engine/qmp-arguments.h"
#include "engine/qmp-private.h"

JsonNode *ferry_qmp_object(JsonObject *object)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_node_take_object(node, object);
    return node;
}

JsonNode *ferry_qmp_nothing(void) { return ferry_qmp_object(json_object_new()); }

static JsonNode *error_answer(const char *class, const char *text)
{
    JsonObject *error = json_object_new(), *answer = json_object_new();

    json_object_set_string_member(error, "class", class);
    json_object_set_string_member(error, "desc", text);
    json_object_set_object_member(answer, "error", error);
    return ferry_qmp_object(answer);
}

static gboolean check_request(JsonNode *request, GError **error)
{
    g_autoptr(GList) members = NULL;
    JsonNode *execute, *arguments;
    JsonObject *object;

    if (!JSON_NODE_HOLDS_OBJECT(request)) {
        return ferry_qmp_refuse(error, "QMP input must be a JSON object") != NULL;
    }
    object = json_node_get_object(request);
    members = json_object_get_members(object);
    for (GList *l = members; l != NULL; l = l->next) {
        static const char *const known[] = {"execute", "arguments", "id", NULL};
        if (!g_strv_contains(known, l->data)) {
            return ferry_qmp_refuse(error, "QMP input member '%s' is unexpected",
                                    (char *)l->data) != NULL;
        }
    }
    execute = json_object_get_member(object, "execute");
    arguments = json_object_get_member(object, "arguments");
    if (execute == NULL) {
        return ferry_qmp_refuse(error, "QMP input lacks member 'execute'") != NULL;
    }
    if (!ferry_qmp_is_a(execute, G_TYPE_STRING)) {
        return ferry_qmp_refuse(error, "QMP input member 'execute' must be a string") != NULL;
    }
    if (arguments != NULL && !JSON_NODE_HOLDS_OBJECT(arguments)) {
        return ferry_qmp_refuse(error, "QMP input member 'arguments' must be an object") != NULL;
    }
    return TRUE;
}

static JsonNode *run(FerryQmp *qmp, const FerryQmpCommand *command, JsonObject *args,
                     GError **error)
{
    g_autoptr(GList) members = json_object_get_members(args);

    if (!command->takes_arguments && members != NULL) {
        return ferry_qmp_refuse(error, "Parameter '%s' is unexpected", (const char *)members->data);
    }
    return command->run(qmp, args, error);
}

/* "qmp_capabilities" first, and once. TRUE: *out_answer is the whole answer. */
static gboolean negotiate(const char *name, JsonObject *args, gboolean *negotiated,
                          JsonNode **out_answer)
{
    gboolean asked = strcmp(name, "qmp_capabilities") == 0;
    JsonNode *enable = json_object_get_member(args, "enable");

    if (!*negotiated && !asked) {
        *out_answer = error_answer("CommandNotFound",
                                   "Expecting capabilities negotiation with 'qmp_capabilities'");
    } else if (*negotiated && asked) {
        *out_answer = error_answer("CommandNotFound", "Capabilities negotiation is already "
                                                      "complete, command ignored");
    } else if (asked && enable != NULL &&
               (!JSON_NODE_HOLDS_ARRAY(enable) ||
                json_array_get_length(json_node_get_array(enable)) > 0)) {
        *out_answer = error_answer("GenericError", "No capability is offered, so none is enabled");
    } else if (asked) {
        JsonObject *answer = json_object_new();
        json_object_set_member(answer, "return", ferry_qmp_nothing());
        *out_answer = ferry_qmp_object(answer);
        *negotiated = TRUE;
    } else {
        return FALSE;
    }
    return TRUE;
}

static JsonNode *dispatch(FerryQmp *qmp, JsonObject *request, gboolean *negotiated)
{
    const char *name = json_object_get_string_member(request, "execute");
    g_autoptr(JsonObject) none = json_object_new();
    JsonObject *args = json_object_has_member(request, "arguments")
                           ? json_object_get_object_member(request, "arguments")
                           : none;
    const FerryQmpCommand *command = ferry_qmp_find_command(name);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    JsonNode *answer, *result;
    JsonObject *object;

    if (negotiate(name, args, negotiated, &answer)) {
        return answer;
    }
    if (command == NULL) {
        text = g_strdup_printf("The command %s has not been found", name);
        return error_answer("CommandNotFound", text);
    }
    result = run(qmp, command, args, &error);
    if (result == NULL) {
        return error_answer("GenericError", error->message);
    }
    object = json_object_new();
    json_object_set_member(object, "return", result);
    return ferry_qmp_object(object);
}

JsonNode *ferry_qmp_answer(FerryQmp *qmp, JsonNode *request, const char *why, gboolean *negotiated)
{
    g_autoptr(GError) error = NULL;
    JsonNode *answer, *id = NULL;

    if (request == NULL) {
        return error_answer("GenericError", why);
    }
    if (JSON_NODE_HOLDS_OBJECT(request)) {
        id = json_object_get_member(json_node_get_object(request), "id");
    }
    answer = check_request(request, &error)
                 ? dispatch(qmp, json_node_get_object(request), negotiated)
                 : error_answer("GenericError", error->message);
    if (id != NULL) {
        json_object_set_member(json_node_get_object(answer), "id", json_node_copy(id));
    }
    return answer;
}

/* QEMU's spaces: shell scripts look for "status": "completed". */
char *ferry_qmp_to_text(JsonNode *node)
{
    g_autofree char *compact = json_to_string(node, FALSE);
    GString *text = g_string_sized_new(strlen(compact) * 5 / 4);
    gboolean inside = FALSE;

    for (const char *c = compact; *c != '\0'; c++) {
        g_string_append_c(text, *c);
        if (inside && *c == '\\') {
            g_string_append_c(text, *++c);
        } else if (*c == '"') {
            inside = !inside;
        } else if (!inside && (*c == ':' || *c == ',')) {
            g_string_append_c(text, ' ');
        }
    }
    g_string_append(text, "\r\n");
    return g_string_free(text, FALSE);
}

#include "tools/qmp-client.h"

#include "engine/ferry.h"

#define MESSAGE_MAX (16u << 20) /* bytes; the longest answers, schemas, are under 1 MiB */

G_DEFINE_QUARK(ferry - qmp - client - error - quark, ferry_qmp_client_error)

struct FerryQmpClient {
    FerryChannel *channel;
    GString *in; /* received, not yet taken */
    uint64_t timeout_ns, last_id;
};

size_t ferry_qmp_message_length(const char *text, size_t length)
{
    gboolean in_string = FALSE;
    unsigned depth = 0;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = FALSE;
            }
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && depth > 0 && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

static JsonNode *not_qmp(const char *what, GError **error)
{
    g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_PROTOCOL,
                "the monitor sent %s", what);
    return NULL;
}

/* The next message of any kind, an object. */
static JsonNode *receive(FerryQmpClient *client, uint64_t deadline_ns, GError **error)
{
    size_t length;
    g_autoptr(JsonParser) parser = json_parser_new_immutable();

    while ((length = ferry_qmp_message_length(client->in->str, client->in->len)) == 0) {
        char buffer[4096];
        gssize n = ferry_channel_read(client->channel, buffer, sizeof buffer, deadline_ns, error);
        if (n < 0) {
            return NULL;
        }
        if (n == 0) {
            g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                        "%s: the monitor closed the connection",
                        ferry_channel_get_description(client->channel));
            return NULL;
        }
        if (client->in->len + (size_t)n > MESSAGE_MAX) {
            return not_qmp("a message of more than 16 MiB", error);
        }
        g_string_append_len(client->in, buffer, n);
    }
    if (!json_parser_load_from_data(parser, client->in->str, (gssize)length, error)) {
        g_prefix_error(error, "the monitor sent no JSON: ");
        return NULL;
    }
    g_string_erase(client->in, 0, (gssize)length);
    return json_parser_steal_root(parser);
}

static gboolean send_command(FerryQmpClient *client, const char *command, JsonNode *arguments,
                             GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;

    json_object_set_string_member(object, "execute", command);
    if (arguments) {
        json_object_set_member(object, "arguments", arguments);
    }
    json_object_set_int_member(object, "id", (gint64)++client->last_id);
    json_node_set_object(root, object);
    text = json_to_string(root, FALSE);
    line = g_strconcat(text, "\n", NULL);
    return ferry_channel_write_all(client->channel, line, strlen(line), client->timeout_ns, error);
}

/* NULL without an error: @message is an event or answers somebody else. */
static JsonNode *answer(const FerryQmpClient *client, JsonNode *message, const char *command,
                        GError **error)
{
    JsonObject *object = json_node_get_object(message);
    JsonObject *failure;

    if (json_object_has_member(object, "event") ||
        json_object_get_int_member_with_default(object, "id", 0) != (gint64)client->last_id) {
        return NULL;
    }
    if (json_object_has_member(object, "return")) {
        return json_node_copy(json_object_get_member(object, "return"));
    }
    if (!json_object_has_member(object, "error") ||
        !JSON_NODE_HOLDS_OBJECT(json_object_get_member(object, "error"))) {
        return not_qmp("an answer that is neither a return nor an error", error);
    }
    failure = json_object_get_object_member(object, "error");
    g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_ANSWER, "%s: %s", command,
                json_object_get_string_member_with_default(failure, "desc", "no reason given"));
    return NULL;
}

JsonNode *ferry_qmp_client_call(FerryQmpClient *client, const char *command, JsonNode *arguments,
                                GError **error)
{
    uint64_t deadline_ns = ferry_now_ns() + client->timeout_ns;

    if (!send_command(client, command, arguments, error)) {
        return NULL;
    }
    while (TRUE) {
        g_autoptr(GError) local = NULL;
        g_autoptr(JsonNode) message = receive(client, deadline_ns, error);
        JsonNode *value;
        if (!message) {
            g_prefix_error(error, "%s: ", command);
            return NULL;
        }
        value = answer(client, message, command, &local);
        if (local) {
            g_propagate_error(error, g_steal_pointer(&local));
            return NULL;
        }
        if (value) {
            return value;
        }
    }
}

gboolean ferry_qmp_client_do(FerryQmpClient *client, const char *command, JsonNode *arguments,
                             GError **error)
{
    g_autoptr(JsonNode) value = ferry_qmp_client_call(client, command, arguments, error);

    return value != NULL;
}

static gboolean greet(FerryQmpClient *client, GError **error)
{
    g_autoptr(JsonNode) greeting = receive(client, ferry_now_ns() + client->timeout_ns, error);

    if (!greeting) {
        return FALSE;
    }
    if (!json_object_has_member(json_node_get_object(greeting), "QMP")) {
        not_qmp("something else than a QMP greeting", error);
        return FALSE;
    }
    return ferry_qmp_client_do(client, "qmp_capabilities", NULL, error);
}

FerryQmpClient *ferry_qmp_client_new(const char *address, uint64_t timeout_ns, GError **error)
{
    FerryTransportOptions options = {.io = FERRY_IO_POLL};
    g_auto(FerryAddress) parsed = {0};
    g_autoptr(FerryChannel) channel = NULL;
    g_autoptr(FerryQmpClient) client = NULL;

    if (!ferry_address_parse(address, &parsed, error)) {
        return NULL;
    }
    if (parsed.type != FERRY_ADDRESS_UNIX && parsed.type != FERRY_ADDRESS_TCP) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                    "%s: a monitor is at unix:PATH or tcp:HOST:PORT", address);
        return NULL;
    }
    channel = ferry_transport_connect(&parsed, ferry_now_ns() + timeout_ns, &options, error);
    if (!channel) {
        return NULL;
    }
    client = g_new0(FerryQmpClient, 1);
    client->channel = g_steal_pointer(&channel);
    client->in = g_string_new(NULL);
    client->timeout_ns = timeout_ns;
    return greet(client, error) ? g_steal_pointer(&client) : NULL;
}

void ferry_qmp_client_free(FerryQmpClient *client)
{
    if (!client) {
        return;
    }
    ferry_channel_free(client->channel);
    g_string_free(client->in, TRUE);
    g_free(client);
}

#include <string.h>

#include "protocol/multifd.h"
#include "tools/send.h"

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, text);
    return FALSE;
}

/* What is not negotiated on the wire must be right before it begins. */
static gboolean agree_on_multifd(const FerrySendOptions *o, const FerryPeer *peer,
                                 FerrySendPlan *plan, GError **error)
{
    FerryMultifdMethod method;

    if (o->channels < 0) { /* not said: as the destination wants it */
        plan->channels = peer->multifd ? peer->multifd_channels : 0;
    }
    if (plan->channels != (peer->multifd ? peer->multifd_channels : 0)) {
        return peer->multifd
                   ? refuse(error, "the destination waits for %u multifd channels, not for %u",
                            peer->multifd_channels, plan->channels)
                   : refuse(error, "the destination has the capability multifd off");
    }
    if (!peer->multifd) {
        return TRUE;
    }
    if (!ferry_parse_method("the destination's multifd-compression", peer->multifd_compression,
                            &method, error)) {
        return FALSE;
    }
    if (o->has_method && o->method != method) {
        return refuse(error, "the destination's multifd-compression is %s, not %s",
                      peer->multifd_compression, ferry_multifd_method_name(o->method));
    }
    plan->method = method;
    return TRUE;
}

/* A destination compares what it is sent with the beginning of its own machine type. */
static gboolean agree_on_machine(const char *machine, const FerryPeer *peer, GError **error)
{
    return g_str_has_prefix(peer->machine, machine) ||
           refuse(error,
                  "the destination runs machine type '%s', the snapshot is of '%s' (--machine "
                  "sends it under another name)",
                  peer->machine, machine);
}

static gboolean ask(const FerrySendOptions *o, const char *machine, FerrySendPlan *plan,
                    char **uuid, GError **error)
{
    g_auto(FerryPeer) peer = {0};

    plan->client = ferry_qmp_client_new(o->peer_qmp, o->timeout_ns, error);
    if (!plan->client || !ferry_peer_ask(plan->client, &peer, error)) {
        g_prefix_error(error, "--peer-qmp: ");
        return FALSE;
    }
    if (o->json) {
        ferry_transfer_event("peer", "version", peer.version, "machine", peer.machine, NULL);
    }
    plan->dialect = peer.dialect;
    if (!*uuid) {
        *uuid = g_steal_pointer(&peer.uuid);
    }
    return agree_on_machine(machine, &peer, error) && agree_on_multifd(o, &peer, plan, error);
}

static gboolean find_dialect(const FerrySendOptions *o, const char *machine, FerrySendPlan *plan,
                             GError **error)
{
    if (g_strcmp0(o->peer, "ferry") == 0) {
        plan->dialect = ferry_dialect_ferry;
        return TRUE;
    }
    if (!ferry_dialect_for(machine, o->peer, &plan->dialect, error)) {
        g_prefix_error(error, o->peer ? "--peer: " : "--peer or --peer-qmp is needed: ");
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_send_plan(const FerrySendOptions *o, FerrySendPlan *out_plan, GError **error)
{
    g_auto(FerrySendPlan) plan = {.channels = (unsigned)MAX(o->channels, 0), .method = o->method};
    g_autofree char *uuid = g_strdup(o->uuid);
    uint8_t bytes[16];

    plan.capture = ferry_snapshot_open(o->input, o->offset, o->max_ram_bytes, error);
    if (!plan.capture) {
        return FALSE;
    }
    const FerryConfiguration *c = ferry_capture_configuration(plan.capture);
    const char *machine = o->machine ? o->machine : c->machine;
    if (!uuid && c->has_uuid) {
        uuid = ferry_format_uuid(c->uuid);
    }
    if (o->peer_qmp ? !ask(o, machine, &plan, &uuid, error)
                    : !find_dialect(o, machine, &plan, error)) {
        return FALSE;
    }
    if (o->page_method != FERRY_MULTIFD_NONE && !plan.dialect.compress_page) {
        return refuse(error, "--compress: only QEMUs up to 9.0 take compressed page records%s",
                      o->peer || o->peer_qmp ? "" : " (--peer says which it is)");
    }
    if (uuid && !ferry_parse_uuid(uuid, bytes, error)) {
        return FALSE;
    }
    plan.send_uuid = o->uuid || c->has_uuid;
    if (!ferry_capture_prepare(plan.capture, o->machine, uuid ? bytes : NULL, o->start, error)) {
        return FALSE;
    }
    *out_plan = plan;
    plan = (FerrySendPlan){0};
    return TRUE;
}

void ferry_send_plan_clear(FerrySendPlan *plan)
{
    ferry_capture_free(plan->capture);
    ferry_qmp_client_free(plan->client);
}

/* `ferry send`: words into options (send.c), what the destination wants (send-plan.c), the sending
 * and its result (send-run.c). */
#pragma once
#include "engine/capture.h"
#include "tools/peer.h"

G_BEGIN_DECLS

/* What the user said; strings are NULL where nothing was. */
typedef struct {
    char *uri, *input, *peer, *peer_qmp, *machine, *uuid;
    uint64_t offset, max_ram_bytes, max_bandwidth, timeout_ns, max_time_ns;
    FerryStart start;
    int channels, level; /* -1: not said */
    gboolean has_method, no_return_path, json;
    FerryMultifdMethod method; /* of multifd */
    FerryMultifdMethod page_method;
    FerryZeroPages zero_pages;
} FerrySendOptions;

/* What is sent, and how. */
typedef struct {
    FerryCapture *capture;
    FerryQmpClient *client; /* NULL: the destination is not asked */
    FerryDialect dialect;
    unsigned channels;
    FerryMultifdMethod method;
    gboolean send_uuid;
} FerrySendPlan;
/* Opens the snapshot, asks the destination, and finds out whether the one fits the other. */
gboolean ferry_send_plan(const FerrySendOptions *options, FerrySendPlan *out_plan, GError **error);
void ferry_send_plan_clear(FerrySendPlan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerrySendPlan, ferry_send_plan_clear)

FerryExit ferry_send_run(const FerrySendOptions *options, const FerrySendPlan *plan);

G_END_DECLS

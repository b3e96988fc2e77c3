/* What a QEMU that waits for a migration says of itself over its monitor. */
#pragma once
#include "tools/qmp-client.h"
#include "tools/transfer.h"

G_BEGIN_DECLS

typedef struct {
    char *version, *machine; /* "10.0.13", "pc-i440fx-10.0" */
    char *uuid;              /* NULL: it has none */
    FerryDialect dialect;
    gboolean multifd;
    unsigned multifd_channels;
    char *multifd_compression;
} FerryPeer;
/* Refuses (FERRY_ENGINE_ERROR_REFUSED) one that does not wait for a migration. */
gboolean ferry_peer_ask(FerryQmpClient *client, FerryPeer *out_peer, GError **error);
void ferry_peer_clear(FerryPeer *peer);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryPeer, ferry_peer_clear)

/* After everything is loaded there: lets the guest run, whether or not it does already, and waits
 * until it is in @state: "running", or "suspended" when it slept. */
gboolean ferry_peer_run(FerryQmpClient *client, const char *state, uint64_t timeout_ns,
                        GError **error);

/* The dialect that @answers tell of, for ferry_peer_ask(): @machines is query-machines' answer and
 * @properties qom-list-properties' of "migration"; NULL where there was none. */
gboolean ferry_peer_dialect(const char *version, const char *machine, JsonNode *machines,
                            JsonNode *properties, FerryDialect *out_dialect, GError **error);

G_END_DECLS

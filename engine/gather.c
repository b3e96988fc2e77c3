#include "engine/gather.h"
#include <string.h>
#include "engine/error.h"
#include "protocol/wire.h"
#include "transport/lobby.h"

#define HELLO_DEFAULT_NS 10000000000ull
#define COMPLETE_DEFAULT_NS 30000000000ull
#define MAGIC_SIZE 4

typedef struct {
    const FerryGatherOptions *options;
    FerryGathering got;
    gboolean has_uuid; /* got.uuid is what hellos must carry */
    unsigned kept;
} Gather;

static gboolean no(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, why);
    return FALSE;
}

/* The lobby asks with the first four bytes, then, of a channel, with its whole hello. */
static gboolean judge(void *self, const uint8_t *bytes, size_t n, size_t *out_needed,
                      GError **error)
{
    const Gather *g = self;
    uint32_t magic = ferry_get_be32(bytes);

    if (magic == FERRY_STREAM_MAGIC) {
        *out_needed = n;
        return TRUE;
    }
    if (magic != FERRY_MULTIFD_MAGIC) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "neither a migration stream nor a multifd channel: it begins with 0x%08x",
                    magic);
        return FALSE;
    }
    *out_needed = FERRY_MULTIFD_HELLO_SIZE;
    return g->options->multifd_channels > 0 ||
           no(error, "a multifd channel, but multifd is not switched on here");
}

static gboolean check_hello(Gather *g, const FerryMultifdHello *hello, GError **error)
{
    if (hello->id >= g->options->multifd_channels) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd channel %u, but there are %u, counted from 0", hello->id,
                    g->options->multifd_channels);
        return FALSE;
    }
    if (g->got.multifd[hello->id] != NULL) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd channel %u is here already", hello->id);
        return FALSE;
    }
    if (g->has_uuid && memcmp(hello->uuid, g->got.uuid, sizeof hello->uuid) != 0) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "multifd channel %u is of a guest with another UUID", hello->id);
        return FALSE;
    }
    return TRUE;
}

/* Takes @channel, if it belongs to the set. */
static gboolean keep(Gather *g, FerryChannel *channel, const uint8_t *bytes, size_t n,
                     GError **error)
{
    FerryMultifdHello hello;

    if (n != FERRY_MULTIFD_HELLO_SIZE) {
        if (g->got.main != NULL) {
            return no(error, "a second main channel");
        }
        g->got.main = n > 0 ? ferry_channel_unread(channel, bytes, n) : channel;
        g->kept++;
        return TRUE;
    }
    if (!ferry_multifd_hello_decode(bytes, &hello, error) || !check_hello(g, &hello, error)) {
        return FALSE;
    }
    memcpy(g->got.uuid, hello.uuid, sizeof hello.uuid);
    g->has_uuid = TRUE;
    g->got.multifd[hello.id] = channel;
    g->kept++;
    return TRUE;
}

static void dropped(void *self, const char *peer, const GError *why)
{
    const Gather *g = self;

    if (g->options->dropped) {
        g->options->dropped(g->options->dropped_self, peer, why);
    }
}

/* "main and multifd channels 0, 2". */
static char *missing(const Gather *g)
{
    GString *text = g_string_new(g->got.main ? "" : "main");
    unsigned n = 1 + g->got.n_multifd - g->kept - (g->got.main == NULL);

    if (n > 0) {
        g_string_append_printf(text, "%smultifd channel%s", g->got.main ? "" : " and ",
                               n > 1 ? "s" : "");
    }

    for (unsigned i = 0; i < g->got.n_multifd; i++) {
        if (g->got.multifd[i] == NULL) {
            g_string_append_printf(text, "%s %u", n > 0 ? "" : ",", i);
            n = 0;
        }
    }
    return g_string_free(text, FALSE);
}

/* One more that belongs to the set, or an error that ends the gathering. */
static gboolean one_more(Gather *g, FerryLobby *lobby, uint64_t deadline_ns, GError **error)
{
    uint8_t bytes[FERRY_LOBBY_BYTES_MAX];
    g_autoptr(GError) why = NULL;
    size_t n;

    for (;;) {
        g_autoptr(FerryChannel) channel = ferry_lobby_next(lobby, deadline_ns, bytes, &n, error);
        if (channel == NULL) {
            return FALSE;
        }
        if (keep(g, channel, bytes, n, &why)) {
            g_steal_pointer(&channel);
            return TRUE;
        }
        dropped(g, ferry_channel_get_description(channel), why);
        g_clear_error(&why);
    }
}

static gboolean gather_all(Gather *g, FerryListener *listener, FerryLobby *lobby, GError **error)
{
    unsigned wanted = 1 + g->got.n_multifd;
    uint64_t complete_ns = g->options->complete_ns ? g->options->complete_ns : COMPLETE_DEFAULT_NS;
    uint64_t deadline_ns = FERRY_NO_DEADLINE;
    g_autoptr(GError) why = NULL;

    while (g->kept < wanted) {
        if (one_more(g, lobby, deadline_ns, &why)) {
            deadline_ns = g->kept == 1 ? ferry_now_ns() + complete_ns : deadline_ns;
            continue;
        }
        if (!g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        g_autofree char *which = missing(g);
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "%s: %u of %u connections did not come within %.1f s; missing: %s",
                    ferry_listener_get_uri(listener), wanted - g->kept, wanted,
                    (double)complete_ns / 1e9, which);
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_gather(FerryListener *listener, const FerryGatherOptions *options,
                      FerryGathering *out_gathering, GError **error)
{
    Gather g = {.options = options, .got.n_multifd = options->multifd_channels};
    FerryLobbyOptions lobby_options = {
        .first_bytes = MAGIC_SIZE,
        .patience_ns = options->hello_ns ? options->hello_ns : HELLO_DEFAULT_NS,
        .judge = judge,
        .dropped = dropped,
        .self = &g,
    };
    g_autoptr(FerryLobby) lobby = ferry_lobby_new(listener, &lobby_options);

    g_return_val_if_fail(options->multifd_channels <= FERRY_MULTIFD_CHANNELS_MAX, FALSE);
    if (ferry_lobby_is_single(lobby) && options->multifd_channels > 0) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "%s gives one channel only, but multifd has %u more",
                    ferry_listener_get_uri(listener), options->multifd_channels);
        return FALSE;
    }
    if (options->uuid) {
        memcpy(g.got.uuid, options->uuid, sizeof g.got.uuid);
        g.has_uuid = TRUE;
    }
    g.got.multifd = g_new0(FerryChannel *, MAX(options->multifd_channels, 1));
    if (!gather_all(&g, listener, lobby, error)) {
        ferry_gathering_clear(&g.got);
        return FALSE;
    }
    *out_gathering = g.got;
    return TRUE;
}

void ferry_gathering_clear(FerryGathering *gathering)
{
    for (unsigned i = 0; gathering->multifd && i < gathering->n_multifd; i++) {
        ferry_channel_free(gathering->multifd[i]);
    }
    g_clear_pointer(&gathering->multifd, g_free);
    ferry_channel_free(g_steal_pointer(&gathering->main));
    gathering->n_multifd = 0;
}

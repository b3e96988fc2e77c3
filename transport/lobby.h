/* Connections that were accepted and have yet to say what they are: each is read without anybody
 * waiting for it until its first bytes tell. At most 64 wait, in constant memory; when one more
 * comes, the one that has been silent longest goes. One thread. */
#pragma once
#include "transport/transport.h"

G_BEGIN_DECLS

#define FERRY_LOBBY_BYTES_MAX 64
#define FERRY_LOBBY_WAITING_MAX 64

typedef struct {
    size_t first_bytes;   /* that everybody must say, at most FERRY_LOBBY_BYTES_MAX */
    uint64_t patience_ns; /* for all that a connection must say, from its accept on */
    /* @n of them are here: *out_needed is how many are needed in all, @n when these are enough.
     * FALSE: the connection is dropped. */
    gboolean (*judge)(void *self, const uint8_t *bytes, size_t n, size_t *out_needed,
                      GError **error);
    /* Told of each connection that is dropped, and why. May be NULL. */
    void (*dropped)(void *self, const char *peer, const GError *why);
    void *self;
} FerryLobbyOptions;

typedef struct FerryLobby FerryLobby;
/* Borrows @listener; @options is copied. */
FerryLobby *ferry_lobby_new(FerryListener *listener, const FerryLobbyOptions *options);
/* The listener gives one channel only, of which nothing is read here. */
gboolean ferry_lobby_is_single(const FerryLobby *lobby);
/* The next connection that has said enough. What it said is gone from the channel: it is in
 * @out_bytes, *out_n bytes (0 from a single one). Errors are the listener's: TIMED_OUT and
 * INTERRUPTED among them. */
FerryChannel *ferry_lobby_next(FerryLobby *lobby, uint64_t deadline_ns,
                               uint8_t out_bytes[static FERRY_LOBBY_BYTES_MAX], size_t *out_n,
                               GError **error);
/* Closes who is still waiting. */
void ferry_lobby_free(FerryLobby *lobby);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryLobby, ferry_lobby_free)

/* A wrapper from which @n bytes (at most FERRY_LOBBY_BYTES_MAX) are read first. Takes @channel. */
FerryChannel *ferry_channel_unread(FerryChannel *channel, const uint8_t *bytes, size_t n);

G_END_DECLS

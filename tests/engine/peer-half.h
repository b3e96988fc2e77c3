/* One engine with a guest on a thread of its own, and a peer that is played byte by byte. */
#pragma once
#include <pthread.h>
#include "engine/guest-private.h"
#include "engine/ram-send.h"
#include "protocol/return-path.h"
#include "tests/fakes/counting-guest.h"

#define HALF_PAGES 64ull
#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */

static inline const char *error_text(const GError *error)
{
    return error ? error->message : "success";
}

/* The peer's end of the channel is ours. */
typedef struct {
    CountingGuest *guest;
    FerryInterrupt *interrupt;
    FerrySource *source;           /* one of the two */
    FerryDestination *destination; /* or the other */
    FerryChannel *peer;
    GByteArray *heard; /* what the engine sent */
    guint looked;      /* how much of it half_find_ping() is done with */
    pthread_t thread;
    GError *error;
    gboolean ok;
    gint ended; /* atomic */
} Half;

/* No limit on the rate, and hardly one on the downtime. */
FerryLimits half_limits(void);
void half_begin_source(Half *h, FerrySourceOptions options, FerryLimits limits);
/* @fault: of the destination's end; NULL = none. */
void half_begin_destination(Half *h, FerryDestinationOptions options, const FerryFault *fault);
/* Hangs up, and waits for the end. */
void half_join(Half *h);
/* The engine ends by itself, while the peer's end stays open. */
void half_await_end(Half *h);
void half_clear(Half *h);
/* What there is by then. FALSE: nothing. */
gboolean half_hear(Half *h, uint64_t until_ns);
/* NULL too while nothing was heard: the array has no bytes to point at then. */
const uint8_t *half_find(const Half *h, guint from, const void *what, size_t size);
gboolean half_has(const Half *h, const char *what);
/* Whether this PING is in what was heard, and not behind what was found before. */
gboolean half_find_ping(Half *h, uint32_t value);
gboolean half_await_ping(Half *h, uint32_t value);
/* What a destination says. */
void half_say(Half *h, FerryReturnType type, uint32_t value);
/* Waits for the PING. */
void half_answer(Half *h, uint32_t ping, uint32_t pong);
/* Takes what the source says for a moment, and answers what a live destination answers. */
void half_play(Half *h);
/* By the peer, with the guest where it was. */
void half_expect_failed(Half *h, const char *why);

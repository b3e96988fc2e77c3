/* What the transport tests share: connected channels of each kind, and counting descriptors. */
#pragma once
#include "transport/transport.h"

#define MS ((uint64_t)1000 * 1000)
/* Long enough never to pass in a test that works. */
#define PATIENCE_NS (60 * 1000 * MS)

/* FERRY_NO_DEADLINE would hang a broken test; this ends it. */
uint64_t patience(void);
/* Is @kind ("uring", "poll", "pair") to be had on this host? */
gboolean kind_is_usable(const char *kind);
FerryTransportOptions options_for(const char *kind, FerryInterrupt *interrupt);
/* Two connected ends: over a socket pair with small buffers, or a pair with 64 KiB. */
void connected(const char *kind, FerryInterrupt *interrupt, FerryChannel **out_a,
               FerryChannel **out_b);
/* Takes @fd. */
FerryChannel *channel_of_fd(const char *kind, int fd, FerryInterrupt *interrupt);
FerryAddress parsed(const char *uri);
/* Writes until nothing more fits without waiting. */
void fill(FerryChannel *channel);
unsigned open_fds(void);
/* Repeatable random numbers. */
uint64_t next_random(uint64_t *state);

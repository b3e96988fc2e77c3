/* The connections of one incoming migration, told apart by their first bytes: main begins with the
 * stream's magic, multifd channels with a hello. They may come in any order; whoever says nothing,
 * or something else, costs one connection and keeps nobody waiting. */
#pragma once
#include "protocol/multifd.h"
#include "transport/transport.h"

G_BEGIN_DECLS

typedef struct {
    unsigned multifd_channels; /* 0: main alone */
    const uint8_t *uuid;       /* that hellos must carry (16 bytes); NULL: the first one's */
    uint64_t hello_ns;         /* for a connection to say what it is; 0 = 10 s */
    uint64_t complete_ns;      /* from the first connection that is kept until the set is complete;
                                * 0 = 30 s */
    /* Told of each connection that was dropped, and why; may be NULL. */
    void (*dropped)(void *self, const char *peer, const GError *why);
    void *dropped_self;
} FerryGatherOptions;

/* What was gathered. Owns the channels until they are stolen. */
typedef struct {
    FerryChannel *main;     /* its first bytes can be read again */
    FerryChannel **multifd; /* by id */
    unsigned n_multifd;
    uint8_t uuid[16];
} FerryGathering;

/* Waits for ever for the first connection that is kept, then as the options say. Media that give
 * one channel (fd, exec, file) are refused with multifd. Constant memory: at most 64 connections
 * are undecided, the one that has been silent longest goes first. Belongs to the calling thread;
 * ends at once when the listener's interrupt is raised. */
gboolean ferry_gather(FerryListener *listener, const FerryGatherOptions *options,
                      FerryGathering *out_gathering, GError **error);
void ferry_gathering_clear(FerryGathering *gathering);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryGathering, ferry_gathering_clear)

G_END_DECLS

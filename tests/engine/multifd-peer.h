/* The other end of a multifd sender, written by the wire's rules alone: a thread for each channel,
 * which stops at SYNC, and one for the main channel, which lets them go on. */
#pragma once
#include <pthread.h>
#include "engine/memory.h"
#include "protocol/multifd.h"
#include "transport/transport.h"

#define PEER_CHANNELS_MAX 16
#define PEER_PAGES_MAX 4096

typedef struct Peer Peer;
typedef struct {
    Peer *peer;
    pthread_t thread;
    FerryChannel *channel;
    unsigned id; /* that the hello must have */
    unsigned packets, syncs;
    gboolean stopped; /* at a SYNC */
    gboolean gone;
} PeerChannel;

struct Peer {
    FerryMemory *memory;
    FerryChannel *main;
    gboolean per_round, stop_after_first; /* channel 1 hangs up after its first packet */
    FerryMultifdMethod method;
    pthread_t thread;
    unsigned n_channels, n_connected;
    PeerChannel channels[PEER_CHANNELS_MAX];
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    gboolean over, at_end; /* main is done; it saw the END section */
    unsigned barriers, pages, zero_packet_pages, zero_records;
    gboolean seen[PEER_PAGES_MAX]; /* since the last barrier, all blocks one after another */
    char failure[200];             /* the first; "": none */
};

/* Borrows all. */
void peer_begin(Peer *peer, FerryMemory *memory, FerryChannel *main);
/* The connect of a FerrySourceOptions, with @self a Peer. */
FerryChannel *peer_connect(void *self, GError **error);
/* To be set before: an interrupt for the sender's ends. */
extern FerryInterrupt *peer_interrupt;
/* Waits for the threads, which end when the sender's ends are closed. */
void peer_end(Peer *peer);

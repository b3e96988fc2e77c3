/* A whole receive in memory: the bytes of a main channel and of multifd channels, all there from
 * the beginning and each ended behind its last, into a guest that is a stranger. */
#pragma once
#include "engine/destination.h"

#define RECEIVED_CHANNELS_MAX 4

typedef struct {
    const uint8_t *bytes;
    size_t length;
} ReceivedBytes;

typedef struct {
    ReceivedBytes main;
    ReceivedBytes channels[RECEIVED_CHANNELS_MAX]; /* behind their hellos */
    unsigned n_channels;
    unsigned page_bits; /* 0: 12 */
    gboolean description_optional, any_method;
    FerryMultifdMethod method;
    uint64_t max_ram_bytes;
} ReceivedInput;

typedef struct {
    gboolean ok;
    GError *error;     /* unless ok */
    char *ram;         /* when ok: a line "LENGTH SHA-256" per block */
    GByteArray *heard; /* what went back to the source */
} Received;

void receive_all(const ReceivedInput *input, Received *out);
/* The value of the one SHUT that went back; -1: there is none. Asserts that all of it are whole
 * messages and that nothing follows a SHUT. */
int received_shut(const Received *received);
void received_clear(Received *received);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Received, received_clear)

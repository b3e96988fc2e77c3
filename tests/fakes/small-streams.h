/* Small whole migrations as bytes, one for each way in which pages travel. */
#pragma once
#include "tests/fakes/received.h"

typedef struct {
    const char *name;
    GByteArray *main;
    GByteArray *channels[RECEIVED_CHANNELS_MAX];
    unsigned n_channels;
    FerryMultifdMethod method;
} Streams;

#define STREAMS_PAGE_BITS 10u /* small pages: more of a stream is headers */
enum { STREAMS_PLAIN, STREAMS_DELTA, STREAMS_MULTIFD, STREAMS_ZLIB, STREAMS_ZSTD, N_STREAMS };
Streams *streams_new(int which);
ReceivedInput streams_input(const Streams *streams);
void streams_free(Streams *streams);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Streams, streams_free)

/* A capture of a real source, decoded: the main channel, multifd channels whose barriers are
 * honoured, or a mapped-ram file. */
#pragma once
#include "protocol/decoder.h"
#include "protocol/description.h"
#include "protocol/multifd.h"

typedef struct {
    char *idstr;
    uint64_t used_length;
    uint8_t *bytes;
} CaptureBlock;

typedef struct {
    char *idstr;
    uint32_t section_id, instance_id, version_id;
    uint64_t length;
} CaptureDevice;

typedef struct {
    const GByteArray *bytes;
    size_t at;
} CaptureChannel;

typedef struct {
    GArray *blocks, *devices;
    GString *order; /* "START PART ... END", commands by number */
    FerryDescription *description;
    FerryConfiguration configuration;
    gint64 pages, zeros, deltas, compressed, rounds, lists, flushes;
    gint64 packets[64], normal_pages, zero_pages; /* on channels; packets by their flags */
    gint64 trailing;
    gboolean unpacked; /* nothing was packed by a library, so the blocks are right */

    GArray *channels;            /* CaptureChannel */
    const GByteArray *file;      /* what main is read from */
    gboolean started, per_round; /* where main waits for the channels' SYNC */
    GError *error;               /* the first thing that was wrong */
} Capture;

void capture_init(Capture *c);
/* @main: the main channel or the file. FALSE: c->error. */
gboolean capture_decode(Capture *c, const GByteArray *main);
void capture_clear(Capture *c);

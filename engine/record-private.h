/* One recording's hands: the dirty log, what it found, and the trace. The recording's thread only;
 * when is record.c's business. */
#pragma once
#include "engine/guest-private.h"
#include "engine/record.h"
#include "trace/class.h"
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    FerryGuest *guest;
    FerryDirtyLog *log;
    FerryBitmap *dirty; /* one for each block */
    unsigned n_blocks;
    GArray *runs; /* FerryTraceRun: what the last look found, over all blocks */
    uint64_t n_pages;
    uint64_t looked_ns; /* when that was: a frame ends there and the next one begins */
    ZSTD_CCtx *packer;  /* NULL: contents are not asked for */
    uint8_t *classes;   /* of those pages */
    uint64_t classes_room, classified;
    FerryTraceFile *file;
    FerryTraceWriter *writer; /* from begin on */
    /* Asked while contents are read: the rest is not known then. */
    gboolean (*hurry)(void *self);
    void *hurry_self;
} FerryRecordWork;

/* Takes @file. Nothing is watched yet. */
void ferry_record_work_init(FerryRecordWork *work, FerryGuest *guest, FerryTraceFile *file,
                            gboolean content);
/* Watches from looked_ns on, and writes the trace's beginning. Fills in @header: what is known of
 * the guest and of where this runs, if it is not there already. */
gboolean ferry_record_work_begin(FerryRecordWork *work, FerryTraceHeader *header, GError **error);
/* What was written since the last time; watched again from looked_ns on. */
gboolean ferry_record_work_look(FerryRecordWork *work, GError **error);
/* That as a frame; @frame has its times. */
gboolean ferry_record_work_write(FerryRecordWork *work, FerryTraceFrame *frame, GError **error);
/* The log is let go, also after a failure. */
void ferry_record_work_unwatch(FerryRecordWork *work);
/* Makes the file whole and gives it its name. */
gboolean ferry_record_work_end(FerryRecordWork *work, const FerryTraceTotals *totals,
                               GError **error);
void ferry_record_work_clear(FerryRecordWork *work);

/* What captures cost, to about 3 %. Zero-initialise it. */
typedef struct {
    uint64_t n, longest, counts[64 * 16];
} FerryRecordCosts;
void ferry_record_costs_add(FerryRecordCosts *costs, uint64_t ns);
uint64_t ferry_record_costs_median(const FerryRecordCosts *costs); /* 0: none */

G_END_DECLS

/* From one form of a trace to another: sources push frames into targets, filters are both.
 * Everything that is read may have been written by anybody: it is refused with its line, nothing is
 * asserted. */
#pragma once
#include "trace/text.h"
#include "trace/trace.h"

G_BEGIN_DECLS

/* begin once, with a header that stays until the end and gets the blocks that come; classes and
 * blocks as a FerryTraceWriter takes them; frames; end once, if nothing failed. */
typedef struct {
    gboolean (*begin)(void *self, const FerryTraceHeader *header, GError **error);
    gboolean (*classes)(void *self, uint64_t first, const uint8_t *classes, uint64_t n,
                        GError **error);
    gboolean (*add_blocks)(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error);
    /* All members are filled in. */
    gboolean (*frame)(void *self, const FerryTraceFrame *frame, GError **error);
    /* What the source knows of the capture; NULL: nothing. */
    gboolean (*end)(void *self, const FerryTraceTotals *totals, GError **error);
    void (*free)(void *self); /* may be NULL */
} FerryTraceTargetOps;
typedef struct {
    const FerryTraceTargetOps *ops;
    void *self;
} FerryTraceTarget;
void ferry_trace_target_clear(FerryTraceTarget *target);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryTraceTarget, ferry_trace_target_clear)

/* Targets. They borrow @sink's self. */
FerryTraceTarget ferry_export_pdt(const FerryTraceSink *sink);
FerryTraceTarget ferry_export_csv(const FerryTraceSink *sink);
FerryTraceTarget ferry_export_json(const FerryTraceSink *sink);
/* NULL ops: this was built without it. */
FerryTraceTarget ferry_export_roaring(const FerryTraceSink *sink);

/* Only frames that lie between from and until, times from the first one's beginning; frames are put
 * together until they are as long as interval. Takes @next. */
typedef struct {
    uint64_t from_ns, until_ns, interval_ns; /* 0, UINT64_MAX, 0: as they come */
} FerryTraceCut;
FerryTraceTarget ferry_trace_filter(const FerryTraceCut *cut, FerryTraceTarget next);

/* Sources. */
typedef struct {
    const char *name;   /* of what is read, for messages and provenance */
    uint64_t ram_bytes; /* 0: as much as is seen */
    uint64_t seed;      /* of pages that are made up */
} FerryImportOptions;
/* TRUE with *out_damage: what comes before it was taken. */
gboolean ferry_import_pdt(FerryTraceReader *reader, const FerryTraceTarget *to, GError **out_damage,
                          GError **error);
/* t_ms,block,first_page,n: pages that were written between the time before and this one. */
gboolean ferry_import_csv(const FerryTraceText *text, const FerryImportOptions *options,
                          const FerryTraceTarget *to, GError **error);
/* Samples of a process's soft-dirty or write-protected pages, by address. */
gboolean ferry_import_criu(const FerryTraceText *text, const FerryImportOptions *options,
                           const FerryTraceTarget *to, GError **error);
/* Answers to query-migrate: rates only, so the pages are made up, evenly over all RAM. */
gboolean ferry_import_qmp(const FerryTraceText *text, const FerryImportOptions *options,
                          const FerryTraceTarget *to, GError **error);

G_END_DECLS

/* What importers share: pages as they come, gathered to frames. */
#pragma once
#include "trace/convert.h"

G_BEGIN_DECLS

typedef struct {
    const FerryTraceTarget *to;
    uint64_t number, now_ns;
    GArray *runs; /* FerryTraceRun, as they come */
} FerryImportFrames;

void ferry_import_frames_init(FerryImportFrames *frames, const FerryTraceTarget *to);
void ferry_import_frames_clear(FerryImportFrames *frames);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryImportFrames, ferry_import_frames_clear)
/* In any order, over one another too. */
void ferry_import_frames_add(FerryImportFrames *frames, uint64_t first, uint64_t n);
/* What was added was written between the frame before and @end_ns; no earlier than that. */
gboolean ferry_import_frames_end(FerryImportFrames *frames, uint64_t end_ns, GError **error);
/* FerryTraceRun, in any order: ascending and apart. */
void ferry_import_runs_tidy(GArray *runs);
/* "imported from NAME" with @more behind it. */
void ferry_import_describe(FerryTraceHeader *header, const FerryImportOptions *options,
                           const char *more);

G_END_DECLS

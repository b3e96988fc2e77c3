/* ferry record's loop: frames in time, from a source into a file. */
#pragma once
#include "tools/record.h"

G_BEGIN_DECLS

/* Blocks until the source ends, the duration is over or a signal comes, then prints what was
 * recorded. FALSE: nothing, or the trace is not complete. */
gboolean ferry_record_run(const FerryRecordOps *ops, FerryRecordOptions *options, GError **error);

G_END_DECLS

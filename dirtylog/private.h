/* What the logs of this room know of the wrapper around them. Not for other rooms. */
#pragma once
#include "dirtylog/dirtylog.h"

/* Borrowed. */
void *ferry_dirty_log_get_self(const FerryDirtyLog *log);
const FerryDirtyLogOps *ferry_dirty_log_get_ops(const FerryDirtyLog *log);
/* For a log that can work in two ways. Before start. */
void ferry_dirty_log_set_ops(FerryDirtyLog *log, const FerryDirtyLogOps *ops);

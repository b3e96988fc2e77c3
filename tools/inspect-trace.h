/* ferry inspect of a page dirty trace. */
#pragma once
#include "tools/verb.h"

G_BEGIN_DECLS

/* Whether @path is a regular file that begins as one. */
gboolean ferry_inspect_is_trace(const char *path);
/* Reads all of it, prints what is in it. */
FerryExit ferry_inspect_trace(const char *path, gboolean json);

G_END_DECLS

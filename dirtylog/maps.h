/* /proc/PID/maps, a line at a time. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    uint64_t start, end;
    gboolean writable, executable, shared;
    const char *name; /* "" for anonymous memory; inside the line, and not its end */
    gsize name_bytes;
} FerryMapping;

/* Reads the line at *@at and moves it on. FALSE: the text has ended, or is no such line. */
gboolean ferry_maps_next(const char **at, FerryMapping *out);

/* Memory that a program writes, as opposed to devices, the kernel's own pages and what is only
 * read: what can be recorded. */
gboolean ferry_maps_is_memory(const FerryMapping *mapping);

G_END_DECLS

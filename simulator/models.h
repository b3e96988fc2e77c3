/* Models of guests by name: what docs/workloads.md lists. Pure. */
#pragma once
#include "simulator/workload.h"

G_BEGIN_DECLS

typedef struct {
    const char *name, *keys, *what; /* keys: with their defaults, where those are numbers */
} FerryModel;
const FerryModel *ferry_model_nth(unsigned i); /* NULL: there are no more */
/* "NAME[,key=value...]" in a guest of @ram_bytes. Each takes zero=, wire= and packed=PERMILLE too
 * (FerryPageGroup). FALSE: the error names model, key and value. */
gboolean ferry_model_parse(const char *text, uint64_t ram_bytes, FerryWorkload *out,
                           GError **error);

G_END_DECLS

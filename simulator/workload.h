/* How a guest writes its memory, as a model: groups of pages, the pages of one being alike. Pure.
 */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_WORKLOAD_GROUPS 64
#define FERRY_WORKLOAD_PAGE 4096u

typedef struct {
    uint64_t pages;
    double writes_per_second; /* of the whole group, while nothing slows the guest */
    gboolean sweep;           /* one page after the other; else each write goes anywhere in it */
    unsigned wire_permille;   /* wire bytes per guest byte; 0: 1000, as they are */
    unsigned zero_permille;   /* of its pages are zeros until they are written */
} FerryPageGroup;

/* The groups lie in memory one behind the other, from page 0 on; together they are all of it. */
typedef struct {
    unsigned n_groups;
    FerryPageGroup groups[FERRY_WORKLOAD_GROUPS];
    /* The pages of the first @scattered groups lie mixed, each at a place of its own. Not with
     * sweeps. */
    unsigned scattered;
} FerryWorkload;

uint64_t ferry_workload_pages(const FerryWorkload *workload);
/* Expected distinct pages written within @seconds. */
double ferry_workload_written(const FerryWorkload *workload, double seconds);
/* "NAME[,key=value...]" as ferry-vm's -workload has it, in a guest of @ram_bytes: uniform,
 * hot-cold, sweep, zipf, idle; size, hot (bytes, with K, M, G), rate (pages/s), share (percent of
 * the writes that go to the hot part); seed and fill are taken and mean nothing here. zero=PERMILLE
 * and wire=PERMILLE are the model's own, of all memory. A rate of 0 is refused: a model cannot
 * write as fast as it can. FALSE: *out_why, static. */
gboolean ferry_workload_parse(const char *text, uint64_t ram_bytes, FerryWorkload *out,
                              const char **out_why);

G_END_DECLS

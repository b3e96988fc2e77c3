/* How a guest writes its memory, as a model: groups of pages, the pages of one being alike. Pure.
 */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_SIM_ERROR (ferry_sim_error_quark())
GQuark ferry_sim_error_quark(void);
typedef enum {
    FERRY_SIM_ERROR_VALUE, /* nothing can be simulated with it */
} FerrySimError;
#define FERRY_SIM_PAGES_MAX (UINT64_C(1) << 30)
/* FALSE: a guest of so many pages is none, or too large for this host. */
gboolean ferry_sim_pages_check(uint64_t pages, GError **error);

#define FERRY_WORKLOAD_GROUPS 64
#define FERRY_WORKLOAD_PAGE 4096u

/* How much faster or slower than usual some pages are written, over and over again. */
#define FERRY_RHYTHM_STEPS 16
typedef struct {
    unsigned n_steps;
    struct {
        uint64_t ns; /* > 0 */
        unsigned permille;
    } steps[FERRY_RHYTHM_STEPS];
} FerryRhythm;

typedef struct {
    uint64_t pages;
    double writes_per_second; /* of the whole group, while nothing slows the guest */
    gboolean sweep;           /* one page after the other; else each write goes anywhere in it */
    gboolean once;            /* a sweep that ends with the last page */
    unsigned wire_permille;   /* wire bytes per guest byte; 0: 1000, as they are */
    unsigned packed_permille; /* the same where something packs them; 0: not known */
    unsigned zero_permille;   /* of its pages are zeros until they are written */
    unsigned rhythm;          /* 0: none, the rate is steady; else 1 + its index */
} FerryPageGroup;

/* The groups lie in memory one behind the other, from page 0 on; together they are all of it. */
#define FERRY_WORKLOAD_RHYTHMS 4
typedef struct {
    unsigned n_groups;
    FerryPageGroup groups[FERRY_WORKLOAD_GROUPS];
    /* The pages of the first @scattered groups lie mixed, each at a place of its own. Not with
     * sweeps. */
    unsigned scattered;
    FerryRhythm rhythms[FERRY_WORKLOAD_RHYTHMS]; /* they begin somewhere, the seed says where */
} FerryWorkload;

uint64_t ferry_workload_pages(const FerryWorkload *workload);
uint64_t ferry_rhythm_ns(const FerryRhythm *rhythm); /* of one turn */
/* How long a steady group takes for what one with this rhythm writes in @ns; NULL: none. */
double ferry_rhythm_time(const FerryRhythm *rhythm, double ns);
const FerryRhythm *ferry_workload_rhythm(const FerryWorkload *workload,
                                         unsigned group); /* or NULL */
/* Writes per second of a group, over all its rhythm. */
double ferry_workload_mean_rate(const FerryWorkload *workload, unsigned group);
/* Expected distinct pages written within @seconds. */
double ferry_workload_written(const FerryWorkload *workload, double seconds);
/* Digits and at most one of K, M, G. */
gboolean ferry_size_parse(const char *text, gsize length, uint64_t *out);
/* "NAME[,key=value...]" as ferry-vm's -workload has it, in a guest of @ram_bytes: uniform,
 * hot-cold, sweep, zipf, idle; size, hot (bytes, with K, M, G), rate (pages/s), share (percent of
 * the writes that go to the hot part); seed and fill are taken and mean nothing here. zero=, wire=
 * and packed=PERMILLE are the model's own, of all memory. A rate of 0 is refused: a model cannot
 * write as fast as it can. FALSE: *out_why, static. */
gboolean ferry_workload_parse(const char *text, uint64_t ram_bytes, FerryWorkload *out,
                              const char **out_why);

G_END_DECLS

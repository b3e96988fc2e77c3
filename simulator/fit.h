/* A model of a guest from what was seen of its writes, and what the model says about limits. Pure.
 */
#pragma once
#include "simulator/workload.h"

G_BEGIN_DECLS

/* Distinct pages written within growing windows that have one beginning. */
#define FERRY_CURVE_WINDOWS 16
typedef struct {
    unsigned n_windows;
    struct {
        double seconds, pages;
    } windows[FERRY_CURVE_WINDOWS]; /* both rise */
} FerryWriteCurve;

typedef struct {
    uint64_t ram_pages, zero_pages;
    unsigned wire_permille; /* of pages that are no zeros; 0: 1000 */
    unsigned n_curves;
    FerryWriteCurve curves[16]; /* of as many measurements */
} FerryObserved;

/* Makes every curve rise and ends it at ram_pages: what is measured may have slipped. */
void ferry_observed_tidy(FerryObserved *observed);
/* A mixture of memoryless writers, the likeliest one. What the windows leave open (how often those
 * pages are written that were seen in the first one, how many are written more seldom than the
 * last one shows) differs from @seed to @seed, and so does the chance in what was counted. Seed 0:
 * all measurements together, as they are. At least one curve with a window is needed. */
void ferry_fit_workload(const FerryObserved *observed, uint64_t seed, FerryWorkload *out);

/* Pages that no order of sending keeps clean at @pages_per_second, however long it takes, the
 * guest at @speed (1: full). */
double ferry_workload_floor_pages(const FerryWorkload *workload, double pages_per_second,
                                  double speed);

G_END_DECLS

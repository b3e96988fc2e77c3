/* A guest's pages as a few groups, each of equal write rate, fitted to what was seen. Pure.
 *
 * A page that is written at rate r has hits and exposure with likelihood r^hits e^(-r seconds): a
 * clean page counts for as long as it is clean. The population's rates are the mixture that makes
 * what was seen of all pages likeliest (Kiefer and Wolfowitz); groups are added where the
 * likelihood rises most (vertex direction), fitted by EM, and kept while they explain more than
 * chance would. One group is left over for pages that are never written. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

/* Pages that were alike: each found written @hits times in @seconds of exposure. */
typedef struct {
    double pages, seconds;
    unsigned hits;
} FerryMixtureCell;

#define FERRY_MIXTURE_MAX 9
/* Group 0 is the one that is never written; the others are not in order. */
typedef struct {
    unsigned n;
    double rate[FERRY_MIXTURE_MAX];  /* writes of one page per second */
    double share[FERRY_MIXTURE_MAX]; /* of all pages */
} FerryMixture;

/* At least one cell with pages in it. */
FerryMixture ferry_mixture_fit(const FerryMixtureCell *cells, unsigned n_cells);
/* How likely a page of @cell belongs to each group. */
void ferry_mixture_judge(const FerryMixture *mixture, const FerryMixtureCell *cell,
                         double out_share[static FERRY_MIXTURE_MAX]);

G_END_DECLS

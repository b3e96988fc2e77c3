/* A heat's inside: heat.c learns, heat-census.c counts. */
#pragma once
#include "engine/precopy/heat.h"
#include "engine/precopy/mixture.h"

/* What a page's since may be besides a tick. */
#define UNTOUCHED 0u /* never found written: exposed since watching began */
#define WAITING 1u   /* found written and not sent since: nothing more can be learnt */
#define FIRST_TICK 2u
#define CODES 256u /* of seconds of exposure */
#define HITS_MAX 15u
#define STRIPE 64u
#define CHUNK_PAGES 4096u

typedef struct {
    unsigned since : 13; /* a tick, or one of the above */
    unsigned heat : 6;   /* the class */
    unsigned hits : 4;
    unsigned forgot : 1;   /* what is counted begins with some hit, not when it was first exposed */
    unsigned exposure : 8; /* until the last hit, or what was added up since: a code */
} Page;

/* Where adding up exposures is: it goes over all memory, a chunk at a time, again and again. */
typedef struct {
    uint64_t begin_ns; /* of this time over */
    uint64_t done, total;
    unsigned block; /* the next one */
    uint64_t chunk;
} FerryFold;

/* First writes since watching began, by how long that took. What is sent again, and learnt about
 * again, is no fair sample of all pages: cold ones come first, and neighbours are alike. This is.
 */
typedef struct {
    double pages[CODES], seconds[CODES];
    gboolean partial; /* not of all pages */
} FerryFirsts;

/* What the last census expects of pages that were clean then, a second, by their class; of those
 * never found written in the last place. And what came. */
#define UNSEEN FERRY_HEAT_CLASSES
typedef struct {
    double expected[FERRY_HEAT_CLASSES + 1];
    uint64_t came[FERRY_HEAT_CLASSES + 1];
    double seconds;    /* until the next census, about */
    unsigned wrong;    /* censuses in a row that were */
    uint64_t right_ns; /* the one before those */
} FerryForetold;

struct FerryHeat {
    unsigned n_blocks;
    uint64_t *block_pages;
    uint64_t total_pages, touched_chunks;
    Page **pages;
    uint8_t **touched; /* per block and chunk: not all pages of it are untouched */
    uint64_t watched_ns, last_ns, counted_ns;
    FerryFold fold;
    FerryFirsts firsts;
    uint64_t censuses;
    FerryCensus census;
    FerryForetold foretold;
    double seconds[CODES], per_width[CODES]; /* the latter: 1 / (the next one - this) */
    /* What the last census says of a page with so many hits in so much time: how likely one is, and
     * that times its expected rate, and times the octaves of the rate above the coldest. */
    double likely[HITS_MAX + 1][CODES], rate[HITS_MAX + 1][CODES], octaves[HITS_MAX + 1][CODES];
};

/* What is known of a page: @hits in @seconds. */
typedef struct {
    unsigned hits;
    double seconds;
} Evidence;

static inline double ferry_heat_seconds(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

/* Time has come to @now_ns. */
void ferry_heat_advance(FerryHeat *heat, uint64_t now_ns);
Evidence ferry_heat_evidence(const FerryHeat *heat, Page page, uint64_t now_ns);
/* @dither, any number, decides how it is rounded: right in the mean. */
unsigned ferry_heat_encode(const FerryHeat *heat, double seconds, uint64_t dither);
/* The guest does something else since @since_ns: what was learnt before counts no more, but for hot
 * pages that wait, of which nothing else is known. */
void ferry_heat_forget(FerryHeat *heat, uint64_t since_ns);
unsigned ferry_heat_class_of(double rate);
/* The class of a page that was found written, in a stripe with that many writes of one page per
 * second. */
unsigned ferry_heat_judge(const FerryHeat *heat, Page page, double stripe_rate);
/* Pages are judged by @mixture from now on. */
void ferry_heat_learn_groups(FerryHeat *heat, const FerryMixture *mixture);

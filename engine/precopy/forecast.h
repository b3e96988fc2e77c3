/* How a migration will go, from what was learnt about the guest's writes. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* Pages by how often they are written: classes of half an octave of the mean time between two
 * writes of the same page, class 0 the coldest. */
#define FERRY_HEAT_CLASSES 48
#define FERRY_HEAT_COLDEST_NS (1ull << 36) /* 69 s: class 0 and colder, or never seen written */
typedef struct {
    uint64_t pages[FERRY_HEAT_CLASSES];
    double writes_per_second[FERRY_HEAT_CLASSES]; /* of one page of the class, the mean */
    uint64_t waiting[FERRY_HEAT_CLASSES];         /* of pages: found written, not sent since */
    uint64_t unwritten[FERRY_HEAT_CLASSES]; /* of pages: not found written so far, but expected */
    uint64_t never;                         /* pages that are not written, in no class */
    /* How well it is known: 0 = no write seen yet, 1000 = as well as it gets; what is written at a
     * class's rate, and all of it. Above 800 numbers of pages are right to about a tenth. */
    unsigned known_permille_of[FERRY_HEAT_CLASSES];
    unsigned known_permille;
    double hits, watched_seconds; /* writes found that still count; for how long, guest at speed */
} FerryCensus;

typedef enum {
    FERRY_OUTLOOK_UNKNOWN, /* not enough seen yet */
    FERRY_OUTLOOK_MEETS,   /* the downtime limit will be met */
    FERRY_OUTLOOK_STALLS,  /* it cannot be met at these write rates by any order of sending */
    FERRY_N_OUTLOOKS
} FerryOutlook;
/* "unknown", "meets", "stalls". */
const char *ferry_outlook_name(FerryOutlook outlook);

/* What the forecast is made from. */
typedef struct {
    uint64_t pending_pages;           /* to be sent now */
    uint64_t unsent_pages;            /* of those: never sent so far */
    uint64_t capped_bytes_per_second; /* FerryRound's */
    uint64_t uncapped_bytes_per_second;
    uint64_t wire_permille;        /* of pages sent again */
    uint64_t unsent_wire_permille; /* of those never sent: zeros and text may cost little */
    uint64_t fixed_ns, margin_ns;
    uint64_t rate_permille_p5; /* FerryRound's; 0: as 1000 */
    uint64_t downtime_limit_ns;
    unsigned throttle_percent; /* as it is now; the census is of the guest at full speed */
} FerryForecastInput;

/* Outlook, finish and downtime are those at the throttle of now; the rest is of the guest at full
 * speed. */
typedef struct {
    FerryOutlook outlook;
    unsigned throttle_percent; /* the least that lets the limit be met; 0 = none needed, 100 = even
                                * 99 is too little */
    uint64_t finish_ns;        /* from now until the pause; UINT64_MAX: never, or not known */
    uint64_t downtime_ns; /* then; when it stalls, the shortest possible; UINT64_MAX: not known */
    uint64_t floor_ns;    /* the shortest downtime that these write rates and this link allow,
                           * unthrottled, however long it takes */
    uint64_t floor_pages; /* that stay dirty then: reliability of it is census.known_permille */
    uint64_t needed_bytes_per_second; /* link rate, at which the limit could be met unthrottled;
                                       * UINT64_MAX: none, the fixed parts alone exceed it */
} FerryForecast;

/* Pages that no order of sending keeps clean at @pages_per_second, memoryless writes: the hottest
 * ones, beyond those whose writes together the link can repair. @speed: of the guest, 1 = full. */
double ferry_forecast_floor_pages(const FerryCensus *census, double pages_per_second, double speed);
FerryForecast ferry_forecast(const FerryCensus *census, const FerryForecastInput *input);

G_END_DECLS

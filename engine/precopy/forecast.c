/* Fluid: pages of a group are written as their mean says, and the link serves the coldest first.
 * Numbers of pages are in pages that are sent again; others count by their bytes on the wire. */
#include "engine/precopy/forecast.h"
#include "engine/precopy/exponential.h"

#define PAGE_BYTES 4096.0
#define SAFETY 0.9         /* of the speed that would be just slow enough: rates are estimates */
#define SPEED_MIN 0.01     /* of a guest at 99 % throttle */
#define HALVINGS 24u       /* of an interval, until it is narrow enough */
#define LOOKS 8u           /* into a stage, for when enough is sent */
#define STAGE_E_FOLDS 12.0 /* of a stage that never ends: then it is as good as over */
#define WRITES_UNSEEN 5.0  /* that may have been possible where none was found */
#define DEVIATIONS 3.0     /* of the number of writes found: by so much the guest may be worse */
#define PASS_DOUBT 0.35    /* at the very start: groups may turn out to be less alike */
#define LOOK_NS_MIN 10000000.0 /* between two looks at what is left, the policy's */
#define LOOK_NS_MAX 100000000.0
#define LOOKS_PER_LIMIT 8

typedef struct {
    double pages, rate;
    double unseen;  /* not found written and never sent: these come first */
    double waiting; /* found written, to be sent again */
} Group;

typedef struct {
    unsigned n;
    Group group[FERRY_HEAT_CLASSES + 1]; /* coldest first; [0] is never written */
    double link;                         /* pages per second, while the guest runs */
    double unseen_cost;                  /* of a page that was never sent */
    double pass; /* seconds until what is unseen was sent, or found written meanwhile */
} Plan;

const char *ferry_outlook_name(FerryOutlook outlook)
{
    static const char *const names[FERRY_N_OUTLOOKS] = {
        [FERRY_OUTLOOK_UNKNOWN] = "unknown",
        [FERRY_OUTLOOK_MEETS] = "meets",
        [FERRY_OUTLOOK_STALLS] = "stalls",
    };
    return outlook < FERRY_N_OUTLOOKS ? names[outlook] : "unknown";
}

double ferry_forecast_floor_pages(const FerryCensus *census, double pages_per_second, double speed)
{
    double left = pages_per_second, dirty = 0;

    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) { /* coldest first */
        double rate = census->writes_per_second[i] * speed, pages = (double)census->pages[i];
        double kept = rate > 0 ? MIN(pages, left / rate) : pages;
        left -= kept * rate;
        dirty += pages - kept;
    }
    return dirty;
}

static double page_bytes(const FerryForecastInput *in)
{
    return MAX(PAGE_BYTES * (double)in->wire_permille / 1000, 1);
}

/* Pages per second. */
static double link_rate(const FerryForecastInput *in, double bytes_per_second)
{
    return bytes_per_second / page_bytes(in);
}

static double capped(const FerryForecastInput *in)
{
    return link_rate(in, (double)(in->capped_bytes_per_second ? in->capped_bytes_per_second
                                                              : in->uncapped_bytes_per_second));
}

static uint64_t besides_pages_ns(const FerryForecastInput *in)
{
    return in->fixed_ns + MIN(in->margin_ns, UINT64_MAX - in->fixed_ns);
}

/* How many pages may be left for the last copy at that rate. */
static double pages_that_fit(const FerryForecastInput *in, double bytes_per_second)
{
    uint64_t fixed = besides_pages_ns(in);
    double p5 = in->rate_permille_p5 ? (double)in->rate_permille_p5 / 1000 : 1;

    if (fixed >= in->downtime_limit_ns) {
        return 0;
    }
    return link_rate(in, bytes_per_second) * p5 * (double)(in->downtime_limit_ns - fixed) * 1e-9;
}

static uint64_t nanoseconds(double seconds)
{
    return seconds < 1e9 ? (uint64_t)(seconds * 1e9 + 0.5) : UINT64_MAX;
}

static uint64_t downtime_ns(const FerryForecastInput *in, double pages)
{
    uint64_t ns = nanoseconds(pages / link_rate(in, (double)in->uncapped_bytes_per_second));

    return ns < UINT64_MAX - in->fixed_ns ? ns + in->fixed_ns : UINT64_MAX;
}

/* What is pending is shared out: what waits, then by what is likely of pages that look the same. */
static Plan make_plan(const FerryCensus *census, const FerryForecastInput *in, double speed)
{
    Plan p = {.n = 1, .link = capped(in)};
    double waiting = 0, unwritten = (double)census->never, left, scale;

    p.unseen_cost = MAX((double)in->unsent_wire_permille, 1) / MAX((double)in->wire_permille, 1);
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        waiting += (double)census->waiting[i];
        unwritten += (double)census->unwritten[i];
    }
    left = MAX((double)in->pending_pages - waiting, 0);
    left = MIN(left, (double)in->unsent_pages);
    scale = unwritten > 0 ? MIN(left / unwritten, 1) : 0;
    p.group[0] = (Group){.pages = (double)census->never, .unseen = (double)census->never * scale};
    double more = waiting > 0 ? MAX((double)in->pending_pages - left, 0) / waiting : 1;
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        if (census->pages[i] > 0 && census->writes_per_second[i] > 0) {
            Group *g = &p.group[p.n++];
            *g = (Group){.pages = (double)census->pages[i],
                         .rate = census->writes_per_second[i] * speed};
            g->unseen = (double)census->unwritten[i] * scale;
            g->waiting = MIN((double)census->waiting[i] * more, g->pages - g->unseen);
        }
    }
    for (unsigned round = 0; round < 4; round++) { /* the longer it takes, the fewer are left */
        double sent = 0;
        for (unsigned i = 0; i < p.n; i++) {
            double x = p.group[i].rate * p.pass;
            sent += p.group[i].unseen * (x > 1e-6 ? (1 - ferry_exp(-x)) / x : 1);
        }
        p.pass = sent * p.unseen_cost / p.link;
    }
    return p;
}

/* What is left to send @t seconds into the pass over what is unseen. What is found written
 * meanwhile waits until the pass is over. */
static double left_in_pass(const Plan *p, double t)
{
    double done = p->pass > 0 ? MIN(t / p->pass, 1) : 1, left = 0;

    for (unsigned i = 0; i < p->n; i++) {
        const Group *g = &p->group[i];
        double still = ferry_exp(-g->rate * t), unseen = g->unseen * (1 - done) * still;
        double clean = (g->pages - g->waiting - g->unseen * (1 - done)) * still;
        left += MAX(g->pages - clean - unseen, 0) + unseen * p->unseen_cost;
    }
    return left;
}

static void end_pass(Plan *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        Group *g = &p->group[i];
        g->waiting = g->pages - (g->pages - g->waiting) * ferry_exp(-g->rate * p->pass);
        g->unseen = 0;
    }
}

/* A stage: groups colder than @k are kept clean, what @link is left serves k; the hotter wait. */
static double waiting_at(const Plan *p, unsigned k, double link, unsigned i, double t)
{
    const Group *g = &p->group[i];
    double rest = i == k ? g->pages - link / g->rate : g->pages; /* in the long run */

    return MAX(rest + (g->waiting - rest) * ferry_exp(-g->rate * t), 0);
}

static double left_in_stage(const Plan *p, unsigned k, double link, double t)
{
    double left = 0;

    for (unsigned i = k; i < p->n; i++) {
        left += waiting_at(p, k, link, i, t);
    }
    return left;
}

static double stage_length(const Plan *p, unsigned k, double link)
{
    const Group *g = &p->group[k];
    double rest = g->pages - link / g->rate;

    if (rest < 0) {
        double folds = ferry_log((g->waiting - rest) / -rest);
        return MIN(folds, STAGE_E_FOLDS) / g->rate;
    }
    return STAGE_E_FOLDS / g->rate;
}

/* @k 0 is the pass. */
static double left_at(const Plan *p, unsigned k, double link, double t)
{
    return k == 0 ? left_in_pass(p, t) : left_in_stage(p, k, link, t);
}

/* When within a stage no more than @fits is left; negative: not in this one. */
static double moment_in_stage(const Plan *p, unsigned k, double link, double length, double fits)
{
    double before = 0;

    for (unsigned look = 0; look <= LOOKS; look++) {
        double t = length * look / LOOKS;
        if (left_at(p, k, link, t) <= fits) {
            for (unsigned i = 0; i < HALVINGS; i++) {
                double middle = (before + t) / 2;
                *(left_at(p, k, link, middle) <= fits ? &t : &before) = middle;
            }
            return t;
        }
        before = t;
    }
    return -1;
}

/* Seconds until no more than @fits is left; negative: never. What is left one look later. */
static double find_moment(Plan *p, double fits, double look, double *out_left)
{
    double passed = 0, link = p->link, length = p->pass;

    for (unsigned k = 0; k < p->n && length >= 0; k++) {
        if (k > 0) {
            if (link <= 0) {
                return -1;
            }
            length = stage_length(p, k, link);
        }
        double moment = moment_in_stage(p, k, link, length, fits);
        if (moment >= 0) {
            double later = moment + look < length ? moment + look : length;
            *out_left = MIN(fits, left_at(p, k, link, MAX(later, moment)));
            return passed + moment;
        }
        passed += length;
        if (k == 0) {
            end_pass(p);
            continue;
        }
        for (unsigned i = p->n; i-- > k;) { /* k last: the others do not depend on it */
            p->group[i].waiting = waiting_at(p, k, link, i, length);
        }
        link -= p->group[k].pages * p->group[k].rate;
    }
    return -1;
}

/* How far the hottest @floor pages are known; less so while much was never sent. */
static double trust_in(const FerryCensus *census, const FerryForecastInput *in, double floor)
{
    double all = (double)census->never, hottest = 0, known = 0;

    for (unsigned i = FERRY_HEAT_CLASSES; i-- > 0;) {
        double part = CLAMP(floor - hottest, 0, (double)census->pages[i]);
        known += part * census->known_permille_of[i] / 1000;
        hottest += part;
        all += (double)census->pages[i];
    }
    double unsent = all > 0 ? MIN((double)in->unsent_pages / all, 1) : 0;
    return (hottest > 0 ? known / hottest : 1) * (1 - PASS_DOUBT * unsent * unsent);
}

/* What the guest may be like at best and at worst, as far as it is known. */
static FerryOutlook look(const FerryCensus *census, const FerryForecastInput *in, double speed,
                         double fits)
{
    double link = capped(in);

    if (census->hits < 1) {
        return census->watched_seconds * link > 2 * WRITES_UNSEEN ? FERRY_OUTLOOK_MEETS
                                                                  : FERRY_OUTLOOK_UNKNOWN;
    }
    double chance = DEVIATIONS * ferry_exp(-ferry_log(census->hits) / 2);
    double floor = ferry_forecast_floor_pages(census, link, speed);
    double trust = trust_in(census, in, floor);
    if (ferry_forecast_floor_pages(census, link * (1 + chance), speed) * trust > fits) {
        return FERRY_OUTLOOK_STALLS;
    }
    double worst = ferry_forecast_floor_pages(census, link / (1 + chance), speed);
    return worst <= fits * trust ? FERRY_OUTLOOK_MEETS : FERRY_OUTLOOK_UNKNOWN;
}

/* The least throttle that brings the floor to what fits. */
static unsigned throttle(const FerryCensus *census, const FerryForecastInput *in, double fits)
{
    double link = capped(in), slow = SPEED_MIN, fast = 1;

    if (ferry_forecast_floor_pages(census, link, 1) <= fits) {
        return 0;
    }
    if (ferry_forecast_floor_pages(census, link, SPEED_MIN) > fits) {
        return 100;
    }
    for (unsigned i = 0; i < HALVINGS; i++) {
        double middle = (slow + fast) / 2;
        *(ferry_forecast_floor_pages(census, link, middle) <= fits ? &slow : &fast) = middle;
    }
    unsigned percent = 100 - (unsigned)(100 * MAX(slow * SAFETY, SPEED_MIN));
    return CLAMP(percent, 1, 99);
}

/* The slowest link, capped and uncapped alike, on which the floor fits. */
static uint64_t needed_rate(const FerryCensus *census, const FerryForecastInput *in)
{
    double slow = 0, fast = 1e6;

    if (pages_that_fit(in, 1e9) <= 0) {
        return UINT64_MAX;
    }
    while (fast < 1e15 &&
           ferry_forecast_floor_pages(census, link_rate(in, fast), 1) > pages_that_fit(in, fast)) {
        fast *= 2;
    }
    if (fast >= 1e15) {
        return UINT64_MAX;
    }
    for (unsigned i = 0; i < HALVINGS; i++) {
        double middle = (slow + fast) / 2;
        gboolean enough = ferry_forecast_floor_pages(census, link_rate(in, middle), 1) <=
                          pages_that_fit(in, middle);
        *(enough ? &fast : &slow) = middle;
    }
    return (uint64_t)fast;
}

FerryForecast ferry_forecast(const FerryCensus *census, const FerryForecastInput *in)
{
    FerryForecast f = {.finish_ns = UINT64_MAX,
                       .downtime_ns = UINT64_MAX,
                       .floor_ns = UINT64_MAX,
                       .needed_bytes_per_second = UINT64_MAX};
    double speed = 1 - MIN(in->throttle_percent, 99u) / 100.0;

    if (in->uncapped_bytes_per_second == 0) {
        return f;
    }
    double fits = pages_that_fit(in, (double)in->uncapped_bytes_per_second);
    double floor = ferry_forecast_floor_pages(census, capped(in), 1), left = 0;
    f.floor_pages = (uint64_t)(floor + 0.5);
    f.floor_ns = downtime_ns(in, floor);
    f.throttle_percent = throttle(census, in, fits);
    f.needed_bytes_per_second = needed_rate(census, in);
    f.outlook = besides_pages_ns(in) > in->downtime_limit_ns ? FERRY_OUTLOOK_STALLS
                                                             : look(census, in, speed, fits);
    Plan plan = make_plan(census, in, speed);
    double look_ns =
        CLAMP((double)in->downtime_limit_ns / LOOKS_PER_LIMIT, LOOK_NS_MIN, LOOK_NS_MAX) / 2;
    double seconds = find_moment(&plan, fits, look_ns * 1e-9, &left);
    if (f.outlook == FERRY_OUTLOOK_STALLS) {
        f.downtime_ns = downtime_ns(in, ferry_forecast_floor_pages(census, capped(in), speed));
    } else if (f.outlook == FERRY_OUTLOOK_MEETS && seconds >= 0) {
        f.finish_ns = nanoseconds(seconds);
        f.downtime_ns = downtime_ns(in, left);
    }
    return f;
}

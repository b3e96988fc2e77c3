#include "simulator/workload.h"
#include <string.h>
#include "simulator/random.h"

/* Not G_DEFINE_QUARK: its static variable is a data race between two threads' first errors. */
GQuark ferry_sim_error_quark(void) { return g_quark_from_static_string("ferry-sim-error-quark"); }

#define BYTES_PER_PAGE 8 /* that all that is known of a page takes at most */
gboolean ferry_sim_pages_check(uint64_t pages, GError **error)
{
    /* Nothing is touched: whether there would be room is asked, for later nobody can say no. */
    gboolean fits = pages > 0 && pages <= FERRY_SIM_PAGES_MAX;
    gpointer room = fits ? g_try_malloc0_n(pages, BYTES_PER_PAGE) : NULL;

    if (!room) {
        g_set_error(error, FERRY_SIM_ERROR, FERRY_SIM_ERROR_VALUE,
                    "a guest of %" G_GUINT64_FORMAT " pages %s", pages,
                    pages == 0 ? "has nothing to migrate"
                    : fits     ? "needs more memory to be simulated than there is"
                               : "is too large: 2^30 pages can be simulated");
        return FALSE;
    }
    g_free(room);
    return TRUE;
}

uint64_t ferry_workload_pages(const FerryWorkload *w)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < w->n_groups; i++) {
        pages += w->groups[i].pages;
    }
    return pages;
}

uint64_t ferry_rhythm_ns(const FerryRhythm *r)
{
    uint64_t ns = 0;

    for (unsigned i = 0; i < r->n_steps; i++) {
        ns += r->steps[i].ns;
    }
    return ns;
}

static double of_turn(const FerryRhythm *r, double ns)
{
    double time = 0;

    for (unsigned i = 0; i < r->n_steps && ns > 0; i++) {
        double step = MIN(ns, (double)r->steps[i].ns);
        time += step * r->steps[i].permille / 1000;
        ns -= step;
    }
    return time;
}

double ferry_rhythm_time(const FerryRhythm *r, double ns)
{
    if (!r) {
        return ns;
    }
    double turn = (double)ferry_rhythm_ns(r);
    uint64_t turns = (uint64_t)(ns / turn);
    return (double)turns * of_turn(r, turn) + of_turn(r, ns - (double)turns * turn);
}

const FerryRhythm *ferry_workload_rhythm(const FerryWorkload *w, unsigned group)
{
    unsigned rhythm = w->groups[group].rhythm;

    g_assert(rhythm <= FERRY_WORKLOAD_RHYTHMS);
    return rhythm > 0 && w->rhythms[rhythm - 1].n_steps > 0 ? &w->rhythms[rhythm - 1] : NULL;
}

double ferry_workload_mean_rate(const FerryWorkload *w, unsigned group)
{
    const FerryRhythm *r = ferry_workload_rhythm(w, group);
    double rate = w->groups[group].writes_per_second;

    return r ? rate * of_turn(r, (double)ferry_rhythm_ns(r)) / (double)ferry_rhythm_ns(r) : rate;
}

double ferry_workload_written(const FerryWorkload *w, double seconds)
{
    double written = 0;

    for (unsigned i = 0; i < w->n_groups; i++) {
        double pages = (double)w->groups[i].pages, writes = ferry_workload_mean_rate(w, i);
        if (w->groups[i].pages == 0) {
            continue;
        }
        written += w->groups[i].sweep ? MIN(pages, writes * seconds)
                                      : pages * (1 - ferry_exp_minus(writes / pages * seconds));
    }
    return written;
}

typedef enum { UNIFORM, HOT_COLD, SWEEP, ZIPF, IDLE, N_KINDS } Kind;
static const char *const kinds[N_KINDS] = {
    [UNIFORM] = "uniform", [HOT_COLD] = "hot-cold", [SWEEP] = "sweep",
    [ZIPF] = "zipf",       [IDLE] = "idle",
};

typedef struct {
    Kind kind;
    uint64_t size, hot; /* bytes; 0: not said */
    uint64_t rate, share, zero, wire, packed, ignored;
} Options;

gboolean ferry_size_parse(const char *text, gsize length, uint64_t *out)
{
    uint64_t n = 0;
    gsize i = 0;

    for (; i < length && g_ascii_isdigit(text[i]); i++) {
        if (n > UINT64_MAX / 10 - 1) {
            return FALSE;
        }
        n = 10 * n + (uint64_t)(text[i] - '0');
    }
    if (i > 0 && i + 1 == length && strchr("KMG", text[i])) {
        unsigned shift = text[i] == 'K' ? 10 : text[i] == 'M' ? 20 : 30;
        if (n > UINT64_MAX >> shift) {
            return FALSE;
        }
        n <<= shift;
        i++;
    }
    *out = n;
    return length > 0 && i == length;
}

static gboolean parse_pair(const char *pair, gsize length, Options *o, const char **out_why)
{
    const struct {
        const char *key;
        uint64_t *value, max;
    } known[] = {
        {"size=",   &o->size,    UINT64_MAX},
        {"hot=",    &o->hot,     UINT64_MAX},
        {"rate=",   &o->rate,    1000000000},
        {"share=",  &o->share,   100       },
        {"seed=",   &o->ignored, UINT64_MAX},
        {"zero=",   &o->zero,    1000      },
        {"wire=",   &o->wire,    100000    },
        {"packed=", &o->packed,  100000    },
    };

    if (length > 5 && strncmp(pair, "fill=", 5) == 0) {
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
        gsize key = strlen(known[i].key);
        if (length > key && strncmp(pair, known[i].key, key) == 0) {
            *out_why = "a value of the workload is no number in its range";
            return ferry_size_parse(pair + key, length - key, known[i].value) &&
                   *known[i].value <= known[i].max;
        }
    }
    *out_why = "known keys are size, hot, rate, share, seed, fill, zero, wire, packed";
    return FALSE;
}

static void add(FerryWorkload *w, const Options *o, uint64_t pages, double writes, gboolean sweep)
{
    if (pages > 0) {
        w->groups[w->n_groups++] = (FerryPageGroup){.pages = pages,
                                                    .writes_per_second = writes,
                                                    .sweep = sweep,
                                                    .wire_permille = (unsigned)o->wire,
                                                    .packed_permille = (unsigned)o->packed,
                                                    .zero_permille = (unsigned)o->zero};
    }
}

/* A group for each octave of ranks, equally likely. */
static void add_zipf(FerryWorkload *w, const Options *o, uint64_t pages)
{
    unsigned octaves = 64 - (unsigned)__builtin_clzll(pages);

    for (unsigned i = 0; i < octaves; i++) {
        uint64_t first = UINT64_C(1) << i;
        add(w, o, MIN(first, pages - first + 1), (double)o->rate / octaves, FALSE);
    }
    w->scattered = w->n_groups;
}

static gboolean build(const Options *o, uint64_t ram_bytes, FerryWorkload *out,
                      const char **out_why)
{
    uint64_t ram = ram_bytes / FERRY_WORKLOAD_PAGE;
    uint64_t pages = o->size ? (o->size - 1) / FERRY_WORKLOAD_PAGE + 1 : ram / 2;
    uint64_t hot = o->hot ? (o->hot - 1) / FERRY_WORKLOAD_PAGE + 1 : MAX(pages / 10, 1);
    double rate = (double)o->rate;
    FerryWorkload w = {0};

    if (pages == 0 || pages > ram || hot > pages) {
        *out_why = pages && pages <= ram ? "hot is larger than size" : "the size does not fit";
        return FALSE;
    }
    if (o->rate == 0 && o->kind != IDLE) {
        *out_why = "a rate is needed";
        return FALSE;
    }
    switch (o->kind) {
    case HOT_COLD:
        add(&w, o, hot, hot == pages ? rate : rate * (double)o->share / 100, FALSE);
        add(&w, o, pages - hot, rate * (double)(100 - o->share) / 100, FALSE);
        break;
    case ZIPF:
        add_zipf(&w, o, pages);
        break;
    case SWEEP:
    case IDLE:
        add(&w, o, pages, o->kind == IDLE ? 1 : rate, TRUE);
        break;
    case UNIFORM:
    case N_KINDS:
        add(&w, o, pages, rate, FALSE);
        break;
    }
    add(&w, o, ram - pages, 0, FALSE);
    *out = w;
    return TRUE;
}

gboolean ferry_workload_parse(const char *text, uint64_t ram_bytes, FerryWorkload *out,
                              const char **out_why)
{
    Options o = {.share = 90};
    gsize length = strcspn(text, ",");

    while (o.kind < N_KINDS &&
           (strlen(kinds[o.kind]) != length || strncmp(kinds[o.kind], text, length) != 0)) {
        o.kind++;
    }
    if (o.kind == N_KINDS) {
        *out_why = "known workloads are uniform, hot-cold, sweep, zipf, idle";
        return FALSE;
    }
    for (text += length; *text == ','; text += length) {
        text++;
        length = strcspn(text, ",");
        if (!parse_pair(text, length, &o, out_why)) {
            return FALSE;
        }
    }
    return build(&o, ram_bytes, out, out_why);
}

#include "simulator/models.h"
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define PAGE FERRY_WORKLOAD_PAGE

typedef enum {
    SIZE,     /* bytes of what is written; 0: the model takes what suits the guest */
    RATE,     /* writes per second of all of that */
    HOT,      /* bytes */
    HOT_RATE, /* writes per second of those besides */
    LOG,      /* pages per second that are appended to a log */
    GROWTH,   /* pages per second of memory that was never used */
    NOISE,    /* writes per second of all other memory */
    PERIOD,   /* ms of a rhythm */
    SWING,    /* permille of the rate, up and down within the period */
    BURST,    /* permille of the rate in the last fifth of the period */
    VCPUS,
    PATTERN,
    ZERO, /* permille, as a group has them */
    WIRE,
    PACKED,
    N_KEYS
} Key;

static const struct {
    const char *name;
    uint64_t max;
} keys[N_KEYS] = {
    [SIZE] = {"size",     UINT64_C(1) << 50},
    [RATE] = {"rate",     1000000000       },
    [HOT] = {"hot",      UINT64_C(1) << 50},
    [HOT_RATE] = {"hot-rate", 1000000000       },
    [LOG] = {"log",      1000000000       },
    [GROWTH] = {"growth",   1000000000       },
    [NOISE] = {"noise",    1000000000       },
    [PERIOD] = {"period",   86400000         },
    [SWING] = {"swing",    1000             },
    [BURST] = {"burst",    100000           },
    [VCPUS] = {"vcpus",    32               },
    [PATTERN] = {"pattern",  0                },
    [ZERO] = {"zero",     1000             },
    [WIRE] = {"wire",     100000           },
    [PACKED] = {"packed",   100000           },
};

enum { SEQUENTIAL, RANDOM, ONCE, N_PATTERNS };
static const char *const patterns[N_PATTERNS] = {"sequential", "random", "once"};

typedef struct {
    const uint64_t *value;
    uint64_t ram; /* pages; so are the others */
    FerryWorkload w;
    const char *why; /* it cannot be built */
} Build;

/* Adds the next pages of memory. */
static FerryPageGroup *add(Build *b, uint64_t pages, double writes)
{
    FerryPageGroup *group = &b->w.groups[b->w.n_groups];

    g_assert(b->w.n_groups < FERRY_WORKLOAD_GROUPS);
    if (pages > b->ram - ferry_workload_pages(&b->w)) {
        b->why = "what it writes is larger than the guest";
        pages = 0;
    }
    b->w.n_groups += pages > 0;
    *group = (FerryPageGroup){.pages = pages,
                              .writes_per_second = writes,
                              .wire_permille = (unsigned)b->value[WIRE],
                              .packed_permille = (unsigned)b->value[PACKED],
                              .zero_permille = (unsigned)b->value[ZERO]};
    return group;
}

static void add_sweep(Build *b, uint64_t pages, double rate) { add(b, pages, rate)->sweep = TRUE; }

static void add_rest(Build *b, double writes)
{
    add(b, b->ram - ferry_workload_pages(&b->w), writes);
}

/* Pages of the written part, that said or @otherwise. */
static uint64_t size_or(const Build *b, uint64_t otherwise)
{
    return b->value[SIZE] ? (b->value[SIZE] - 1) / PAGE + 1 : MAX(MIN(otherwise, b->ram), 1);
}

static uint64_t pages_of(const Build *b, Key key) { return (b->value[key] + PAGE - 1) / PAGE; }

/* A sine in sixteen steps. */
static void add_swing(Build *b)
{
    static const int sine[FERRY_RHYTHM_STEPS] = {0, 383,  707,  924,  1000,  924,  707,  383,
                                                 0, -383, -707, -924, -1000, -924, -707, -383};
    FerryRhythm *r = &b->w.rhythms[0];

    r->n_steps = b->value[PERIOD] && b->value[SWING] ? FERRY_RHYTHM_STEPS : 0;
    for (unsigned i = 0; i < r->n_steps; i++) {
        r->steps[i].ns = b->value[PERIOD] * 1000000 / FERRY_RHYTHM_STEPS;
        r->steps[i].permille = (unsigned)(1000 + sine[i] * (int)b->value[SWING] / 1000);
    }
}

/* Four fifths as usual, then more or less. */
static void add_burst(Build *b)
{
    FerryRhythm *r = &b->w.rhythms[0];

    if (b->value[PERIOD] > 0) {
        r->n_steps = 2;
        r->steps[0].ns = b->value[PERIOD] * 800000;
        r->steps[0].permille = 1000;
        r->steps[1].ns = b->value[PERIOD] * 200000;
        r->steps[1].permille = (unsigned)b->value[BURST];
    }
}

/* Zipf's law with exponent 1: each octave of ranks is written as often as the others. */
static void add_zipf(Build *b, uint64_t pages, double rate)
{
    unsigned octaves = 64 - (unsigned)__builtin_clzll(pages);

    for (unsigned i = 0; i < octaves; i++) {
        uint64_t first = UINT64_C(1) << i;
        add(b, MIN(first, pages - first + 1), rate / octaves)->rhythm =
            b->w.rhythms[0].n_steps ? 1 : 0;
    }
    b->w.scattered = b->w.n_groups;
}

static void build_idle(Build *b)
{
    uint64_t pages = size_or(b, b->ram), hot = pages_of(b, HOT);

    if (hot > pages) {
        b->why = "hot is larger than size";
        return;
    }
    add(b, hot, (double)b->value[HOT_RATE]);
    add(b, pages - hot, (double)b->value[RATE]);
    b->w.scattered = b->w.n_groups;
    add_rest(b, 0);
}

static void build_uniform(Build *b)
{
    add_swing(b);
    add(b, size_or(b, b->ram / 2), (double)b->value[RATE])->rhythm = b->w.rhythms[0].n_steps > 0;
    add_rest(b, (double)b->value[NOISE]);
}

static void build_database(Build *b)
{
    add_burst(b);
    add_zipf(b, size_or(b, b->ram / 2), (double)b->value[RATE]);
    if (b->value[LOG] > 0) { /* segments of a GiB in all are used again and again */
        add_sweep(b, MIN(1024 * MIB / PAGE, (b->ram - ferry_workload_pages(&b->w)) / 2),
                  (double)b->value[LOG]);
    }
    add_rest(b, (double)b->value[NOISE]);
}

static void build_java(Build *b)
{
    add_sweep(b, size_or(b, MIN(2600 * MIB / PAGE, b->ram / 4)), (double)b->value[RATE]);
    add_rest(b, (double)b->value[NOISE]);
}

static void build_sweep(Build *b)
{
    add_sweep(b, size_or(b, b->ram / 1000 * 882), (double)b->value[RATE]);
    add_rest(b, (double)b->value[NOISE]);
}

static void build_kernel(Build *b)
{
    add_burst(b);
    add(b, size_or(b, b->ram / 4), (double)b->value[RATE])->rhythm = b->w.rhythms[0].n_steps > 0;
    FerryPageGroup *cache =
        add(b, (b->ram - ferry_workload_pages(&b->w)) / 2, (double)b->value[GROWTH]);
    cache->sweep = cache->once = TRUE;
    add_rest(b, (double)b->value[NOISE]);
}

static void build_mm_dirty(Build *b)
{
    FerryPageGroup *group =
        add(b, size_or(b, b->ram / 2), (double)b->value[RATE] * (double)MIB / PAGE);

    group->sweep = b->value[PATTERN] != RANDOM;
    group->once = b->value[PATTERN] == ONCE;
    add_rest(b, 0);
}

static void build_guestperf(Build *b)
{
    uint64_t threads = MAX(b->value[VCPUS], 1), pages = size_or(b, b->ram) / threads;

    for (uint64_t i = 0; i < threads; i++) {
        add_sweep(b, pages, (double)b->value[RATE]);
    }
    add_rest(b, 0);
}

static void build_nfv(Build *b)
{
    add_sweep(b, pages_of(b, HOT), (double)b->value[HOT_RATE]);
    add(b, size_or(b, b->ram / 8), (double)b->value[RATE]);
    add_rest(b, 0);
}

#define BIT(key) (1u << (key))
#define CONTENT (BIT(ZERO) | BIT(WIRE) | BIT(PACKED))

/* Where the numbers come from is in docs/workloads.md. */
static const struct {
    FerryModel shown;
    unsigned takes;
    void (*build)(Build *build);
} models[] = {
    {{"idle-linux", "rate=250,hot=800K,hot-rate=2000", "a Linux that nobody uses"},
     BIT(SIZE) | BIT(RATE) | BIT(HOT) | BIT(HOT_RATE),
     build_idle     },
    {{"k8s-node", "size=600M,rate=20000,swing=300,period=20000,noise=100",
      "a Kubernetes worker, its control plane idle"},
     BIT(SIZE) | BIT(RATE) | BIT(SWING) | BIT(PERIOD) | BIT(NOISE),
     build_uniform  },
    {{"postgres-4", "size=2G,rate=9200,log=400,noise=20", "PostgreSQL under YCSB, 4 threads"},
     BIT(SIZE) | BIT(RATE) | BIT(LOG) | BIT(NOISE),
     build_database },
    {{"postgres-16", "size=2G,rate=76000,log=1000,noise=50", "the same, 16 threads"},
     BIT(SIZE) | BIT(RATE) | BIT(LOG) | BIT(NOISE),
     build_database },
    {{"postgres-readonly", "size=220M,rate=150000,swing=0,period=0,noise=50",
      "the same, only reading: a fixed set of hot pages"},
     BIT(SIZE) | BIT(RATE) | BIT(SWING) | BIT(PERIOD) | BIT(NOISE),
     build_uniform  },
    {{"java-warehouse", "rate=65000,noise=2500",
      "SPECjbb's kind: allocation through a young generation of 2.6 GB, or a quarter of the guest"},
     BIT(SIZE) | BIT(RATE) | BIT(NOISE),
     build_java     },
    {{"redis", "size=2G,rate=50000,period=0,burst=1000,noise=50", "one heap, few keys most wanted"},
     BIT(SIZE) | BIT(RATE) | BIT(PERIOD) | BIT(BURST) | BIT(NOISE),
     build_database },
    {{"mariadb", "size=4G,rate=20000,log=1000,period=10000,burst=3000,noise=50",
      "MariaDB under sysbench, checkpoints in bursts"},
     BIT(SIZE) | BIT(RATE) | BIT(LOG) | BIT(PERIOD) | BIT(BURST) | BIT(NOISE),
     build_database },
    {{"kernel-build", "rate=60000,growth=2500,period=10000,burst=200,noise=200",
      "compiling, with pauses; the page cache grows"},
     BIT(SIZE) | BIT(RATE) | BIT(GROWTH) | BIT(PERIOD) | BIT(BURST) | BIT(NOISE),
     build_kernel   },
    {{"memtouch", "rate=450000,noise=0", "one page after the other through 88 % of the guest"},
     BIT(SIZE) | BIT(RATE) | BIT(NOISE),
     build_sweep    },
    {{"page-writer", "rate=400000,swing=0,period=0,noise=0", "anywhere in half of the guest"},
     BIT(SIZE) | BIT(RATE) | BIT(SWING) | BIT(PERIOD) | BIT(NOISE),
     build_uniform  },
    {{"mm-dirty", "rate=500,pattern=sequential",
      "mig_mon's mm_dirty: size in MB, rate in MB/s; sequential, random, or once"},
     BIT(SIZE) | BIT(RATE) | BIT(PATTERN),
     build_mm_dirty },
    {{"guestperf-stress", "rate=500000,vcpus=1",
      "QEMU's guestperf: random data through all memory, rate for each vCPU"},
     BIT(SIZE) | BIT(RATE) | BIT(VCPUS),
     build_guestperf},
    {{"nfv", "hot=8M,hot-rate=1000000,rate=500", "packets through a ring, nearly nothing else"},
     BIT(SIZE) | BIT(RATE) | BIT(HOT) | BIT(HOT_RATE),
     build_nfv      },
};

/* Those that ferry-vm's guests run. */
static const FerryModel plain[] = {
    {"uniform",  "rate=", "each write goes anywhere in size, half of the guest"   },
    {"hot-cold", "rate=", "share percent of the writes go to hot, a tenth of size"},
    {"sweep",    "rate=", "one page after the other"                              },
    {"zipf",     "rate=", "each octave of ranks is as likely as the others"       },
    {"idle",     "",      "a page a second"                                       },
};

const FerryModel *ferry_model_nth(unsigned i)
{
    return i < G_N_ELEMENTS(plain)                          ? &plain[i]
           : i < G_N_ELEMENTS(plain) + G_N_ELEMENTS(models) ? &models[i - G_N_ELEMENTS(plain)].shown
                                                            : NULL;
}

static gboolean refuse(GError **error, const char *model, const char *what)
{
    g_set_error(error, FERRY_SIM_ERROR, FERRY_SIM_ERROR_VALUE, "workload '%s': %s", model, what);
    return FALSE;
}

static gboolean is_called(const char *name, const char *text, gsize length)
{
    return strlen(name) == length && strncmp(name, text, length) == 0;
}

static gboolean parse_value(unsigned nth, Key key, const char *text, gsize length,
                            uint64_t value[N_KEYS])
{
    if (key == PATTERN) {
        for (unsigned i = 0; i < N_PATTERNS; i++) {
            if (is_called(patterns[i], text, length)) {
                value[key] = i;
                return TRUE;
            }
        }
        return FALSE;
    }
    if (!ferry_size_parse(text, length, &value[key])) {
        return FALSE;
    }
    if (models[nth].build == build_mm_dirty && key == SIZE && g_ascii_isdigit(text[length - 1])) {
        value[key] = MIN(value[key], UINT64_C(1) << 30) * MIB;
    }
    return value[key] <= keys[key].max;
}

/* "key=value,key=value" */
static gboolean parse_pairs(unsigned nth, const char *text, uint64_t value[N_KEYS], GError **error)
{
    unsigned takes = models[nth].takes | CONTENT;

    while (*text) {
        gsize length = strcspn(text, ","), name = strcspn(text, ",=");
        g_autofree char *pair = g_strndup(text, length);
        unsigned key = 0;
        while (key < N_KEYS &&
               !((takes & BIT(key)) && name < length && is_called(keys[key].name, text, name))) {
            key++;
        }
        if (key == N_KEYS) {
            g_autofree char *what =
                g_strdup_printf("there is no '%s'; known keys are %s%s%szero, wire, packed", pair,
                                models[nth].shown.keys, takes & BIT(SIZE) ? ", size" : "", ", ");
            return refuse(error, models[nth].shown.name, what);
        }
        if (length == name + 1 ||
            !parse_value(nth, key, text + name + 1, length - name - 1, value)) {
            g_autofree char *what = g_strdup_printf("'%s' is not in its range", pair);
            return refuse(error, models[nth].shown.name, what);
        }
        text += length + (text[length] == ',');
    }
    return TRUE;
}

static gboolean build_model(unsigned nth, const char *text, uint64_t ram_bytes, FerryWorkload *out,
                            GError **error)
{
    uint64_t value[N_KEYS] = {0}, by_default;
    Build b = {.value = value, .ram = ram_bytes / PAGE};

    if (!parse_pairs(nth, models[nth].shown.keys, value, error)) {
        g_assert_not_reached();
    }
    by_default = value[SIZE];
    value[SIZE] = 0;
    if (!parse_pairs(nth, text, value, error)) {
        return FALSE;
    }
    if (value[SIZE] == 0) { /* what it has by itself is made to fit */
        value[SIZE] = MIN(by_default, b.ram / 2 * PAGE);
    }
    models[nth].build(&b);
    if (b.why || ferry_workload_pages(&b.w) == 0) {
        return refuse(error, models[nth].shown.name, b.why ? b.why : "the guest has no memory");
    }
    *out = b.w;
    return TRUE;
}

gboolean ferry_model_parse(const char *text, uint64_t ram_bytes, FerryWorkload *out, GError **error)
{
    gsize length = strcspn(text, ",");
    const char *why;

    if (ram_bytes / PAGE > FERRY_SIM_PAGES_MAX) {
        return refuse(error, text, "the guest is too large");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        if (is_called(models[i].shown.name, text, length)) {
            return build_model(i, text + length + (text[length] == ','), ram_bytes, out, error);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (is_called(plain[i].name, text, length)) {
            return ferry_workload_parse(text, ram_bytes, out, &why) || refuse(error, text, why);
        }
    }
    g_autoptr(GString) names = g_string_new("there is none of that name; known are");
    for (unsigned i = 0; ferry_model_nth(i); i++) {
        g_string_append_printf(names, "%s %s", i ? "," : "", ferry_model_nth(i)->name);
    }
    return refuse(error, text, names->str);
}

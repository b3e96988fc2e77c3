/* Answers to query-migrate, one behind the other or in an array, each alone or within an object
 * that says when. They tell rates, not pages: pages are made up, evenly over all RAM, as many
 * distinct ones in each frame as the rate says. A rate is known when the sync behind it has been.
 */
#include <string.h>
#include "dirtylog/bitmap.h"
#include "trace/import-frames.h"

#define SAMPLES_MAX 10000000u
#define PAGES_MAX (UINT64_C(1) << 32)

typedef struct {
    double seconds;  /* below 0: not said */
    double total_ms; /* since the migration began; below 0: not said */
    double rate, syncs, ram_bytes, page_bytes;
    gboolean has_ram;
} Sample;

static const Sample nothing = {-1, -1, 0, 0, 0, 4096, FALSE};

typedef struct {
    FerryTextJson json;
    GArray *samples; /* those with RAM */
    Sample sample;   /* that is read */
    double whole_seconds;
} Reader;

static void reader_free(Reader *r)
{
    ferry_text_json_clear(&r->json);
    g_array_unref(r->samples);
    g_free(r);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, reader_free)

/* Times as recorders name them. */
static void take_time(Reader *r, const char *name, const char *within, double value)
{
    if (strcmp(name, "t_ms") == 0 || strcmp(name, "timestamp_ms") == 0) {
        r->sample.seconds = value / 1000;
    } else if (strcmp(name, "timestamp") == 0 || strcmp(name, "time") == 0 ||
               strcmp(name, "t") == 0 || strcmp(name, "t_monotonic") == 0) {
        r->sample.seconds = value;
    } else if (strcmp(within, "timestamp") == 0 && strcmp(name, "seconds") == 0) {
        r->whole_seconds = value;
        r->sample.seconds = value;
    } else if (strcmp(within, "timestamp") == 0 && strcmp(name, "microseconds") == 0) {
        r->sample.seconds = r->whole_seconds + value / 1e6;
    }
}

static gboolean take_number(Reader *r, GError **error)
{
    FerryTextJson *j = &r->json;
    const char *name = j->names[j->depth], *within = j->depth > 0 ? j->names[j->depth - 1] : "";
    gboolean ram = strcmp(within, "ram") == 0;
    const struct {
        const char *name;
        double *to, most;
    } members[] = {
        {"dirty-pages-rate", &r->sample.rate,       1e12   },
        {"dirty-sync-count", &r->sample.syncs,      1e12   },
        {"total",            &r->sample.ram_bytes,  1e18   },
        {"page-size",        &r->sample.page_bytes, 1 << 30}
    };

    for (gsize i = 0; ram && i < G_N_ELEMENTS(members); i++) {
        if (strcmp(name, members[i].name) == 0) {
            if (!(j->number >= 0 && j->number <= members[i].most)) {
                return ferry_text_refuse(&j->reader, error, "%s is no such number", name);
            }
            *members[i].to = j->number;
            r->sample.has_ram = TRUE;
        }
    }
    if (!(j->number >= 0 && j->number <= 1e13)) {
        return TRUE; /* no time of ours */
    }
    if (!ram && strcmp(name, "total-time") == 0) {
        r->sample.total_ms = j->number;
    } else if (!ram) {
        take_time(r, name, within, j->number);
    }
    return TRUE;
}

static gboolean take_sample(Reader *r, GError **error)
{
    Sample *s = &r->sample;
    const Sample *last =
        r->samples->len > 0 ? &g_array_index(r->samples, Sample, r->samples->len - 1) : NULL;

    if (s->has_ram) {
        s->seconds = s->seconds >= 0 ? s->seconds : s->total_ms / 1000;
        if (s->seconds < 0) {
            return ferry_text_refuse(&r->json.reader, error,
                                     "an answer says neither when it was given nor total-time");
        }
        if (last && s->seconds < last->seconds) {
            return ferry_text_refuse(&r->json.reader, error, "the time went back");
        }
        if (r->samples->len == SAMPLES_MAX) {
            return ferry_text_refuse(&r->json.reader, error, "it has more answers than are taken");
        }
        g_array_append_val(r->samples, *s);
    }
    *s = nothing;
    return TRUE;
}

static gboolean read_all(Reader *r, GError **error)
{
    FerryTextJson *j = &r->json;
    unsigned outer = 0; /* the samples are in an array, or not */

    do {
        if (!ferry_text_json_next(j, error)) {
            return FALSE;
        }
        if (j->kind == FERRY_TEXT_ARRAY && j->depth == 1) {
            outer = 1;
        } else if (j->kind == FERRY_TEXT_ARRAY_END && j->depth == 0) {
            outer = 0;
        } else if (j->kind == FERRY_TEXT_NUMBER && !take_number(r, error)) {
            return FALSE;
        } else if (j->kind == FERRY_TEXT_OBJECT_END && j->depth == outer &&
                   !take_sample(r, error)) {
            return FALSE;
        }
    } while (j->kind != FERRY_TEXT_END);
    return r->samples->len > 1 ||
           ferry_text_refuse(&j->reader, error, "two answers with \"ram\" at least are needed");
}

/* What a sync found was written since the one before: each sample gets the rate that was told once
 * the next sync had been. */
static void settle_rates(GArray *samples)
{
    double later = -1, later_syncs = 0, told = 0, told_syncs = 0;

    for (guint i = samples->len; i-- > 0;) {
        Sample *s = &g_array_index(samples, Sample, i);
        if (told_syncs > s->syncs && (later < 0 || later_syncs != told_syncs)) {
            later = told;
            later_syncs = told_syncs;
        }
        told = s->rate;
        told_syncs = s->syncs;
        if (later_syncs > s->syncs) {
            s->rate = later;
        }
    }
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* @n distinct pages of @pages. */
static void make_up(FerryImportFrames *frames, uint64_t pages, uint64_t n, uint64_t *state)
{
    FerryBitmap drawn;
    gboolean others = n > pages / 2; /* those that are not written are fewer */
    uint64_t at = 0, first, length, wanted = others ? pages - n : n;

    ferry_bitmap_init(&drawn, pages);
    for (uint64_t found = 0; found < wanted;) {
        uint64_t page = next_random(state) % pages;
        if (!ferry_bitmap_test(&drawn, page)) {
            ferry_bitmap_set(&drawn, page, 1);
            found++;
        }
    }
    if (others) {
        for (uint64_t i = 0; i < ferry_bitmap_n_words(&drawn); i++) {
            drawn.words[i] = ~drawn.words[i];
        }
        if (pages % 64 != 0) {
            drawn.words[pages / 64] &= (UINT64_C(1) << pages % 64) - 1;
        }
    }
    while (ferry_bitmap_next_run(&drawn, at, UINT64_MAX, &first, &length)) {
        ferry_import_frames_add(frames, first, length);
        at = first + length;
    }
    ferry_bitmap_clear(&drawn);
}

static gboolean push(const GArray *samples, uint64_t pages, uint64_t seed,
                     const FerryTraceTarget *to, GError **error)
{
    g_auto(FerryImportFrames) frames = {0};
    double begin = g_array_index(samples, Sample, 0).seconds, owed = 0;

    ferry_import_frames_init(&frames, to);
    for (guint i = 1; i < samples->len; i++) {
        const Sample *s = &g_array_index(samples, Sample, i);
        double span = s->seconds - g_array_index(samples, Sample, i - 1).seconds;
        if (span <= 0) {
            continue;
        }
        owed = MIN(owed + s->rate * span, (double)pages);
        uint64_t n = MIN((uint64_t)owed, pages);
        owed -= (double)n;
        make_up(&frames, pages, n, &seed);
        if (!ferry_import_frames_end(&frames, (uint64_t)((s->seconds - begin) * 1e9 + 0.5),
                                     error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_import_qmp(const FerryTraceText *text, const FerryImportOptions *options,
                          const FerryTraceTarget *to, GError **error)
{
    g_autoptr(Reader) r = g_new0(Reader, 1);
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();
    const Sample *last;
    uint64_t pages, page_bytes;

    r->samples = g_array_new(FALSE, FALSE, sizeof(Sample));
    r->sample = nothing;
    ferry_text_json_init(&r->json, text);
    if (!read_all(r, error)) {
        return FALSE;
    }
    last = &g_array_index(r->samples, Sample, r->samples->len - 1);
    page_bytes = (uint64_t)last->page_bytes;
    if (page_bytes < 512 || (page_bytes & (page_bytes - 1)) != 0) {
        return ferry_text_refuse(&r->json.reader, error, "page-size is no power of two above 256");
    }
    pages = (options->ram_bytes ? options->ram_bytes : (uint64_t)last->ram_bytes) / page_bytes;
    if (pages == 0 || pages > PAGES_MAX) {
        return ferry_text_refuse(&r->json.reader, error,
                                 "ram.total is no memory of up to 2^32 pages");
    }
    settle_rates(r->samples);
    h->page_bytes = (uint32_t)page_bytes;
    h->seed = options->seed;
    ferry_trace_header_add(h, "ram", pages);
    ferry_import_describe(h, options,
                          ": rates of query-migrate; the pages are made up, evenly over all RAM");
    return to->ops->begin(to->self, h, error) &&
           push(r->samples, pages, options->seed, to, error) && to->ops->end(to->self, NULL, error);
}

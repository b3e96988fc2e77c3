#include "trace/frame.h"
#include <string.h>
#include "trace/chunk.h"
#include "trace/varint.h"

#define FLAG_XOR 1u
#define FLAG_BITMAP 2u
#define FLAG_ANNOTATIONS 4u

#define KIND_CLASSES 1u
#define KIND_QUARTERS 2u
#define KIND_THROTTLE 3u
#define KIND_RAN 4u

static void put_varint(GByteArray *out, uint64_t value)
{
    uint8_t bytes[FERRY_VARINT_MAX];

    g_byte_array_append(out, bytes, (guint)(ferry_varint_put(bytes, value) - bytes));
}

const char *ferry_trace_classes_check(const uint8_t *classes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (classes[i] > FERRY_TRACE_CLASS_PACKED + 15 && classes[i] != FERRY_TRACE_CLASS_UNKNOWN) {
            return "a class that there is not";
        }
    }
    return NULL;
}

const char *ferry_trace_frame_check(const FerryTraceFrame *frame, uint64_t pages,
                                    uint64_t *out_n_pages)
{
    uint64_t n_pages, notes;
    const char *why = ferry_trace_runs_check(frame->runs, frame->n_runs, pages, &n_pages);

    if (why) {
        return why;
    }
    notes = (frame->classes ? n_pages : 0) + (frame->quarters ? n_pages / 4 : 0);
    if (notes > FERRY_TRACE_PAYLOAD_MAX / 2) {
        return "more annotated pages than a frame may have: make frames shorter";
    }
    if (frame->throttle_percent > 100) {
        return "a throttle of more than 100 percent";
    }
    if (frame->ran_ns != UINT64_MAX && frame->ran_ns > frame->span_ns) {
        return "the guest ran for longer than the frame";
    }
    for (uint64_t i = 0; frame->quarters && i < n_pages; i++) {
        if (frame->quarters[i] > 3) {
            return "a quarter above 3";
        }
    }
    *out_n_pages = n_pages;
    return frame->classes ? ferry_trace_classes_check(frame->classes, n_pages) : NULL;
}

/* The set as the difference, in place of what stands behind @from; FALSE: that is no smaller. */
static gboolean encode_xor(GByteArray *out, guint from, const FerryTraceFrame *frame,
                           const FerryTraceSet *previous, FerryTraceSet *scratch)
{
    const FerryTraceSet set = {.runs = (FerryTraceRun *)frame->runs, .n = frame->n_runs};
    guint behind = out->len, size = out->len - from;

    if (!ferry_trace_set_resembles(&set, previous) ||
        !ferry_trace_set_xor(scratch, &set, previous) ||
        !ferry_trace_runs_encode(out, scratch->runs, scratch->n, size - 1)) {
        return FALSE;
    }
    g_byte_array_remove_range(out, from, behind - from);
    return TRUE;
}

static void encode_quarters(GByteArray *out, const uint8_t *quarters, uint64_t n)
{
    uint64_t bytes = n / 4 + (n % 4 != 0);
    guint before = out->len;

    put_varint(out, KIND_QUARTERS);
    put_varint(out, bytes);
    before = out->len;
    g_byte_array_set_size(out, (guint)(before + bytes));
    memset(out->data + before, 0, bytes);
    for (uint64_t i = 0; i < n; i++) {
        out->data[before + i / 4] |= (uint8_t)(quarters[i] << i % 4 * 2);
    }
}

static void encode_number(GByteArray *out, unsigned kind, uint64_t value)
{
    put_varint(out, kind);
    put_varint(out, ferry_varint_size(value));
    put_varint(out, value);
}

static void encode_annotations(GByteArray *out, const FerryTraceFrame *frame)
{
    g_autoptr(GByteArray) all = g_byte_array_new();

    if (frame->classes) {
        put_varint(all, KIND_CLASSES);
        put_varint(all, frame->n_pages);
        g_byte_array_append(all, frame->classes, (guint)frame->n_pages);
    }
    if (frame->quarters) {
        encode_quarters(all, frame->quarters, frame->n_pages);
    }
    if (frame->throttle_percent) {
        encode_number(all, KIND_THROTTLE, frame->throttle_percent);
    }
    if (frame->ran_ns != UINT64_MAX) {
        encode_number(all, KIND_RAN, frame->ran_ns);
    }
    put_varint(out, all->len);
    g_byte_array_append(out, all->data, all->len);
}

void ferry_trace_frame_encode(GByteArray *out, const FerryTraceFrame *frame, uint64_t pages,
                              const FerryTraceSet *previous, FerryTraceSet *scratch)
{
    gboolean notes =
        frame->classes || frame->quarters || frame->throttle_percent || frame->ran_ns != UINT64_MAX;
    uint64_t bitmap = pages / 8 + (pages % 8 != 0);
    guint flags;

    put_varint(out, frame->span_ns);
    flags = out->len;
    put_varint(out, notes ? FLAG_ANNOTATIONS : 0);
    if (!ferry_trace_runs_encode(out, frame->runs, frame->n_runs,
                                 MIN(bitmap, FERRY_TRACE_PAYLOAD_MAX))) {
        if (bitmap > FERRY_TRACE_PAYLOAD_MAX) { /* the chunk becomes too large and is refused */
            g_byte_array_set_size(out, flags + FERRY_TRACE_PAYLOAD_MAX + 2);
            return;
        }
        ferry_trace_bitmap_encode(out, frame->runs, frame->n_runs, pages);
        out->data[flags] |= FLAG_BITMAP;
    }
    if (previous && out->len > flags + 2 && encode_xor(out, flags + 1, frame, previous, scratch)) {
        out->data[flags] = (uint8_t)((out->data[flags] & ~FLAG_BITMAP) | FLAG_XOR);
    }
    if (notes) {
        encode_annotations(out, frame);
    }
}

void ferry_trace_decoded_clear(FerryTraceDecoded *d)
{
    ferry_trace_set_clear(&d->set);
    ferry_trace_set_clear(&d->before);
    ferry_trace_set_clear(&d->scratch);
    g_free(d->quarters);
    *d = (FerryTraceDecoded){0};
}

static const char *decode_set(FerryTraceDecoded *d, unsigned flags, const uint8_t **at,
                              const uint8_t *end, uint64_t pages)
{
    FerryTraceSet last = d->before;
    const char *why;

    d->before = d->set;
    d->set = last;
    why = flags & FLAG_BITMAP ? ferry_trace_bitmap_decode(&d->set, at, end, pages)
                              : ferry_trace_runs_decode(&d->set, at, end, pages);
    if (why || !(flags & FLAG_XOR)) {
        return why;
    }
    if (!ferry_trace_set_xor(&d->scratch, &d->set, &d->before)) {
        return "more runs than a frame may have";
    }
    last = d->set;
    d->set = d->scratch;
    d->scratch = last;
    return NULL;
}

static const char *decode_quarters(FerryTraceFrame *out, const uint8_t *bytes, uint64_t n,
                                   FerryTraceDecoded *d)
{
    uint64_t pages = out->n_pages;

    if (out->quarters || n != pages / 4 + (pages % 4 != 0) ||
        (pages % 4 && bytes[n - 1] >> pages % 4 * 2)) {
        return "quarters that are not two bits for each page";
    }
    if (pages > d->quarters_room || !d->quarters) {
        d->quarters_room = MAX(pages, 1);
        d->quarters = g_realloc(d->quarters, d->quarters_room);
    }
    for (uint64_t i = 0; i < pages; i++) {
        d->quarters[i] = bytes[i / 4] >> i % 4 * 2 & 3;
    }
    out->quarters = d->quarters;
    return NULL;
}

static const char *decode_annotation(FerryTraceFrame *out, uint64_t kind, const uint8_t *bytes,
                                     uint64_t n, FerryTraceDecoded *d)
{
    uint64_t value = 0;

    if (kind == KIND_CLASSES) {
        if (n != out->n_pages || out->classes) {
            return "classes that are not one for each page";
        }
        out->classes = bytes;
        return ferry_trace_classes_check(bytes, n);
    }
    if (kind == KIND_QUARTERS) {
        return decode_quarters(out, bytes, n, d);
    }
    if (kind != KIND_THROTTLE && kind != KIND_RAN) {
        return NULL;
    }
    if (ferry_varint_get(bytes, bytes + n, &value) != bytes + n) {
        return "an annotation that is not one number";
    }
    if (kind == KIND_THROTTLE && value <= 100) {
        out->throttle_percent = (unsigned)value;
        return NULL;
    }
    if (kind == KIND_RAN && value <= out->span_ns) {
        out->ran_ns = value;
        return NULL;
    }
    return kind == KIND_THROTTLE ? "a throttle of more than 100 percent"
                                 : "the guest ran for longer than the frame";
}

static const char *decode_annotations(FerryTraceFrame *out, const uint8_t **at, const uint8_t *end,
                                      FerryTraceDecoded *d)
{
    uint64_t all, kind, n;
    const uint8_t *from = ferry_varint_get(*at, end, &all);

    if (!from || all > (uint64_t)(end - from)) {
        return "annotations are cut short";
    }
    end = from + all;
    while (from < end) {
        const char *why;

        from = ferry_varint_get(from, end, &kind);
        from = from ? ferry_varint_get(from, end, &n) : NULL;
        if (!from || n > (uint64_t)(end - from)) {
            return "an annotation is cut short";
        }
        why = decode_annotation(out, kind, from, n, d);
        if (why) {
            return why;
        }
        from += n;
    }
    *at = end;
    return NULL;
}

const char *ferry_trace_frame_decode(FerryTraceFrame *out, const uint8_t **at, const uint8_t *end,
                                     uint64_t pages, gboolean first_in_chunk, FerryTraceDecoded *d)
{
    FerryTraceFrame frame = {.ran_ns = UINT64_MAX};
    uint64_t flags;
    const uint8_t *from = ferry_varint_get(*at, end, &frame.span_ns);
    const char *why;

    from = from ? ferry_varint_get(from, end, &flags) : NULL;
    if (!from) {
        return "it is cut short";
    }
    if (flags & ~(uint64_t)(FLAG_XOR | FLAG_BITMAP | FLAG_ANNOTATIONS)) {
        return "flags that this version does not know";
    }
    if (flags & FLAG_XOR && first_in_chunk) {
        return "a difference, and nothing before it in the chunk";
    }
    why = decode_set(d, (unsigned)flags, &from, end, pages);
    if (why) {
        return why;
    }
    frame.runs = d->set.runs;
    frame.n_runs = d->set.n;
    frame.n_pages = ferry_trace_set_pages(&d->set);
    if (flags & FLAG_ANNOTATIONS) {
        why = decode_annotations(&frame, &from, end, d);
    }
    if (why) {
        return why;
    }
    frame.number = out->number;
    frame.begin_ns = out->begin_ns;
    *out = frame;
    *at = from;
    return NULL;
}

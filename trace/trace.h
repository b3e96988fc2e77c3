/* Page dirty traces: which pages were written when. The format is docs/trace-format.md's; bytes
 * come and go through callbacks. No clock, no file, no thread of its own: an object is used by one
 * thread at a time. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_TRACE_ERROR (ferry_trace_error_quark())
GQuark ferry_trace_error_quark(void);
typedef enum {
    FERRY_TRACE_ERROR_FORMAT,  /* this is no trace, or none that we read */
    FERRY_TRACE_ERROR_DAMAGED, /* it is one up to some place, which the message names */
    FERRY_TRACE_ERROR_IO,      /* from the caller's callbacks */
} FerryTraceError;

#define FERRY_TRACE_PAGES_MAX (UINT64_C(1) << 40)

/* What a page holds, by how far it packs. */
#define FERRY_TRACE_CLASS_ZERO 0u
#define FERRY_TRACE_CLASS_SAME 1u
#define FERRY_TRACE_CLASS_PACKED 2u /* + (n - 1): to n sixteenths at most, n from 1 to 16 */
#define FERRY_TRACE_CLASS_UNKNOWN 255u

/* Pages [first, first + n). */
typedef struct {
    uint64_t first, n;
} FerryTraceRun;

typedef struct {
    char *name;
    uint64_t pages;
    uint32_t page_bytes; /* of the host's backing; 0: not known */
    char *backing;       /* NULL: not known */
    uint64_t gpa;        /* UINT64_MAX: not known */
} FerryTraceBlock;

typedef struct {
    uint32_t page_bytes;
    GArray *blocks; /* FerryTraceBlock; a reader adds those that appear later */
    char *method;
    uint64_t interval_ns, start_wall_ns, start_monotonic_ns, seed;
    unsigned n_vcpu;
    char *host, *guest, *tool, *workload, *licence, *provenance; /* NULL: none */
} FerryTraceHeader;
FerryTraceHeader *ferry_trace_header_new(void); /* pages of 4096 bytes, no block */
void ferry_trace_header_add(FerryTraceHeader *header, const char *name, uint64_t pages);
uint64_t ferry_trace_header_pages(const FerryTraceHeader *header); /* of all blocks */
void ferry_trace_header_free(FerryTraceHeader *header);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryTraceHeader, ferry_trace_header_free)

typedef struct {
    uint64_t number, begin_ns, span_ns; /* it covers (begin, begin + span] */
    uint64_t n_runs, n_pages;
    const FerryTraceRun *runs; /* ascending, apart from each other */
    const uint8_t *classes;    /* one for each page in the set, ascending; NULL: not known */
    const uint8_t *quarters;   /* 0 to 3 for each page: when it was written last; NULL: not known */
    unsigned throttle_percent;
    uint64_t ran_ns; /* UINT64_MAX: not known */
} FerryTraceFrame;
#define FERRY_TRACE_FRAME_INIT                                                                     \
    {                                                                                              \
        .ran_ns = UINT64_MAX                                                                       \
    }

typedef struct {
    uint64_t frames, pages_written, distinct_pages; /* a writer counts these itself */
    uint64_t length_ns;                             /* and this */
    uint64_t capture_ns_per_frame, late_frames;
    unsigned capture_cpu_permille;
    int slowdown_permille; /* -1: not measured */
    const char *ended;     /* static */
} FerryTraceTotals;

/* Writing. */
typedef struct {
    gboolean (*write)(void *self, const void *data, size_t n, GError **error); /* all of it */
    void *self;
} FerryTraceSink;
typedef struct {
    int level;          /* of zstd; 0: the default, which is quick */
    gboolean no_totals; /* do not keep what totals need: 6 bytes for each page written, 8 a frame */
} FerryTraceWriterOptions;

typedef struct FerryTraceWriter FerryTraceWriter;
/* Writes the header. NULL @options: defaults. */
FerryTraceWriter *ferry_trace_writer_new(const FerryTraceHeader *header, const FerryTraceSink *sink,
                                         const FerryTraceWriterOptions *options, GError **error);
/* Classes of pages [first, first + n) at the beginning, in ascending calls; before any frame. */
gboolean ferry_trace_writer_classes(FerryTraceWriter *writer, uint64_t first,
                                    const uint8_t *classes, uint64_t n, GError **error);
/* Blocks that appear between the frame before and the next one; the caller's header is not changed.
 */
gboolean ferry_trace_writer_add_blocks(FerryTraceWriter *writer, const FerryTraceBlock *blocks,
                                       unsigned n, GError **error);
/* number, begin_ns and n_pages are the writer's business and ignored. */
gboolean ferry_trace_writer_frame(FerryTraceWriter *writer, const FerryTraceFrame *frame,
                                  GError **error);
/* What is gathered goes out now: a crash costs no more than what follows. */
gboolean ferry_trace_writer_flush(FerryTraceWriter *writer, GError **error);
/* Totals (NULL: only what the writer counted), index, end. Nothing may follow. */
gboolean ferry_trace_writer_end(FerryTraceWriter *writer, const FerryTraceTotals *totals,
                                GError **error);
uint64_t ferry_trace_writer_bytes(const FerryTraceWriter *writer); /* that went out so far */
void ferry_trace_writer_free(FerryTraceWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryTraceWriter, ferry_trace_writer_free)

/* Reading. */
typedef struct {
    /* @n bytes at @offset, all of them. */
    gboolean (*read)(void *self, uint64_t offset, void *data, size_t n, GError **error);
    void *self;
    uint64_t size; /* of the file */
} FerryTraceInput;

/* Whether a file that begins with these bytes is one of ours; 8 are enough. */
gboolean ferry_trace_is_trace(const void *begin, size_t n);

typedef struct FerryTraceReader FerryTraceReader;
/* Reads the header, and blocks, totals and index if the file has its end. Memory is bounded by the
 * chunks' sizes, whatever the file says. */
FerryTraceReader *ferry_trace_reader_new(const FerryTraceInput *input, GError **error);
/* With all blocks of the trace if it has its end, else with those that were met so far. */
const FerryTraceHeader *ferry_trace_reader_header(const FerryTraceReader *reader);
/* Of the blocks that are there from the beginning. */
uint64_t ferry_trace_reader_first_pages(const FerryTraceReader *reader);
/* FALSE: the file has no end (yet); totals are unknown. */
gboolean ferry_trace_reader_totals(const FerryTraceReader *reader, FerryTraceTotals *out_totals);
/* [ns, pages] pairs of the totals' curve; NULL and 0 if there is none. Borrowed. */
const uint64_t *ferry_trace_reader_curve(const FerryTraceReader *reader, unsigned *out_n);

typedef enum {
    FERRY_TRACE_FRAME,   /* *out_frame; borrowed until the next call */
    FERRY_TRACE_END,     /* the trace ends here as it was meant to */
    FERRY_TRACE_CUT,     /* the file ends here, between or inside chunks: it was not finished */
    FERRY_TRACE_DAMAGED, /* @error says where; frames before are good. Stays so. */
} FerryTraceNext;
FerryTraceNext ferry_trace_reader_next(FerryTraceReader *reader, FerryTraceFrame *out_frame,
                                       GError **error);
/* The next frame is the first one again. */
void ferry_trace_reader_rewind(FerryTraceReader *reader);
/* The next frame is the one that covers @ns, or the last. Without an index it is looked for. */
gboolean ferry_trace_reader_seek(FerryTraceReader *reader, uint64_t ns, GError **error);
/* Classes at the beginning, of pages [first, first + n) into @out; FERRY_TRACE_CLASS_UNKNOWN where
 * the trace says nothing. */
gboolean ferry_trace_reader_classes(FerryTraceReader *reader, uint64_t first, uint64_t n,
                                    uint8_t *out, GError **error);
/* From this page on it says nothing; 0: of none. */
uint64_t ferry_trace_reader_classes_end(FerryTraceReader *reader);
void ferry_trace_reader_free(FerryTraceReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryTraceReader, ferry_trace_reader_free)

/* On files. A writer's file is @path + ".part" until it is ended. */
typedef struct FerryTraceFile FerryTraceFile;
FerryTraceFile *ferry_trace_file_create(const char *path, GError **error);
FerryTraceFile *ferry_trace_file_open(const char *path, GError **error);
FerryTraceSink ferry_trace_file_sink(FerryTraceFile *file);
FerryTraceInput ferry_trace_file_input(FerryTraceFile *file);
/* It gets its name; behind ferry_trace_writer_end. */
gboolean ferry_trace_file_commit(FerryTraceFile *file, GError **error);
void ferry_trace_file_free(FerryTraceFile *file); /* what was written stays as @path.part */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryTraceFile, ferry_trace_file_free)

G_END_DECLS

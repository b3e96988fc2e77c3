/* ferry record: where a trace's frames come from. record.c parses options, keeps time, watches for
 * signals and writes the file; a source, a file each, knows which pages were written. */
#pragma once
#include <json-glib/json-glib.h>
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    /* One of them: what is recorded. */
    int pid; /* 0: none */
    const char *qmp, *workload;
    char **command; /* NULL-terminated */

    const char *file;
    uint64_t interval_ns;
    uint64_t duration_ns; /* 0: until it ends, or a signal comes */
    uint64_t baseline_ns; /* how long a process is watched before */
    uint64_t ram_bytes;   /* 0: not given */
    gint64 seed;
    gboolean content, all_mappings, json;
    const char *name_filter; /* NULL: all names */
    uint64_t min_mapping_bytes;
    const char *licence, *provenance; /* or NULL */
    /* Readable once SIGINT, SIGTERM or SIGHUP has come; for a source that drives itself. */
    int stop_fd;
} FerryRecordOptions;

/* What a source hands over at the end of a frame; pointers are the source's, until the next call.
 * All zero before the call, but for frame.ran_ns (not known). */
typedef struct {
    FerryTraceFrame frame;         /* runs, n_runs, annotations; span_ns unless it is paced */
    const FerryTraceBlock *blocks; /* that appear in this frame */
    unsigned n_blocks;
    uint64_t cost_ns; /* of capturing it; 0: not measured */
} FerryRecordFrame;

typedef enum {
    FERRY_RECORD_FRAME,
    FERRY_RECORD_LAST, /* a frame, and nothing more: what was recorded is gone */
    FERRY_RECORD_FAILED,
} FerryRecordNext;

/* One thread calls open, begin, next ..., totals, tell, close. */
typedef struct {
    /* NULL: @error is set; G_OPTION_ERROR where the user mistook an option. */
    void *(*open)(const FerryRecordOptions *options, GError **error);
    /* Fills in method, blocks and what else is known. The first frame begins when it returns. */
    gboolean (*begin)(void *self, FerryTraceHeader *header, GError **error);
    /* Classes at the beginning. NULL: none are known. */
    gboolean (*classes)(void *self, uint64_t first, uint64_t n, uint8_t *out, GError **error);
    /* The pages written since begin or the call before. */
    FerryRecordNext (*next)(void *self, FerryRecordFrame *out, GError **error);
    /* next is called once per interval of real time, which also gives frames their span. Without
     * it next is called again at once and gives spans itself. */
    gboolean paced;
    /* For paced ones, both or none: event is called when the descriptor is readable. It may set
     * @out_now: the next frame is due now. */
    int (*event_fd)(void *self);
    gboolean (*event)(void *self, gboolean *out_now, GError **error);
    /* A signal came. TRUE: the source has passed it on, recording continues. @from_terminal: the
     * terminal sent it, to everything in the foreground. NULL: recording ends. */
    gboolean (*signal)(void *self, int number, gboolean from_terminal);
    /* Instead of begin, classes and next: somebody else writes the file, this waits for its end. */
    gboolean (*drive)(void *self, FerryTraceTotals *out_totals, GError **error);
    /* What only the source knows. Others are filled in already. NULL: nothing. */
    void (*totals)(void *self, FerryTraceTotals *totals);
    /* Adds members to the object that --json prints, or lines to @text for people; one of both is
     * NULL. NULL: nothing. */
    void (*tell)(void *self, JsonBuilder *builder, GString *text);
    /* Whatever was recorded goes on as if nothing had been. */
    void (*close)(void *self);
} FerryRecordOps;

extern const FerryRecordOps ferry_record_process;   /* --pid: record-process.c */
extern const FerryRecordOps ferry_record_command;   /* -- COMMAND: record-command.c */
extern const FerryRecordOps ferry_record_qmp;       /* --qmp: record-qmp.c */
extern const FerryRecordOps ferry_record_synthetic; /* --workload: record-synthetic.c */

G_END_DECLS

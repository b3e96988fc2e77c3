/* ferry record --workload: a model's writes, in virtual time. The same seed makes the same file. */
#include "simulator/models.h"
#include "simulator/record.h"
#include "tools/record.h"

typedef struct {
    const FerryRecordOptions *options;
    FerryWorkload workload;
    FerrySimRecording how;
    FerrySimRecorder *recorder;
    uint64_t recorded_ns;
} Synthetic;

static void synthetic_close(void *self)
{
    Synthetic *s = self;

    ferry_sim_recorder_free(s->recorder);
    g_free(s);
}

static void *synthetic_open(const FerryRecordOptions *options, GError **error)
{
    Synthetic *s = g_new0(Synthetic, 1);

    if (!options->ram_bytes || !options->duration_ns) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--workload needs %s",
                    options->ram_bytes ? "--duration" : "--ram");
        g_free(s);
        return NULL;
    }
    s->options = options;
    if (!ferry_model_parse(options->workload, options->ram_bytes, &s->workload, error)) {
        g_free(s);
        return NULL;
    }
    s->how = (FerrySimRecording){.workload = &s->workload,
                                 .interval_ns = options->interval_ns,
                                 .duration_ns = options->duration_ns,
                                 .seed = (uint64_t)options->seed};
    s->recorder = ferry_sim_recorder_new(&s->how, error);
    if (!s->recorder) {
        synthetic_close(s);
        return NULL;
    }
    return s;
}

/* Of host and hour nothing is said: it makes no difference. */
static gboolean synthetic_begin(void *self, FerryTraceHeader *header, GError **error)
{
    const Synthetic *s = self;
    g_autoptr(FerryTraceHeader) own = ferry_sim_record_header(&s->how, s->options->workload);
    const FerryTraceBlock *block = &g_array_index(own->blocks, FerryTraceBlock, 0);

    (void)error;
    g_free(header->method);
    header->method = g_strdup(own->method);
    g_free(header->workload);
    header->workload = g_strdup(own->workload);
    header->seed = own->seed;
    ferry_trace_header_add(header, block->name, block->pages);
    g_clear_pointer(&header->host, g_free);
    header->start_wall_ns = 0;
    header->start_monotonic_ns = 0;
    return TRUE;
}

static gboolean synthetic_classes(void *self, uint64_t first, uint64_t n, uint8_t *out,
                                  GError **error)
{
    const Synthetic *s = self;

    (void)error;
    ferry_sim_recorder_classes(s->recorder, first, n, out);
    return TRUE;
}

static FerryRecordNext synthetic_next(void *self, FerryRecordFrame *out, GError **error)
{
    Synthetic *s = self;

    (void)error;
    if (ferry_sim_recorder_next(s->recorder, &out->frame)) {
        s->recorded_ns += out->frame.span_ns;
    }
    return s->recorded_ns < s->how.duration_ns ? FERRY_RECORD_FRAME : FERRY_RECORD_LAST;
}

const FerryRecordOps ferry_record_synthetic = {
    .open = synthetic_open,
    .begin = synthetic_begin,
    .classes = synthetic_classes,
    .next = synthetic_next,
    .close = synthetic_close,
};

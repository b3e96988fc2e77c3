/* A model's frames, so that its bounds are reckoned as a trace's are: recorded once for all runs
 * of a group, in a file that has no name and goes away with its descriptor. */
#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>
#include "simulator/models.h"
#include "simulator/record.h"
#include "tools/simulate-private.h"

struct FerrySimulateScratch {
    int fd;
    uint64_t bytes;
    FerryTraceReader *reader;
};

static gboolean failed(GError **error)
{
    g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, "in %s: %s", g_get_tmp_dir(),
                g_strerror(errno));
    return FALSE;
}

static gboolean put(void *self, const void *data, size_t n, GError **error)
{
    FerrySimulateScratch *s = self;

    for (const char *at = data; n > 0;) {
        ssize_t done = pwrite(s->fd, at, n, (off_t)s->bytes);
        if (done < 0 && errno != EINTR) {
            return failed(error);
        }
        if (done > 0) {
            at += done;
            n -= (size_t)done;
            s->bytes += (uint64_t)done;
        }
    }
    return TRUE;
}

static gboolean get(void *self, uint64_t offset, void *data, size_t n, GError **error)
{
    const FerrySimulateScratch *s = self;

    for (char *at = data; n > 0;) {
        ssize_t done = pread(s->fd, at, n, (off_t)offset);
        if (done == 0) {
            errno = ENODATA;
        }
        if (done == 0 || (done < 0 && errno != EINTR)) {
            return failed(error);
        }
        if (done > 0) {
            at += done;
            n -= (size_t)done;
            offset += (uint64_t)done;
        }
    }
    return TRUE;
}

static gboolean record(FerrySimulateScratch *s, const FerrySimRecording *how, const char *model,
                       GError **error)
{
    const FerryTraceWriterOptions options = {.no_totals = TRUE};
    const FerryTraceSink sink = {.write = put, .self = s};
    g_autoptr(FerryTraceHeader) header = ferry_sim_record_header(how, model);
    g_autoptr(FerryTraceWriter) writer = ferry_trace_writer_new(header, &sink, &options, error);

    return writer && ferry_sim_record(how, writer, NULL, NULL, error) &&
           ferry_trace_writer_end(writer, NULL, error);
}

FerrySimulateScratch *ferry_simulate_record(const FerrySimulateRun *run, uint64_t duration_ns,
                                            GError **error)
{
    const FerrySimulateValue *of = run->c.of;
    g_autoptr(FerrySimulateScratch) s = g_new0(FerrySimulateScratch, 1);
    g_autofree char *path = NULL;
    FerryWorkload workload;
    FerrySimRecording how = {.workload = &workload,
                             .interval_ns = of[FERRY_SIMULATE_INTERVAL].number,
                             .duration_ns = duration_ns,
                             .seed = of[FERRY_SIMULATE_SEED].number};

    s->fd = g_file_open_tmp("ferry-XXXXXX", &path, error);
    if (s->fd < 0) {
        return NULL;
    }
    g_unlink(path);
    if (!ferry_model_parse(of[FERRY_SIMULATE_WORKLOAD].text, of[FERRY_SIMULATE_RAM].number,
                           &workload, error) ||
        !record(s, &how, of[FERRY_SIMULATE_WORKLOAD].text, error)) {
        return NULL;
    }
    FerryTraceInput input = {.read = get, .self = s, .size = s->bytes};
    s->reader = ferry_trace_reader_new(&input, error);
    return s->reader ? g_steal_pointer(&s) : NULL;
}

FerryTraceReader *ferry_simulate_scratch_reader(FerrySimulateScratch *s) { return s->reader; }

void ferry_simulate_scratch_free(FerrySimulateScratch *s)
{
    if (s) {
        ferry_trace_reader_free(s->reader);
        if (s->fd >= 0) {
            close(s->fd);
        }
        g_free(s);
    }
}

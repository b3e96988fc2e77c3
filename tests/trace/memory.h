/* Traces in memory, for tests: a sink and an input over one GByteArray, and sets that are drawn. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

FerryTraceSink memory_sink(GByteArray *bytes);
FerryTraceInput memory_input(const GByteArray *bytes);

/* The next of a row that @state fixes. */
uint32_t draw(uint32_t *state);
/* Runs within @pages, about one in @spread pages begins one; appended to @runs. */
void draw_runs(GArray *runs, uint64_t pages, unsigned spread, unsigned longest, uint32_t *state);

/* One line of text that says everything of a frame; the caller's. */
char *frame_text(const FerryTraceFrame *frame);
/* Appends the text of each frame; how the trace ends. */
FerryTraceNext read_texts(FerryTraceReader *reader, GPtrArray *texts, GError **error);

/* A trace of @frames frames with everything that a trace may have; @flags from below. */
#define SAMPLE_CLASSES 1u
#define SAMPLE_BLOCKS 2u
#define SAMPLE_NO_END 4u
#define SAMPLE_FLUSHES 8u
/* @texts, if not NULL, gets frame_text() of each frame as it should be read. */
void sample_trace(GByteArray *out, unsigned frames, unsigned flags, GPtrArray *texts);

G_END_DECLS

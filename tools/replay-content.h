/* What a replayed guest's pages hold, and how a write changes them. Not thread-safe: one writer. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_REPLAY_PAGE 4096u

typedef enum {
    FERRY_REPLAY_TRACE,    /* by the classes that the trace has, random where it has none */
    FERRY_REPLAY_RANDOM,   /* bytes that do not pack */
    FERRY_REPLAY_TEXT,     /* pack to about four tenths */
    FERRY_REPLAY_COUNTERS, /* a number in an otherwise empty page */
    FERRY_REPLAY_KEEP,     /* what is there is written again: the content stays */
    FERRY_N_REPLAY_CONTENTS
} FerryReplayContent;
const char *ferry_replay_content_name(FerryReplayContent content);
gboolean ferry_replay_content_parse(const char *name, FerryReplayContent *out_content);

/* SplitMix64's finisher: a random number for each number. */
uint64_t ferry_replay_random(uint64_t x);

/* One write to the page at @host: @class_ as in trace/trace.h, for FERRY_REPLAY_TRACE. @salt tells
 * one write from another: the same one writes the same bytes. */
void ferry_replay_write(FerryReplayContent content, uint8_t *host, uint8_t class_, uint64_t salt);

G_END_DECLS

/* A trace as CSV, read whole: t_ms,block,first_page,n. Pages of a line were written between the
 * time before and its own; n may be 0, which says that nothing was. "#block,NAME,PAGES" says how
 * large a block is, "#page_bytes,N" how large a page; other lines with "#" are comments. */
#pragma once
#include "trace/text.h"

G_BEGIN_DECLS

#define FERRY_CSV_PAGES_MAX (UINT64_C(1) << 28) /* of a block: 1 TiB */

typedef struct {
    uint64_t ns;
    uint32_t block, first, n;
} FerryCsvEvent;

typedef struct {
    GPtrArray *names; /* of blocks */
    GArray *pages;    /* uint64_t, by block: how many there are at least */
    GArray *events;   /* FerryCsvEvent, in order of time */
    uint32_t page_bytes;
} FerryCsv;

/* @out is filled in, and to be cleared, in any case. */
gboolean ferry_csv_read(const FerryTraceText *text, FerryCsv *out, GError **error);
void ferry_csv_clear(FerryCsv *csv);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryCsv, ferry_csv_clear)
/* The shortest time between two moments, ns: what the trace can tell apart; 0: it has one only. */
uint64_t ferry_csv_finest(const FerryCsv *csv);

G_END_DECLS

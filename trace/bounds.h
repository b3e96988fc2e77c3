/* What no policy can beat on a trace: how much must be left at a pause, when a budget can be met
 * first, how far a guest would have to be slowed. Pure. docs/convergence.md has the formulas.
 *
 * Time is cut into bins: frames, or quarters of frames where the trace has them. A write within a
 * bin may have been at its beginning or at its end; both are reckoned, so every answer is a
 * bracket, low to high, that holds the truth. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t bytes_per_second;            /* of the link while the guest runs; not 0 */
    uint64_t switchover_bytes_per_second; /* while it stands; 0: the same */
    uint64_t downtime_limit_ns;
    uint64_t fixed_ns;        /* of the downtime, besides pages */
    uint32_t page_wire_bytes; /* of a page whose class is not known; 0: page_bytes + 8 */
    gboolean packed; /* pages travel packed, as their class says; else only zero pages are small */
} FerryBoundsInput;

typedef struct {
    uint64_t low, high;
} FerryBracket;

typedef struct FerryBounds FerryBounds;
/* The memory has @pages pages; @classes, borrowed for the call, says what they weigh at first;
 * NULL: page_wire_bytes each. NULL if there is no memory for so many. Takes 6 bytes a page that is
 * ever written (7 where classes are known) and 28 a bin. */
FerryBounds *ferry_bounds_new(uint64_t pages, uint32_t page_bytes, const uint8_t *classes,
                              const FerryBoundsInput *input);
/* From now on there are @pages pages; the new ones have not been sent, nor could they. */
gboolean ferry_bounds_grow(FerryBounds *bounds, uint64_t pages);
/* The next frame. It may have pages beyond those known so far, which appear as it begins; FALSE if
 * there is no memory for them, and nothing has changed. */
gboolean ferry_bounds_frame(FerryBounds *bounds, const FerryTraceFrame *frame);
/* Of what was told so far, T being its end. R*(T): wire bytes that are left at T at least, in
 * whatever order pages were sent since the beginning. */
FerryBracket ferry_bounds_residual(const FerryBounds *bounds);
/* The downtime if the guest were paused at T, at least, ns. */
FerryBracket ferry_bounds_downtime(const FerryBounds *bounds);
/* T*(D): the first moment, ns, at which the limit could be met; UINT64_MAX: not so far. */
FerryBracket ferry_bounds_earliest(const FerryBounds *bounds);
/* The shortest downtime at any moment so far, ns. Its low end above the limit: no order of sending
 * meets it in this trace. */
FerryBracket ferry_bounds_shortest(const FerryBounds *bounds);
/* How far the guest must be slowed, in percent, from the beginning to T, that the limit can be met
 * at T: 0 not at all, 100: no throttle helps. */
FerryBracket ferry_bounds_throttle(const FerryBounds *bounds);
/* R_k: wire bytes that stay dirty in the long run under any order that does not know the future,
 * if pages are written at the rates seen so far, memoryless. Takes a few ms. */
uint64_t ferry_bounds_causal(const FerryBounds *bounds);
/* Bytes that must go over the wire at least until T, the last copy included: each page once. */
uint64_t ferry_bounds_bytes(const FerryBounds *bounds);
/* What a residual means, ns. */
uint64_t ferry_bounds_downtime_of(const FerryBounds *bounds, uint64_t residual_bytes);
/* Wire bytes of a page of @class. */
uint32_t ferry_bounds_weight(const FerryBounds *bounds, uint8_t class_);
void ferry_bounds_free(FerryBounds *bounds);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryBounds, ferry_bounds_free)

G_END_DECLS

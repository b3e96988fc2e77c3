/* What stays dirty under any order that knows how often pages are written, but not when. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* @bytes_by_frames: bytes of pages that were written in none, one, ... all of @n_frames frames,
 * which took @length_ns together. */
uint64_t ferry_causal_residual(const uint64_t *bytes_by_frames, uint64_t n_frames,
                               uint64_t length_ns, uint64_t bytes_per_second);

G_END_DECLS

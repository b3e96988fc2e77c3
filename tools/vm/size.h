/* Sizes as QEMU writes them. */
#pragma once
#include <glib.h>
#include <stdint.h>

/* Digits and one of K M G T, in either case; a bare number counts in @unit bytes. FALSE: not a
 * size, or more than 2^63 bytes. */
gboolean size_parse(const char *text, uint64_t unit, uint64_t *out_bytes);
/* Digits alone, @minimum to @maximum. */
gboolean number_parse(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *out);

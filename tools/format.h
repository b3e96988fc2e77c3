/* Sizes, rates and times: how people write them, how the tools print them. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* All refuse with G_OPTION_ERROR_BAD_VALUE and name the forms they know. Numbers may have a
 * fraction where a unit follows ("1.5G"); a result is rounded down. */

/* "4096", "512M", "512MiB", "1.5G": bytes. K, M, G, T are powers of 1024, as QEMU's. */
gboolean ferry_parse_size(const char *text, uint64_t *out_bytes, GError **error);
/* A size, with or without "/s", or bits in powers of 1000: "800Mbit/s", "1Gbit/s". Bytes/s. */
gboolean ferry_parse_rate(const char *text, uint64_t *out_bytes_per_second, GError **error);
/* "300", "300ms", "1.5s": milliseconds. */
gboolean ferry_parse_ms(const char *text, uint64_t *out_ms, GError **error);
/* "300", "0.2", "300ms", "200us", "1.5s", "10min": nanoseconds; milliseconds without a unit. */
gboolean ferry_parse_ns(const char *text, uint64_t *out_ns, GError **error);

/* Free with g_free. Three figures or so, the unit always there. */
char *ferry_format_bytes(uint64_t bytes);                      /* "256.0 MiB" */
char *ferry_format_rate(uint64_t bytes_per_second);            /* "64.0 MiB/s" */
char *ferry_format_ms(double ms);                              /* "12.4 ms", "3.21 s" */
char *ferry_format_bandwidth_words(uint64_t bytes_per_second); /* "64.0 MiB/s (537 Mbit/s)" */

G_END_DECLS

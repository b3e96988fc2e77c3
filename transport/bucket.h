/* A token bucket: how many bytes may go now, and how long until more may. Pure; the caller says
 * what time it is. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    uint64_t bytes_per_second; /* 0 = no limit */
    uint64_t credit_bytes;     /* at at_ns; at most what 100 ms bring */
    uint64_t at_ns;
} FerryBucket;

/* Empty, so that the first second is no faster than the next. */
void ferry_bucket_init(FerryBucket *b, uint64_t bytes_per_second, uint64_t now_ns);
/* What was earned so far was earned at the old rate. */
void ferry_bucket_set_rate(FerryBucket *b, uint64_t bytes_per_second, uint64_t now_ns);
/* How many of @want bytes may go at @now_ns. 0: none yet; a piece worth 10 ms, or all of @want if
 * that is less, goes at *@out_at_ns unless the rate changes. */
uint64_t ferry_bucket_grant(FerryBucket *b, uint64_t want, uint64_t now_ns, uint64_t *out_at_ns);
/* @bytes of what was granted are on their way. */
void ferry_bucket_take(FerryBucket *b, uint64_t bytes);
/* @bytes of what was taken have not gone after all. */
void ferry_bucket_give_back(FerryBucket *b, uint64_t bytes);

G_END_DECLS

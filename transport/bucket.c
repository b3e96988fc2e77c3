#include "transport/bucket.h"

#define SECOND_NS ((uint64_t)1000000000)

/* A share of a second's bytes, at least one. */
static uint64_t share(const FerryBucket *b, uint64_t divisor)
{
    return MAX(b->bytes_per_second / divisor, 1);
}

/* Rounded up: a byte is never granted before it is earned. */
static uint64_t time_of(const FerryBucket *b, uint64_t bytes)
{
    unsigned __int128 ns =
        ((unsigned __int128)bytes * SECOND_NS + b->bytes_per_second - 1) / b->bytes_per_second;

    return ns < UINT64_MAX ? (uint64_t)ns : UINT64_MAX;
}

/* Only whole bytes move at_ns on, so no fraction is lost however often this is called. */
static void refill(FerryBucket *b, uint64_t now_ns)
{
    uint64_t most = share(b, 10);
    unsigned __int128 earned;

    if (b->bytes_per_second == 0 || now_ns <= b->at_ns) {
        b->at_ns = MAX(b->at_ns, now_ns);
        return;
    }
    earned = (unsigned __int128)(now_ns - b->at_ns) * b->bytes_per_second / SECOND_NS;
    if (earned + b->credit_bytes >= most) {
        b->credit_bytes = most;
        b->at_ns = now_ns;
    } else {
        b->credit_bytes += (uint64_t)earned;
        b->at_ns += time_of(b, (uint64_t)earned);
    }
}

void ferry_bucket_init(FerryBucket *b, uint64_t bytes_per_second, uint64_t now_ns)
{
    *b = (FerryBucket){.bytes_per_second = bytes_per_second, .at_ns = now_ns};
}

void ferry_bucket_set_rate(FerryBucket *b, uint64_t bytes_per_second, uint64_t now_ns)
{
    refill(b, now_ns);
    b->bytes_per_second = bytes_per_second;
    b->credit_bytes = bytes_per_second == 0 ? 0 : MIN(b->credit_bytes, share(b, 10));
    b->at_ns = now_ns;
}

uint64_t ferry_bucket_grant(FerryBucket *b, uint64_t want, uint64_t now_ns, uint64_t *out_at_ns)
{
    uint64_t piece;

    refill(b, now_ns);
    if (b->bytes_per_second == 0) {
        return want;
    }
    piece = MIN(want, share(b, 100));
    if (b->credit_bytes >= piece) {
        return MIN(want, b->credit_bytes);
    }
    *out_at_ns = b->at_ns + time_of(b, piece - b->credit_bytes);
    return 0;
}

void ferry_bucket_take(FerryBucket *b, uint64_t bytes)
{
    b->credit_bytes -= MIN(bytes, b->credit_bytes); /* the limit may have been set meanwhile */
}

void ferry_bucket_give_back(FerryBucket *b, uint64_t bytes)
{
    uint64_t most = b->bytes_per_second ? share(b, 10) : 0;

    b->credit_bytes = bytes < most ? MIN(b->credit_bytes + bytes, most) : most;
}

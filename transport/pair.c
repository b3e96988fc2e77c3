/* Two connected ends in memory: one ring of bytes per direction under one lock. */
#include "transport/transport.h"

#include "transport/interrupt.h"

typedef struct {
    uint8_t *data;
    size_t head, used;  /* used bytes from head on, around the end */
    gboolean no_writer; /* end of stream once it is empty */
    gboolean no_reader; /* writing is an error */
} Ring;

typedef struct {
    FerryWaitable waitable; /* guards everything below */
    size_t capacity;
    Ring rings[2]; /* [side] is what that side reads */
    unsigned ends; /* not closed yet */
} Pair;

typedef struct {
    Pair *pair;
    unsigned side;
} End;

static size_t ring_take(Ring *ring, size_t capacity, uint8_t *out, size_t n)
{
    size_t moved = MIN(n, ring->used), first = MIN(moved, capacity - ring->head);

    if (moved == 0) { /* an empty piece may have no base to count from */
        return 0;
    }
    memcpy(out, ring->data + ring->head, first);
    memcpy(out + first, ring->data, moved - first);
    ring->head = (ring->head + moved) % capacity;
    ring->used -= moved;
    return moved;
}

static size_t ring_put(Ring *ring, size_t capacity, const uint8_t *bytes, size_t n)
{
    size_t moved = MIN(n, capacity - ring->used), tail = (ring->head + ring->used) % capacity;
    size_t first = MIN(moved, capacity - tail);

    if (moved == 0) {
        return 0;
    }
    memcpy(ring->data + tail, bytes, first);
    memcpy(ring->data, bytes + first, moved - first);
    ring->used += moved;
    return moved;
}

static gssize pair_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                         GError **error)
{
    End *end = self;
    Pair *pair = end->pair;
    Ring *ring = &pair->rings[end->side];
    gssize moved = 0;
    gboolean may;

    ferry_waitable_lock(&pair->waitable);
    may = ferry_interrupt_check(pair->waitable.interrupt, error);
    while (may && ring->used == 0 && !ring->no_writer) {
        may = ferry_waitable_wait(&pair->waitable, deadline_ns, error);
    }
    for (int i = 0; may && i < n && ring->used > 0; i++) {
        moved += (gssize)ring_take(ring, pair->capacity, iov[i].iov_base, iov[i].iov_len);
    }
    ferry_waitable_wake(&pair->waitable);
    ferry_waitable_unlock(&pair->waitable);
    return may ? moved : -1;
}

static gssize pair_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    End *end = self;
    Pair *pair = end->pair;
    Ring *ring = &pair->rings[!end->side];
    gssize moved = 0;
    gboolean may;

    ferry_waitable_lock(&pair->waitable);
    may = ferry_interrupt_check(pair->waitable.interrupt, error);
    while (may && ring->used == pair->capacity && !ring->no_reader && !ring->no_writer) {
        may = ferry_waitable_wait(&pair->waitable, deadline_ns, error);
    }
    if (may && (ring->no_reader || ring->no_writer)) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                            "the peer closed the connection");
        may = FALSE;
    }
    for (int i = 0; may && i < n && ring->used < pair->capacity; i++) {
        moved += (gssize)ring_put(ring, pair->capacity, iov[i].iov_base, iov[i].iov_len);
    }
    ferry_waitable_wake(&pair->waitable);
    ferry_waitable_unlock(&pair->waitable);
    return may ? moved : -1;
}

static int pair_readable(void *self, uint64_t deadline_ns, GError **error)
{
    End *end = self;
    Pair *pair = end->pair;
    Ring *ring = &pair->rings[end->side];
    GError *why = NULL;
    gboolean may;

    ferry_waitable_lock(&pair->waitable);
    may = ferry_interrupt_check(pair->waitable.interrupt, &why);
    while (may && ring->used == 0 && !ring->no_writer) {
        may = ferry_waitable_wait(&pair->waitable, deadline_ns, &why);
    }
    ferry_waitable_unlock(&pair->waitable);
    if (g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
        g_clear_error(&why);
        return 0;
    }
    if (why != NULL) {
        g_propagate_error(error, why);
    }
    return may ? 1 : -1;
}

/* What is written is where the peer reads it. */
static gint64 pair_queued(void *self)
{
    (void)self;
    return 0;
}

static gboolean pair_shutdown_write(void *self, GError **error)
{
    End *end = self;

    (void)error;
    ferry_waitable_lock(&end->pair->waitable);
    end->pair->rings[!end->side].no_writer = TRUE;
    ferry_waitable_wake(&end->pair->waitable);
    ferry_waitable_unlock(&end->pair->waitable);
    return TRUE;
}

static void pair_abort(void *self)
{
    End *end = self;

    ferry_waitable_lock(&end->pair->waitable);
    for (unsigned i = 0; i < 2; i++) {
        end->pair->rings[i].no_writer = TRUE;
        end->pair->rings[i].no_reader = TRUE;
    }
    ferry_waitable_wake(&end->pair->waitable);
    ferry_waitable_unlock(&end->pair->waitable);
}

static void pair_close(void *self)
{
    End *end = self;
    Pair *pair = end->pair;
    gboolean last;

    ferry_waitable_lock(&pair->waitable);
    pair->rings[!end->side].no_writer = TRUE;
    pair->rings[end->side].no_reader = TRUE;
    last = --pair->ends == 0;
    ferry_waitable_wake(&pair->waitable);
    ferry_waitable_unlock(&pair->waitable);
    g_free(end);
    if (last) {
        ferry_waitable_clear(&pair->waitable);
        g_free(pair->rings[0].data);
        g_free(pair->rings[1].data);
        g_free(pair);
    }
}

static const FerryChannelOps pair_ops = {
    .name = "pair",
    .readv = pair_readv,
    .writev = pair_writev,
    .readable = pair_readable,
    .queued = pair_queued,
    .shutdown_write = pair_shutdown_write,
    .close = pair_close,
    .abort = pair_abort,
};

void ferry_channel_pair(size_t capacity, FerryInterrupt *interrupt, FerryChannel **out_a,
                        FerryChannel **out_b)
{
    FerryChannel **outs[] = {out_a, out_b};
    Pair *pair;

    g_return_if_fail(capacity > 0);
    pair = g_new0(Pair, 1);
    ferry_waitable_init(&pair->waitable, interrupt);
    pair->capacity = capacity;
    pair->ends = 2;
    for (unsigned side = 0; side < 2; side++) {
        End *end = g_new0(End, 1);
        pair->rings[side].data = g_malloc(capacity);
        end->pair = pair;
        end->side = side;
        *outs[side] = ferry_channel_new(&pair_ops, end, "pair");
    }
}

/* What another thread does ends a wait: bytes that arrive, room that is made, a peer that goes, a
 * rate that is raised, a connection that is cut. One argument: the kind of channel. */
#include <pthread.h>
#include <stdio.h>

#include "tests/transport/support.h"

typedef struct {
    FerryChannel *mine, *other;
    size_t filled; /* bytes written before the wait */
} Ends;

typedef gboolean (*Func)(Ends *ends);

static char scratch[2][1 << 16]; /* one for each thread */

static gboolean read_byte(Ends *e)
{
    return ferry_channel_read(e->mine, scratch[0], 1, patience(), NULL) == 1;
}

static gboolean read_end(Ends *e)
{
    return ferry_channel_read(e->mine, scratch[0], 1, patience(), NULL) == 0;
}

static gboolean read_cut(Ends *e)
{
    g_autoptr(GError) error = NULL;

    return ferry_channel_read(e->mine, scratch[0], 1, patience(), &error) < 0 &&
           g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED);
}

static gboolean write_bytes(Ends *e)
{
    return ferry_channel_write_all(e->mine, scratch[0], sizeof scratch[0], PATIENCE_NS, NULL);
}

static gboolean write_cut(Ends *e)
{
    g_autoptr(GError) error = NULL;

    return !ferry_channel_write_all(e->mine, scratch[0], sizeof scratch[0], PATIENCE_NS, &error) &&
           g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED);
}

static gboolean send_byte(Ends *e)
{
    return ferry_channel_write_all(e->other, "x", 1, PATIENCE_NS, NULL);
}

static gboolean drain(Ends *e)
{
    for (size_t left = e->filled + sizeof scratch[0]; left > 0;) {
        gssize n = ferry_channel_read(e->other, scratch[1], MIN(left, sizeof scratch[1]),
                                      patience(), NULL);
        if (n <= 0) {
            return FALSE;
        }
        left -= (size_t)n;
    }
    return TRUE;
}

static gboolean close_other(Ends *e)
{
    ferry_channel_free(g_steal_pointer(&e->other));
    return TRUE;
}

static gboolean abort_mine(Ends *e)
{
    ferry_channel_abort(e->mine);
    return TRUE;
}

/* A fault counts what is written; the reading thread must hear of it, too. */
static gboolean write_up_to_the_cut(Ends *e)
{
    return ferry_channel_write_all(e->mine, "x", 1, PATIENCE_NS, NULL);
}

static gboolean lift_the_limit(Ends *e)
{
    ferry_channel_ratelimit_set(e->mine, 0);
    return TRUE;
}

static const struct {
    const char *what;
    Func wait, act;
    gboolean full, cut, limited;
} cases[] = {
    {"bytes arrive",        read_byte,   send_byte,           FALSE, FALSE, FALSE},
    {"the peer goes",       read_end,    close_other,         FALSE, FALSE, FALSE},
    {"room is made",        write_bytes, drain,               TRUE,  FALSE, FALSE},
    {"nobody reads",        write_cut,   close_other,         TRUE,  FALSE, FALSE},
    {"abort ends a read",   read_end,    abort_mine,          FALSE, FALSE, FALSE},
    {"abort ends a write",  write_cut,   abort_mine,          TRUE,  FALSE, FALSE},
    {"a cut ends a read",   read_cut,    write_up_to_the_cut, FALSE, TRUE,  FALSE},
    {"the limit is lifted", write_bytes, lift_the_limit,      FALSE, FALSE, TRUE },
};

typedef struct {
    Ends *ends;
    Func act;
} Other;

static void *act_soon(void *data)
{
    Other *other = data;

    g_usleep(10000);
    return other->act(other->ends) ? data : NULL;
}

static gboolean run(const char *kind, unsigned i)
{
    Ends ends = {.filled = 0};
    FerryFault cut = {.kind = FERRY_FAULT_CUT, .position = 1};
    Other other = {.ends = &ends, .act = cases[i].act};
    pthread_t thread;
    void *acted = NULL;
    gboolean woke;

    connected(kind, NULL, &ends.mine, &ends.other);
    if (cases[i].full) {
        fill(ends.mine);
        ends.filled = ferry_channel_bytes_written(ends.mine);
    }
    if (cases[i].cut) {
        ends.mine = ferry_channel_fault(ends.mine, &cut, NULL);
    }
    if (cases[i].limited) { /* half a day for what is written, but for the other thread */
        ends.mine = ferry_channel_ratelimit(ends.mine, 1, NULL);
    }
    pthread_create(&thread, NULL, act_soon, &other);
    woke = cases[i].wait(&ends);
    pthread_join(thread, &acted);
    ferry_channel_free(ends.mine);
    ferry_channel_free(ends.other);
    if (!woke || acted == NULL) {
        fprintf(stderr, "%s: %s\n", kind, cases[i].what);
    }
    return woke && acted != NULL;
}

int main(int argc, char **argv)
{
    gboolean good = TRUE;

    if (argc != 2) {
        return 1;
    }
    if (!kind_is_usable(argv[1])) {
        return 77;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        good &= run(argv[1], i);
    }
    return good ? 0 : 1;
}

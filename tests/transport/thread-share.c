/* Channels that share a rate limit keep it together, whichever of them is freed first. One
 * argument: the kind of channel. */
#include <pthread.h>
#include <stdio.h>

#include "tests/transport/support.h"

#define N 3
#define RATE (4u << 20)
#define BYTES (256u << 10) /* of each */

typedef struct {
    FerryChannel *mine, *other;
    pthread_t writer, reader;
    gboolean wrote, read;
} End;

static char zeros[BYTES];

static void *write_all(void *data)
{
    End *e = data;

    e->wrote = ferry_channel_write_all(e->mine, zeros, sizeof zeros, PATIENCE_NS, NULL);
    return NULL;
}

static void *read_all(void *data)
{
    End *e = data;
    g_autofree char *buffer = g_malloc(BYTES);

    e->read = ferry_channel_read_all(e->other, buffer, BYTES, patience(), NULL);
    return NULL;
}

static gboolean together(End *ends, unsigned n)
{
    uint64_t begin_ns = ferry_now_ns(), ns;
    gboolean ok = TRUE;

    for (unsigned i = 0; i < n; i++) {
        pthread_create(&ends[i].writer, NULL, write_all, &ends[i]);
        pthread_create(&ends[i].reader, NULL, read_all, &ends[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(ends[i].writer, NULL);
        pthread_join(ends[i].reader, NULL);
        ok = ok && ends[i].wrote && ends[i].read;
    }
    ns = ferry_now_ns() - begin_ns;
    /* An idle limit has saved up 100 ms at most. */
    if (n * (uint64_t)BYTES > RATE / 10 + ns * RATE / 1000000000) {
        fprintf(stderr, "%u bytes in %lu ns\n", n * BYTES, (unsigned long)ns);
        return FALSE;
    }
    return ok;
}

int main(int argc, char **argv)
{
    End ends[N] = {0};
    gboolean ok;

    if (argc != 2) {
        return 1;
    }
    if (!kind_is_usable(argv[1])) {
        return 77;
    }
    for (unsigned i = 0; i < N; i++) {
        connected(argv[1], NULL, &ends[i].mine, &ends[i].other);
        ends[i].mine = i == 0 ? ferry_channel_ratelimit(ends[i].mine, RATE, NULL)
                              : ferry_channel_ratelimit_join(ends[i].mine, ends[0].mine);
    }
    ok = together(ends, N);
    ferry_channel_free(ends[0].mine);
    ferry_channel_free(ends[0].other);
    ok = ok && together(ends + 1, N - 1); /* the limit lives on */
    for (unsigned i = 1; i < N; i++) {
        ferry_channel_free(ends[i].mine);
        ferry_channel_free(ends[i].other);
    }
    return ok ? 0 : 1;
}

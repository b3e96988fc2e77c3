/* 64 MiB each way at once, two threads on each channel, in gathered pieces of random size on both
 * ends: what arrives is what was sent. One argument: the kind of channel. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "tests/transport/support.h"

#define BYTES ((size_t)64 << 20)

typedef struct {
    FerryChannel *channel;
    uint64_t seed;
    gboolean writes;
    XXH64_hash_t hash;
    GError *error;
} Side;

/* Up to 300 elements of up to 16 KiB, many of them small, some empty. */
static int random_iov(uint64_t *state, uint8_t *buffer, size_t size, struct iovec *iov, int most)
{
    int n = 1 + (int)(next_random(state) % (uint64_t)most);
    size_t used = 0;

    for (int i = 0; i < n; i++) {
        size_t length = next_random(state) % (16384 >> (next_random(state) % 14));
        iov[i] = (struct iovec){buffer + used, MIN(length, size - used)};
        used += iov[i].iov_len;
    }
    if (used == 0) {
        iov[0].iov_len = 1;
    }
    return n;
}

static void hash_iov(XXH64_state_t *hash, const struct iovec *iov, size_t bytes)
{
    for (; bytes > 0; iov++) {
        size_t length = MIN(bytes, iov->iov_len);
        if (length > 0) {
            XXH64_update(hash, iov->iov_base, length);
        }
        bytes -= length;
    }
}

static gboolean move_some(Side *side, uint64_t *state, uint8_t *buffer, size_t left,
                          XXH64_state_t *hash, size_t *out_moved)
{
    struct iovec iov[300];
    int n = random_iov(state, buffer, left, iov, G_N_ELEMENTS(iov));
    size_t bytes = 0;
    gssize moved;

    if (!side->writes) {
        moved = ferry_channel_readv(side->channel, iov, n, patience(), &side->error);
        if (moved <= 0) {
            return FALSE;
        }
        hash_iov(hash, iov, (size_t)moved);
        *out_moved = (size_t)moved;
        return TRUE;
    }
    for (int i = 0; i < n; i++) {
        bytes += iov[i].iov_len;
    }
    for (size_t i = 0; i < bytes; i += 64) { /* one byte a line is enough to tell them apart */
        buffer[i] = (uint8_t)next_random(state);
    }
    hash_iov(hash, iov, bytes);
    *out_moved = bytes;
    return ferry_channel_writev_all(side->channel, iov, n, PATIENCE_NS, &side->error);
}

static void *run(void *data)
{
    Side *side = data;
    uint64_t state = side->seed;
    g_autofree uint8_t *buffer = g_malloc0(300 * 16384);
    XXH64_state_t *hash = XXH64_createState();

    XXH64_reset(hash, 0);
    for (size_t done = 0, moved; done < BYTES; done += moved) {
        if (!move_some(side, &state, buffer, MIN(BYTES - done, 300 * 16384), hash, &moved)) {
            break;
        }
    }
    side->hash = XXH64_digest(hash);
    XXH64_freeState(hash);
    return NULL;
}

static gboolean copy(const char *kind)
{
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    Side sides[4];
    pthread_t threads[4];

    connected(kind, NULL, &a, &b);
    for (unsigned i = 0; i < 4; i++) {
        sides[i] = (Side){.channel = i < 2 ? a : b, .seed = i, .writes = i % 2 == 0};
        pthread_create(&threads[i], NULL, run, &sides[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        if (sides[i].error != NULL) {
            fprintf(stderr, "side %u: %s\n", i, sides[i].error->message);
            g_clear_error(&sides[i].error);
            return FALSE;
        }
    }
    return sides[0].hash == sides[3].hash && sides[2].hash == sides[1].hash &&
           ferry_channel_bytes_written(a) == BYTES && ferry_channel_bytes_read(a) == BYTES &&
           ferry_channel_bytes_written(b) == BYTES && ferry_channel_bytes_read(b) == BYTES;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        return 1;
    }
    if (!kind_is_usable(argv[1])) {
        return 77;
    }
    if (!copy(argv[1])) {
        fprintf(stderr, "%s: what arrived is not what was sent\n", argv[1]);
        return 1;
    }
    return 0;
}

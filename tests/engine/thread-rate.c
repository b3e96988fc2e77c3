/* Every call into the kernel takes its time, and a gather of zero pages is a few kilobytes: that
 * says nothing about the link. A migration of mostly empty memory still meets its limit. */
#include <pthread.h>
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"
#include "transport/wrap.h"

#define MS 1000000ull
#define PAGES 16384ull /* 43 gathers of zero pages */
#define CALL_US 5000

/* A channel that is fast, each write of which takes its time. */
static gssize slow_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    g_usleep(CALL_US);
    return ferry_channel_pass_writev(self, iov, n, deadline_ns, error);
}

static gssize slow_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                         GError **error)
{
    return ferry_channel_pass_readv(self, iov, n, deadline_ns, error);
}

static int slow_readable(void *self, uint64_t deadline_ns, GError **error)
{
    return ferry_channel_pass_readable(self, deadline_ns, error);
}

static gint64 slow_queued(void *self) { return ferry_channel_queued(self); }

static void slow_abort(void *self) { ferry_channel_abort(self); }

static void slow_close(void *self) { ferry_channel_free(self); }

static const FerryChannelOps slow = {.name = "slow",
                                     .readv = slow_readv,
                                     .writev = slow_writev,
                                     .readable = slow_readable,
                                     .queued = slow_queued,
                                     .abort = slow_abort,
                                     .close = slow_close};

typedef struct {
    FerryDestination *destination;
    gboolean ok;
    GError *error;
} Receiving;

static void *receive(void *data)
{
    Receiving *r = data;

    r->ok = ferry_destination_run(r->destination, &r->error);
    return NULL;
}

int main(void)
{
    g_autoptr(CountingGuest) from = counting_guest_new(PAGES, 1, 1);
    g_autoptr(CountingGuest) to = counting_guest_new(PAGES, 1, 2);
    g_autoptr(FerryInterrupt) here = ferry_interrupt_new(NULL);
    g_autoptr(FerryInterrupt) there = ferry_interrupt_new(NULL);
    g_autoptr(GError) error = NULL;
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    FerryChannel *a, *b;
    FerryProgress progress;
    Receiving r = {0};
    pthread_t thread;

    limits.downtime_limit_ns = 300 * MS;
    limits.max_bandwidth = 0;
    limits.timeout = (FerryTimeout){.timeout_ns = 30000 * MS};
    ferry_channel_pair(4 << 20, NULL, &a, &b);
    a = ferry_channel_wrap(a, &slow, a);
    g_autoptr(FerrySource) source =
        ferry_source_new(counting_guest_describe(from), a, here, NULL, &limits);
    r.destination = ferry_destination_new(counting_guest_describe(to), b, there, NULL);
    counting_guest_run(from);
    counting_guest_await_writes(from);
    g_assert(pthread_create(&thread, NULL, receive, &r) == 0);

    gboolean ok = ferry_source_run(source, &error);
    if (!ok) {
        ferry_interrupt_raise(there);
    }
    pthread_join(thread, NULL);
    ferry_source_get_progress(source, &progress);
    /* A zero page's record is 9 bytes: 384 of them in 5 ms would be 700 kB/s. */
    EXPECT(progress.uncapped_bytes_per_second > 10000000, "%lu bytes/s",
           (unsigned long)progress.uncapped_bytes_per_second);
    g_clear_error(&r.error);
    ferry_destination_free(r.destination);
    return failures != 0;
}

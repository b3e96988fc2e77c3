/* How close does a migration come to a plain copy of the same bytes?
 *
 * One guest's RAM goes over the TCP loopback to another process, in turn by Ferry (its source and
 * its destination, a guest that does not write, dirty log of marks) and by a plain socket (send and
 * recv in 1 MiB pieces). Both move the same memory, full of random bytes, to the same memory; the
 * pages of both sides are touched before each run and stay in place, so no first touch is measured.
 * The destination's memory is full where Ferry's contract says zero: nothing but whole pages is
 * sent, so nothing depends on it here. The wall time of a run begins before the connection is made
 * and ends when the other side has said that it has everything; a migration's handover is in it. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/two-ends.h"

static void show(const char *name, unsigned pair, uint64_t bytes, const BenchCost *cost)
{
    double seconds = (double)cost->wall_ns / 1e9;

    printf("{\"bench\": \"copy\", \"case\": \"%s\", \"pair\": %u, \"bytes\": %" G_GUINT64_FORMAT
           ", \"wall_ms\": %.1f, \"bytes_per_second\": %.0f, \"source_cpu_ms\": %.1f, "
           "\"destination_cpu_ms\": %.1f}\n",
           name, pair, bytes, seconds * 1e3, (double)bytes / seconds, (double)cost->cpu_ns[0] / 1e6,
           (double)cost->cpu_ns[1] / 1e6);
    fprintf(stderr, "%4u  %-7s %9.1f ms %9.1f MiB/s %9.1f ms %9.1f ms\n", pair, name, seconds * 1e3,
            (double)bytes / 1048576 / seconds, (double)cost->cpu_ns[0] / 1e6,
            (double)cost->cpu_ns[1] / 1e6);
    fflush(stdout);
}

static double cpu(const BenchCost *cost) { return (double)(cost->cpu_ns[0] + cost->cpu_ns[1]); }

static void summarise(const char *what, double *ratios, unsigned n, const char *congestion)
{
    double median = bench_median(ratios, n);

    printf("{\"bench\": \"copy\", \"case\": \"ferry/socket\", \"value\": \"%s\", \"pairs\": %u, "
           "\"ratio_median\": %.3f, \"ratio_least\": %.3f, \"ratio_most\": %.3f, "
           "\"congestion_control\": \"%s\"}\n",
           what, n, median, ratios[0], ratios[n - 1], congestion);
    fprintf(stderr, "ferry / socket, %s: median %.3f of %u pairs (%.3f to %.3f), %s\n", what,
            median, n, ratios[0], ratios[n - 1], congestion);
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 10) : 1024;
    unsigned n = argc > 2 ? (unsigned)g_ascii_strtoull(argv[2], NULL, 10) : 7;
    g_autofree double *wall = NULL;
    g_autofree double *time = NULL;
    g_autofree char *congestion = bench_congestion_control();
    BenchMemory memory;

    if (argc > 3 || mib == 0 || n == 0 || n > 1000) {
        fputs("usage: bench-copy [MEMORY_MIB [PAIRS]]\n", stderr);
        return 2;
    }
    wall = g_new(double, n);
    time = g_new(double, n);
    bench_memory_init(&memory, mib << 20);
    bench_run(&bench_socket, &memory, FALSE); /* the first of all is not counted */
    fprintf(stderr, "pair  way          wall time       rate     CPU source  destination\n");
    for (unsigned i = 0; i < n; i++) {
        BenchCost ferry = bench_run(&bench_ferry, &memory, FALSE);
        BenchCost plain = bench_run(&bench_socket, &memory, FALSE);
        show("ferry", i + 1, memory.bytes, &ferry);
        show("socket", i + 1, memory.bytes, &plain);
        wall[i] = (double)ferry.wall_ns / (double)plain.wall_ns;
        time[i] = cpu(&ferry) / cpu(&plain);
    }
    summarise("wall time", wall, n, congestion);
    summarise("CPU time", time, n, congestion);
    return 0;
}

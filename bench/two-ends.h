/* For benchmarks: one side here, the other in a child process, a TCP loopback connection between
 * them, and what each side cost. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    uint8_t *source, *destination; /* shared mappings */
    uint64_t bytes;
} BenchMemory;

/* @fd: the connection, borrowed. send must return only when the other side has everything. Errors
 * end the process. */
typedef struct {
    const char *name;
    void (*send)(int fd, const BenchMemory *memory);
    void (*receive)(int fd, const BenchMemory *memory);
} BenchContender;

typedef struct {
    uint64_t wall_ns;       /* from before the connection is made to the end of send */
    uint64_t cpu_ns[2];     /* user and system: source, destination */
    uint64_t anon_bytes[2]; /* largest growth of RssAnon; 0 unless asked for */
} BenchCost;

/* Source filled with random bytes, the destination too: both warm. */
void bench_memory_init(BenchMemory *memory, uint64_t bytes);
/* @watch_memory: sample RssAnon each millisecond, which costs CPU time. */
BenchCost bench_run(const BenchContender *contender, const BenchMemory *memory,
                    gboolean watch_memory);
extern const BenchContender bench_ferry;  /* a guest that does not write */
extern const BenchContender bench_socket; /* send and recv in pieces of 1 MiB */

G_NORETURN void bench_die(const char *what, const char *why);
double bench_median(double *values, unsigned n); /* sorts them */
char *bench_congestion_control(void);            /* g_free */

G_END_DECLS

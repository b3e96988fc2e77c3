/* How much memory of its own does a migration take? Guest RAM is a shared mapping and does not
 * count; RssAnon of each side is sampled each millisecond. The promise is 0.1 % of guest RAM plus
 * 32 MiB. */
#include <stdio.h>

#include "bench/two-ends.h"

int main(int argc, char **argv)
{
    static const char *const sides[] = {"source", "destination"};
    uint64_t mib = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 10) : 4096;
    uint64_t allowed = (mib << 20) / 1000 + (32u << 20);
    BenchMemory memory;
    BenchCost cost;
    gboolean kept = TRUE;

    if (argc > 2 || mib == 0) {
        fputs("usage: bench-memory [MEMORY_MIB]\n", stderr);
        return 2;
    }
    bench_memory_init(&memory, mib << 20);
    cost = bench_run(&bench_ferry, &memory, TRUE);
    for (unsigned i = 0; i < 2; i++) {
        printf("{\"bench\": \"memory\", \"case\": \"%s\", \"guest_bytes\": %" G_GUINT64_FORMAT
               ", \"engine_bytes\": %" G_GUINT64_FORMAT ", \"allowed_bytes\": %" G_GUINT64_FORMAT
               "}\n",
               sides[i], memory.bytes, cost.anon_bytes[i], allowed);
        fprintf(stderr,
                "%-12s guest %" G_GUINT64_FORMAT " MiB, engine %.2f MiB, allowed %.2f MiB\n",
                sides[i], mib, (double)cost.anon_bytes[i] / 1048576, (double)allowed / 1048576);
        kept = kept && cost.anon_bytes[i] <= allowed;
    }
    return kept ? 0 : 1;
}

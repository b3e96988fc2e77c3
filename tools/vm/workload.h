/* -workload: its options, and the facts and memory that the guest program starts with. */
#pragma once
#include <glib.h>
#include "tools/vm/workload-core.h"

G_BEGIN_DECLS

/* What the command line says; 0 = not said. */
typedef struct {
    WorkloadKind kind;
    uint64_t size_bytes, hot_bytes;
    uint64_t rate; /* pages/s of all vCPUs together; 0 = as fast as they can */
    uint64_t seed;
    unsigned share_percent;
    gboolean fill; /* random bytes in the working set at the start */
} WorkloadOptions;

/* "NAME[,key=value...]". VM_ERROR_USAGE names the word that is wrong. */
gboolean workload_parse(const char *text, WorkloadOptions *out, GError **error);
const char *workload_name(uint32_t kind);
/* Defaults filled in: size is half of @ram_bytes, hot a tenth of size, share 90. VM_ERROR_USAGE:
 * it does not fit. */
gboolean workload_facts(const WorkloadOptions *options, uint64_t ram_bytes, unsigned n_vcpus,
                        uint64_t ticks_per_second, WorkloadFacts *out, GError **error);
/* Whether a machine with @ram_bytes and @n_vcpus could have made them; they may come from a peer.
 * VM_ERROR_STATE. */
gboolean workload_facts_check(const WorkloadFacts *facts, uint64_t ram_bytes, unsigned n_vcpus,
                              GError **error);
/* Facts, states, code and page tables into fresh guest memory. @hole, @hole_end: where the block is
 * interrupted in guest-physical addresses. */
void workload_install(const WorkloadFacts *facts, gboolean fill, uint8_t *ram, uint64_t ram_bytes,
                      uint64_t hole, uint64_t hole_end, uint64_t now);
WorkloadState *workload_state(uint8_t *ram, unsigned vcpu);

G_END_DECLS

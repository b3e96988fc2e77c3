/* What things take on a host, for migrations in virtual time: a JSON object that `ferry check
 * --calibrate` writes and `ferry simulate --costs` reads. */
#pragma once
#include "simulator/simulate.h"
#include "tools/result-line.h"

G_BEGIN_DECLS

typedef struct {
    FerrySimCosts host;
    uint64_t clear_ns_per_gib; /* by which a clear of a larger chunk than 2 MiB takes longer */
    uint64_t pack_ns[FERRY_N_SIM_CODECS]; /* of a page, one thread; 0: the simulator's */
    char *machine;                        /* where it was measured; NULL: nowhere, built in */
} FerryCosts;
#define FERRY_COSTS_DEFAULT                                                                        \
    {                                                                                              \
        .host = FERRY_SIM_COSTS_DEFAULT                                                            \
    }
void ferry_costs_clear(FerryCosts *costs);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryCosts, ferry_costs_clear)

/* What the file does not say stays as it is in @costs. */
gboolean ferry_costs_read(const char *path, FerryCosts *costs, GError **error);
/* A clear of so many bytes; host.clear_ns is that of 2 MiB. */
uint64_t ferry_costs_clear_ns(const FerryCosts *costs, uint64_t chunk_bytes);
/* As members of the file's object, which is of type "costs". */
void ferry_costs_add(FerryResultLine *line, const FerryCosts *costs);

G_END_DECLS

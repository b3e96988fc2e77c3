/* What things take on a host, for migrations in virtual time: a JSON object that `ferry check
 * --calibrate` writes and `ferry simulate --costs` reads. */
#pragma once
#include "simulator/simulate.h"
#include "tools/result-line.h"

G_BEGIN_DECLS

typedef struct {
    FerrySimCosts host;
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
/* As members of the file's object, which is of type "costs". */
void ferry_costs_add(FerryResultLine *line, const FerryCosts *costs);

G_END_DECLS

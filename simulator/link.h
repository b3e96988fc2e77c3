/* A link in virtual time: when what is handed to it has gone. Pure. */
#pragma once
#include "simulator/simulate.h"

G_BEGIN_DECLS

/* NULL: bytes get through in the end; else why not. Static. */
const char *ferry_sim_link_check(const FerrySimLink *link);
/* Bytes/s at @now_ns, and until when that holds. */
double ferry_sim_link_rate(const FerrySimLink *link, uint64_t seed, uint64_t now_ns,
                           uint64_t *out_until_ns);
/* When the last of @bytes has gone if the first goes at @from_ns. */
double ferry_sim_link_gone(const FerrySimLink *link, uint64_t seed, double from_ns, double bytes);

G_END_DECLS

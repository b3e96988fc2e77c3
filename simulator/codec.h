/* What pages weigh on the wire when they are packed, and what packing takes. Pure. */
#pragma once
#include "simulator/guest.h"
#include "simulator/simulate.h"

G_BEGIN_DECLS

typedef struct {
    const FerrySimCodec *how;
    uint64_t n_slots;  /* xbzrle */
    uint32_t *page_of; /* + 1; 0: none */
    uint32_t *sync_of; /* when it was last sent */
} FerrySimPacker;

/* Borrows @how. */
void ferry_sim_packer_init(FerrySimPacker *packer, const FerrySimCodec *how);
void ferry_sim_packer_clear(FerrySimPacker *packer);
/* Wire bytes of a page without its header, which is sent for the first time or @again behind sync
 * number @sync; 0: a zero page. */
uint64_t ferry_sim_packer_weigh(FerrySimPacker *packer, uint64_t page,
                                const FerrySimContent *content, gboolean again, unsigned sync);
/* CPU time of the sender for a page, all its threads working. */
uint64_t ferry_sim_packer_page_ns(const FerrySimPacker *packer);

G_END_DECLS

/* What a stream must look like for a given destination: the things that are not negotiated on the
 * wire, where the wrong choice wedges a destination or corrupts its memory. Pure. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

typedef struct {
    gboolean
        flush_per_round; /* multifd barrier at each FLUSH record; else at each end of section */
    gboolean zero_in_packets;  /* zero pages of multifd in its packets; else ZERO records on main */
    gboolean switchover_start; /* SWITCHOVER_START before the end of ram */
    gboolean compress_page;    /* COMPRESS_PAGE records are understood (up to 9.0) */
} FerryDialect;

/* Between two Ferrys; a stock QEMU of today understands it as well. */
extern const FerryDialect ferry_dialect_ferry;

/* For a QEMU of @version ("7.2", "10.0.13"; NULL: not known) that runs @machine ("pc-i440fx-7.2";
 * "microvm", which has no version, takes the binary's). Machine types decide from 8.1 on; where the
 * version is not known the machine type's own is the oldest that can run it, and the safest choice
 * that every later one accepts is made. FERRY_ENGINE_ERROR_REFUSED: neither says enough, or the
 * version cannot run the machine. */
gboolean ferry_dialect_for(const char *machine, const char *version, FerryDialect *out_dialect,
                           GError **error);

G_END_DECLS

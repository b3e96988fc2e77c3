/* What a migration can end with. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

#define FERRY_ENGINE_ERROR (ferry_engine_error_quark())
GQuark ferry_engine_error_quark(void);
/* Each stands for something a caller does differently. After all but UNSURE the source's guest is
 * as it was before the migration began; the destination holds nothing. */
typedef enum {
    FERRY_ENGINE_ERROR_REFUSED,   /* found before anything was sent: a blocker, a wrong setting */
    FERRY_ENGINE_ERROR_CANCELLED, /* by ferry_source_cancel() or ferry_destination_cancel() */
    FERRY_ENGINE_ERROR_PEER,      /* the other side refused, broke the protocol or vanished */
    FERRY_ENGINE_ERROR_GUEST,     /* a callback of the embedder failed: pause, save, load, log */
    FERRY_ENGINE_ERROR_STALLED,   /* given up, as the user chose for a guest that outruns the link */
    FERRY_ENGINE_ERROR_UNSURE,    /* in doubt: nobody runs, both images are whole; resolve it */
} FerryEngineError;

G_END_DECLS

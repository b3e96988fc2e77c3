/* How much of its memory a running guest writes, measured by its dirty log while no migration runs:
 * distinct pages within windows of growing length, all from one beginning, because one number does
 * not tell a small set that is written often from a large one that is written seldom. */
#pragma once
#include "engine/migration.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_DIRTY_RATE_UNSTARTED,
    FERRY_DIRTY_RATE_MEASURING,
    FERRY_DIRTY_RATE_MEASURED,
} FerryDirtyRateStatus;
const char *ferry_dirty_rate_status_name(FerryDirtyRateStatus status); /* QEMU's */

#define FERRY_DIRTY_RATE_MS_MIN 50 /* QEMU's range */
#define FERRY_DIRTY_RATE_MS_MAX 60000
#define FERRY_DIRTY_RATE_WINDOWS 16

typedef struct {
    FerryDirtyRateStatus status;
    uint64_t start_ns, calc_ms;
    unsigned n_windows; /* as far as it has come; the last one is the whole time */
    struct {
        uint64_t ns, pages;
    } windows[FERRY_DIRTY_RATE_WINDOWS];
    uint64_t ram_bytes;
    uint64_t sampled_pages, zero_pages; /* of so many all over memory so many were zeros */
    char error[256];                    /* of the last measurement, which told nothing; "": none */
} FerryDirtyRate;

typedef struct FerryDirtyRateMeter FerryDirtyRateMeter;
/* Borrows @migration, whose guest is measured. */
FerryDirtyRateMeter *ferry_dirty_rate_meter_new(FerryMigration *migration);
/* In the background; the guest runs on, and takes a fault for each page that it writes. Refused
 * while a migration runs or the guest has no dirty log; no migration begins meanwhile. */
gboolean ferry_dirty_rate_meter_start(FerryDirtyRateMeter *meter, uint64_t calc_ms, GError **error);
/* Any thread. */
void ferry_dirty_rate_meter_get(FerryDirtyRateMeter *meter, FerryDirtyRate *out_rate);
void ferry_dirty_rate_meter_free(FerryDirtyRateMeter *meter); /* ends what is measured */

G_END_DECLS

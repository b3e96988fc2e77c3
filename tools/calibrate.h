/* ferry check --calibrate: what things take on this host, for migrations in virtual time. */
#pragma once
#include "tools/costs.h"
#include "tools/result-line.h"

G_BEGIN_DECLS

/* Content of pages that are packed. */
typedef enum {
    FERRY_CALIBRATE_TEXT,
    FERRY_CALIBRATE_COUNTERS,
    FERRY_CALIBRATE_RANDOM,
    FERRY_CALIBRATE_N_CONTENTS
} FerryCalibrateContent;
const char *ferry_calibrate_content_name(FerryCalibrateContent content);

/* One way to pack at one level, and one content. */
typedef struct {
    FerrySimCodecKind kind;
    int level;
    FerryCalibrateContent content;
    uint64_t page_ns;
    unsigned wire_permille; /* what comes of it */
} FerryCalibratePacked;

/* Zero test and a socket's copy of a page; CPU time. */
uint64_t ferry_calibrate_page_ns(void);
GArray *ferry_calibrate_packed(void); /* FerryCalibratePacked */

#define FERRY_CALIBRATE_N_CHUNKS 3
typedef struct {
    uint64_t sync_ns, sync_ns_per_gib;
    uint64_t chunk_bytes[FERRY_CALIBRATE_N_CHUNKS], clear_ns[FERRY_CALIBRATE_N_CHUNKS];
} FerryCalibrateLog;
/* With a VM of its own, whose vCPU writes all of its memory. FALSE: why there is none. */
gboolean ferry_calibrate_kvm(FerryCalibrateLog *out, GError **error);

/* The line of a costs file, and the same for people in @text; free with g_free. Takes seconds. */
char *ferry_calibrate(GString *text);

G_END_DECLS

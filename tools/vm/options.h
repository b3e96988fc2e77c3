/* The command line, in QEMU's spelling. */
#pragma once
#include <glib.h>
#include "tools/vm/workload.h"

G_BEGIN_DECLS

typedef enum { ACCEL_KVM, ACCEL_PROCESS } Accel;
typedef enum { SERIAL_UNSET, SERIAL_NONE, SERIAL_STDIO, SERIAL_FILE } SerialKind;

typedef struct {
    gboolean help, version;
    char *machine; /* the type's name; the same on both sides */
    uint64_t ram_bytes;
    unsigned n_vcpus;
    Accel accel;
    uint32_t dirty_ring_entries; /* per vCPU; 0: bitmaps */
    gboolean start_paused;
    gboolean has_uuid;
    uint8_t uuid[16];
    SerialKind serial; /* UNSET is NONE */
    char *serial_path, *mem_path, *boot_sector, *qmp_path;
    char *incoming; /* a URI or "defer"; NULL: a guest of our own */
    gboolean has_workload;
    WorkloadOptions workload;
    char *workload_text; /* as it was given */
} Options;

/* VM_ERROR_USAGE names the option or value that is wrong. */
gboolean options_parse(int argc, char *const *argv, Options *out, GError **error);
void options_clear(Options *options);
/* Text for --help. */
extern const char options_help[];
const char *accel_name(uint32_t accel);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

G_END_DECLS

/* Somebody else's guest, kept whole: what a receiver that runs no guest makes of a stream, and what
 * a snapshot file holds. RAM blocks, device sections byte for byte, and the JSON description.
 *
 * Life: new -> (destination fills it, or ferry_snapshot_open) -> read, or send, or hash -> free.
 * One thread at a time. */
#pragma once
#include "engine/guest.h"
#include "protocol/stream.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t max_ram_bytes; /* a source that declares more is refused; 0 = no limit of ours */
    const char *output;  /* a snapshot in QEMU's mapped-ram layout, there once complete and whole,
                          * or not at all; NULL: none */
    const char *ram_dir; /* one file per RAM block, there from the beginning, of RAM only, and not
                          * waited for that a disk has it; NULL: none. Blocks
                          * named "/rom@etc/x" become "rom@etc%2Fx": "/" is "%2F", "%" is "%25" */
    unsigned page_bits;  /* of a source that does not say; 0 = 12 (x86) */
    const uint8_t *uuid; /* a source that says another one (16 bytes) is refused; NULL: none is */
} FerryCaptureOptions;

typedef struct FerryCapture FerryCapture;
/* @options are copied. Neither output nor ram_dir: RAM is anonymous memory. */
FerryCapture *ferry_capture_new(const FerryCaptureOptions *options, GError **error);
/* To receive into, or to send. Owned by the capture. */
FerryGuest *ferry_capture_guest(FerryCapture *capture);
/* Any thread, now and then while it is received: begins to put on the disk what is here so far. The
 * source waits in the end until all of it is, and has only so much patience. */
void ferry_capture_write_back(FerryCapture *capture);
const FerryConfiguration *ferry_capture_configuration(const FerryCapture *capture);
unsigned ferry_capture_page_bits(const FerryCapture *capture);
unsigned ferry_capture_n_sections(const FerryCapture *capture);
typedef struct {
    const char *idstr;
    uint32_t instance, version;
    const uint8_t *body;
    size_t length;
    gboolean early;
} FerryCapturedSection;
FerryCapturedSection ferry_capture_section(const FerryCapture *capture, unsigned index);
/* *out_length 0: the stream had none. */
const char *ferry_capture_description(const FerryCapture *capture, size_t *out_length);
/* "running", "paused", ... as globalstate says; NULL: it has none. */
const char *ferry_capture_run_state(const FerryCapture *capture);
/* Lower-case hexadecimal SHA-256 of one RAM block; g_free. */
char *ferry_capture_sha256(const FerryCapture *capture, unsigned block);

/* How a snapshot leaves again. */
typedef enum { FERRY_START_KEEP, FERRY_START_RUNNING, FERRY_START_PAUSED } FerryStart;
/* Readies ferry_capture_guest() for a source: machine (NULL: as captured), uuid (NULL: as captured)
 * and whether the destination starts it. */
gboolean ferry_capture_prepare(FerryCapture *capture, const char *machine, const uint8_t *uuid,
                               FerryStart start, GError **error);
/* Behind prepare: it lives from here on. A source pauses, resumes and throttles it by @ops, and finds
 * its writes in @log, which is taken. @ops and @self are borrowed. */
void ferry_capture_animate(FerryCapture *capture, const FerryGuestOps *ops, void *self,
                           FerryDirtyLog *log);
void ferry_capture_free(FerryCapture *capture);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryCapture, ferry_capture_free)

/* engine/snapshot.c: a mapped-ram file written by QEMU or by us. The file is only read, and no more
 * needed afterwards: its pages are in anonymous memory. @offset: where its stream begins. */
FerryCapture *ferry_snapshot_open(const char *path, uint64_t offset, uint64_t max_ram_bytes,
                                  GError **error);

G_END_DECLS

/* What the files of a capture share:
 *   capture.c         what a destination fills in, and what is read of it
 *   capture-ram.c     the memory behind the blocks, wherever it lives
 *   capture-warm.c    files that are memory already, before anybody connects
 *   capture-send.c    the way out again
 *   snapshot-file.c   the file it may end in: there whole, or not at all
 *   snapshot-write.c  what stands in that file
 *   snapshot.c        a capture from such a file */
#pragma once
#include <pthread.h>
#include <sys/types.h>
#include "engine/capture.h"
#include "engine/guest-private.h"
#include "protocol/mapped-ram.h"
#include "transport/transport.h"

#define FERRY_RUN_STATE_MAX 32 /* of a run state's name with its NUL, in globalstate */

typedef struct {
    char *idstr;
    uint64_t length;
    uint8_t *host;            /* NULL: not memory yet */
    void *mapping;            /* what is unmapped in the end; host lies in it */
    size_t mapping_size;      /* of mapping */
    int fd;                   /* ram_dir: its file; -1: none of its own */
    char *file;               /* ram_dir: the file's name there */
    gboolean made;            /* by us: discard takes it away */
    gboolean stale;           /* it was there before, and its content */
    FerryMappedHeader mapped; /* output: where in the file it is */
    uint64_t entry_offset;    /* output: of its entry in the block list */
} FerryCaptureBlock;

typedef struct {
    FerrySavedSection saved;
    gboolean early, before_ram;
} FerryCaptureSection;

/* A snapshot that is being written. It has no name until it is whole. */
typedef struct {
    int fd, directory;    /* -1: none */
    pthread_mutex_t lock; /* of fd, against being closed under a write-back */
    char *directory_path; /* for messages */
    char *name;           /* in directory */
    char *temporary;      /* the name it has so far, or what it replaced; NULL: none */
    gboolean published;   /* there at its name */
    gboolean exchanged;   /* temporary is what was there before */
    uint64_t tail_offset; /* behind the last block's pages */
} FerrySnapshotFile;

struct FerryCapture {
    uint64_t max_ram_bytes;
    char *output, *ram_dir;
    gboolean has_expected_uuid;
    uint8_t expected_uuid[16];
    FerryGuest *guest;
    unsigned page_bits;
    FerryConfiguration configuration;
    GArray *blocks; /* FerryCaptureBlock */
    uint64_t ram_bytes;
    GArray *sections; /* FerryCaptureSection */
    char *description;
    size_t description_length;
    int globalstate; /* index of its section; -1: none */
    char *run_state;
    FerrySnapshotFile file;
    int ram_directory; /* -1: none */
    GArray *warm;      /* capture-warm.c's; NULL: none */

    FerryKeptState kept; /* once prepared */
    GArray *kept_early;  /* FerrySavedSection, borrowed from sections */
    gboolean prepared;
};

FerryCapture *ferry_capture_new_empty(void);
FerryCaptureBlock *ferry_capture_block(const FerryCapture *capture, unsigned index);
FerryCaptureSection *ferry_capture_saved(const FerryCapture *capture, unsigned index);
gboolean ferry_capture_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* As a stranger's callbacks of the same names. */
gboolean ferry_capture_take_configuration(FerryCapture *capture, const FerryConfiguration *c,
                                          GError **error);
gboolean ferry_capture_take_block(FerryCapture *capture, const char *idstr, uint64_t length,
                                  GError **error);
gboolean ferry_capture_take_section(FerryCapture *capture, const FerryStreamEvent *event,
                                    GError **error);
void ferry_capture_take_description(FerryCapture *capture, const char *text, size_t length);

/* capture-ram.c */

/* Opens ram_dir, which is made where there is none. */
gboolean ferry_capture_open_ram_dir(FerryCapture *capture, GError **error);
/* Gives every block its memory, known zero, and tells the guest. */
gboolean ferry_capture_make_ram(FerryCapture *capture, GError **error);
/* @length bytes of @fd from @offset on, or of nothing (-1), as the block's memory. */
gboolean ferry_capture_map(FerryCaptureBlock *block, int fd, uint64_t offset, GError **error);
/* Whether what lies at @page is all zero; @size: a power of two, at least 8. */
gboolean ferry_capture_is_zero(const uint8_t *page, size_t size);
/* The first byte at or behind @at that may be other than zero; the length if there is none. */
uint64_t ferry_capture_next_data(const FerryCapture *capture, unsigned block, uint64_t at);
/* Files that we made go, others are zero again. The memory stays until the release. */
void ferry_capture_discard_ram(FerryCapture *capture);
void ferry_capture_release_ram(FerryCapture *capture);

/* capture-warm.c */

/* Maps what lies in ram_dir and is memory. */
void ferry_capture_warm_up(FerryCapture *capture);
/* The mapping of @block's file, if there is one of its length. */
gboolean ferry_capture_take_warm(FerryCapture *capture, FerryCaptureBlock *block);
/* Gives back what no block has taken. */
void ferry_capture_cool_down(FerryCapture *capture);

/* snapshot-file.c */

/* Finds out whether a file can be written there, before anything is received. */
gboolean ferry_snapshot_begin(FerryCapture *capture, GError **error);
/* The file is whole and on the disk: gives it its name. */
gboolean ferry_snapshot_publish(FerryCapture *capture, GError **error);
/* With @discard there is no new file, and what was there before is there again. */
void ferry_snapshot_end(FerryCapture *capture, gboolean discard);

/* snapshot-write.c */

/* The blocks are known: lays the file out, with room on the disk for all of them. */
gboolean ferry_snapshot_lay_out(FerryCapture *capture, GError **error);
/* The guest is whole: writes what is not RAM, waits for the disk, publishes. */
gboolean ferry_snapshot_finish(FerryCapture *capture, GError **error);

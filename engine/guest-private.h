/* What the engine itself asks of a guest's description. */
#pragma once
#include "engine/guest.h"
#include "protocol/decoder.h"

typedef struct {
    char *idstr;
    uint32_t instance, version;
    const FerryDeviceOps *ops;
    void *self;
} FerryDevice;

/* A device section as it came. */
typedef struct {
    char *idstr;
    uint32_t instance, version;
    uint8_t *body;
    size_t length;
} FerrySavedSection;

const char *ferry_guest_machine(const FerryGuest *guest);
FerryDirtyLog *ferry_guest_dirty_log(FerryGuest *guest);   /* NULL: none was set */
unsigned ferry_guest_n_vcpus(const FerryGuest *guest);     /* 0: not known */
const char *ferry_guest_workload(const FerryGuest *guest); /* NULL: not known */
unsigned ferry_guest_n_devices(const FerryGuest *guest);
const FerryDevice *ferry_guest_device(const FerryGuest *guest, unsigned index);
/* -1: no such device. */
int ferry_guest_find_device(const FerryGuest *guest, const char *idstr, uint32_t instance);
/* g_free; NULL: nothing is in the way. */
char *ferry_guest_dup_blocker(FerryGuest *guest);
gboolean ferry_guest_pause(FerryGuest *guest, FerryPauseReason why, gboolean *out_was_running,
                           GError **error);
gboolean ferry_guest_resume(FerryGuest *guest, GError **error);
void ferry_guest_throttle(FerryGuest *guest, unsigned percent);
/* The errors name the section. */
gboolean ferry_device_save(const FerryDevice *device, GByteArray *body, GError **error);
gboolean ferry_device_load(const FerryDevice *device, const uint8_t *body, size_t length,
                           uint32_t version, GError **error);

/* A stranger: a guest whose machine, blocks and devices are whatever a source sends, so that it can
 * be kept whole. Called by the destination's thread, in this order; only is_stale and discard may
 * be NULL. Names and sizes are already known good. */
typedef struct {
    gboolean (*configuration)(void *self, const FerryConfiguration *configuration, GError **error);
    /* One entry of the block list. It is not memory yet. */
    gboolean (*block)(void *self, const char *idstr, uint64_t length, GError **error);
    /* The list is complete: every block must be in ferry_guest_memory() on return, known zero
     * unless is_stale says otherwise of it. */
    gboolean (*blocks_end)(void *self, GError **error);
    /* Whether what the n-th block of the list holds is not its source's, nor zero: what is not
     * received becomes zero before complete. NULL: no. */
    gboolean (*is_stale)(void *self, unsigned block);
    /* One device section, early ones and globalstate included, in the order of the stream. */
    gboolean (*device)(void *self, const FerryStreamEvent *event, GError **error);
    /* Everything is here and whole; @description may be empty. What the source is told next makes
     * it give the guest up: what must last, must last from here on. */
    gboolean (*complete)(void *self, const char *description, size_t length, GError **error);
    /* Instead of complete: nothing of it is kept. */
    void (*discard)(void *self);
} FerryStrangerOps;
/* @ops and @self are borrowed. Has no devices of its own; cannot be run. */
FerryGuest *ferry_guest_new_stranger(const FerryStrangerOps *ops, void *self);
/* NULL unless it is one. */
const FerryStrangerOps *ferry_guest_stranger(const FerryGuest *guest, void **out_self);

/* What it turned out to be, or is to be called from here on. */
void ferry_guest_set_machine(FerryGuest *guest, const char *machine);

/* From here on it lives otherwise than it was made to. Both are borrowed. */
void ferry_guest_set_ops(FerryGuest *guest, const FerryGuestOps *ops, void *self);

/* A guest that was kept, on its way out again. */
gboolean ferry_guest_get_uuid(const FerryGuest *guest, uint8_t out_uuid[16]); /* FALSE: has none */
typedef struct {
    unsigned page_bits;      /* for the configuration; 0: not sent */
    gboolean was_running;    /* what pausing it finds, when it is no live guest */
    const char *description; /* sent as it is; NULL: written from the sections */
    size_t description_length;
    /* Sent as it is, behind so many devices; NULL: made from how the guest was found, and last. */
    const FerrySavedSection *globalstate;
    unsigned globalstate_at;
    const FerrySavedSection *early; /* sent in front of the first pages */
    unsigned n_early;
} FerryKeptState;
/* Borrowed until the guest is freed. */
void ferry_guest_set_kept_state(FerryGuest *guest, const FerryKeptState *state);
const FerryKeptState *ferry_guest_kept_state(const FerryGuest *guest); /* NULL: a live guest */

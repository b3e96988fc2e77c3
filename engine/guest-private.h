/* What the engine itself asks of a guest's description. */
#pragma once
#include "engine/guest.h"

typedef struct {
    char *idstr;
    uint32_t instance, version;
    const FerryDeviceOps *ops;
    void *self;
} FerryDevice;

const char *ferry_guest_machine(const FerryGuest *guest);
FerryDirtyLog *ferry_guest_dirty_log(FerryGuest *guest); /* NULL: none was set */
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

#include "engine/guest.h"
#include <pthread.h>
#include <string.h>
#include "engine/guest-private.h"
#include "protocol/extension.h"
#include "protocol/ram.h"

struct FerryGuest {
    char *machine;
    const FerryGuestOps *ops;
    void *self;
    FerryMemory *memory;
    FerryDirtyLog *log;
    GArray *devices;      /* FerryDevice */
    pthread_mutex_t lock; /* blocker */
    char *blocker;
    unsigned n_vcpus; /* the profile */
    char *workload;
    const FerryStrangerOps *stranger; /* NULL unless it is one */
    void *stranger_self;
    gboolean has_uuid;
    uint8_t uuid[16];
    const FerryKeptState *kept;
};

static void clear_device(gpointer data) { g_free(((FerryDevice *)data)->idstr); }

FerryGuest *ferry_guest_new(const char *machine, const FerryGuestOps *ops, void *self)
{
    g_return_val_if_fail(machine && strlen(machine) <= FERRY_MACHINE_MAX, NULL);
    g_return_val_if_fail(ops && ops->pause && ops->resume, NULL);
    FerryGuest *g = g_new0(FerryGuest, 1);
    g->machine = g_strdup(machine);
    g->ops = ops;
    g->self = self;
    g->memory = ferry_memory_new();
    g->devices = g_array_new(FALSE, FALSE, sizeof(FerryDevice));
    g_array_set_clear_func(g->devices, clear_device);
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

/* What only a guest with vCPUs could do. */
static gboolean nothing_to_pause(void *self, FerryPauseReason why, gboolean *out_was_running,
                                 GError **error)
{
    const FerryGuest *g = self;

    (void)why;
    (void)error;
    *out_was_running = g->kept && g->kept->was_running;
    return TRUE;
}

static gboolean cannot_run(void *self, GError **error)
{
    const FerryGuest *g = self;

    if (g->kept) { /* a still guest that nothing was done to */
        return TRUE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST,
                "a guest that is only kept cannot be run");
    return FALSE;
}

FerryGuest *ferry_guest_new_stranger(const FerryStrangerOps *ops, void *self)
{
    static const FerryGuestOps still = {.pause = nothing_to_pause, .resume = cannot_run};

    g_assert(ops && ops->configuration && ops->block && ops->blocks_end && ops->device &&
             ops->complete);
    FerryGuest *g = ferry_guest_new("", &still, NULL);
    g->self = g;
    g->stranger = ops;
    g->stranger_self = self;
    return g;
}

const FerryStrangerOps *ferry_guest_stranger(const FerryGuest *g, void **out_self)
{
    if (g->stranger) {
        *out_self = g->stranger_self;
    }
    return g->stranger;
}

void ferry_guest_set_machine(FerryGuest *g, const char *machine)
{
    g_assert(strlen(machine) <= FERRY_MACHINE_MAX);
    g_free(g->machine);
    g->machine = g_strdup(machine);
}

void ferry_guest_set_ops(FerryGuest *g, const FerryGuestOps *ops, void *self)
{
    g_assert(ops && ops->pause && ops->resume);
    g->ops = ops;
    g->self = self;
}

void ferry_guest_set_uuid(FerryGuest *g, const uint8_t uuid[16])
{
    memcpy(g->uuid, uuid, sizeof g->uuid);
    g->has_uuid = TRUE;
}

gboolean ferry_guest_get_uuid(const FerryGuest *g, uint8_t out_uuid[16])
{
    if (g->has_uuid) {
        memcpy(out_uuid, g->uuid, sizeof g->uuid);
    }
    return g->has_uuid;
}

void ferry_guest_set_kept_state(FerryGuest *g, const FerryKeptState *state) { g->kept = state; }

const FerryKeptState *ferry_guest_kept_state(const FerryGuest *g) { return g->kept; }

FerryMemory *ferry_guest_memory(FerryGuest *g) { return g->memory; }

gboolean ferry_guest_add_device(FerryGuest *g, const char *idstr, uint32_t instance,
                                uint32_t version, const FerryDeviceOps *ops, void *self,
                                GError **error)
{
    const char *wrong = NULL;
    if (idstr[0] == '\0' || strlen(idstr) > FERRY_IDSTR_MAX) {
        wrong = "a name has 1 to 255 bytes";
    } else if (strcmp(idstr, FERRY_RAM_IDSTR) == 0 || strcmp(idstr, FERRY_GLOBALSTATE_IDSTR) == 0 ||
               g_str_has_prefix(idstr, "ferry/")) {
        wrong = "the name is the engine's own";
    } else if (ferry_guest_find_device(g, idstr, instance) >= 0) {
        wrong = "there is one of that name and instance";
    }
    if (wrong) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "device '%s' %u: %s",
                    idstr, instance, wrong);
        return FALSE;
    }
    FerryDevice device = {.idstr = g_strdup(idstr),
                          .instance = instance,
                          .version = version,
                          .ops = ops,
                          .self = self};
    g_array_append_val(g->devices, device);
    return TRUE;
}

void ferry_guest_set_dirty_log(FerryGuest *g, FerryDirtyLog *log)
{
    ferry_dirty_log_free(g->log);
    g->log = log;
}

void ferry_guest_set_profile(FerryGuest *g, unsigned n_vcpus, const char *workload)
{
    g->n_vcpus = n_vcpus;
    g_free(g->workload);
    g->workload = g_strdup(workload);
}

void ferry_guest_set_blocker(FerryGuest *g, const char *reason)
{
    pthread_mutex_lock(&g->lock);
    g_free(g->blocker);
    g->blocker = g_strdup(reason);
    pthread_mutex_unlock(&g->lock);
}

void ferry_guest_free(FerryGuest *g)
{
    if (!g) {
        return;
    }
    ferry_dirty_log_free(g->log);
    ferry_memory_free(g->memory);
    g_array_unref(g->devices);
    pthread_mutex_destroy(&g->lock);
    g_free(g->blocker);
    g_free(g->workload);
    g_free(g->machine);
    g_free(g);
}

const char *ferry_guest_machine(const FerryGuest *g) { return g->machine; }

FerryDirtyLog *ferry_guest_dirty_log(FerryGuest *g) { return g->log; }

unsigned ferry_guest_n_vcpus(const FerryGuest *g) { return g->n_vcpus; }

const char *ferry_guest_workload(const FerryGuest *g) { return g->workload; }

unsigned ferry_guest_n_devices(const FerryGuest *g) { return g->devices->len; }

const FerryDevice *ferry_guest_device(const FerryGuest *g, unsigned index)
{
    g_assert(index < g->devices->len);
    return &g_array_index(g->devices, FerryDevice, index);
}

int ferry_guest_find_device(const FerryGuest *g, const char *idstr, uint32_t instance)
{
    for (unsigned i = 0; i < g->devices->len; i++) {
        const FerryDevice *device = ferry_guest_device(g, i);
        if (device->instance == instance && strcmp(device->idstr, idstr) == 0) {
            return (int)i;
        }
    }
    return -1;
}

char *ferry_guest_dup_blocker(FerryGuest *g)
{
    pthread_mutex_lock(&g->lock);
    char *reason = g_strdup(g->blocker);
    pthread_mutex_unlock(&g->lock);
    return reason;
}

gboolean ferry_guest_pause(FerryGuest *g, FerryPauseReason why, gboolean *out_was_running,
                           GError **error)
{
    if (!g->ops->pause(g->self, why, out_was_running, error)) {
        g_prefix_error(error, "pausing the guest: ");
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_guest_resume(FerryGuest *g, GError **error)
{
    if (!g->ops->resume(g->self, error)) {
        g_prefix_error(error, "resuming the guest: ");
        return FALSE;
    }
    return TRUE;
}

void ferry_guest_throttle(FerryGuest *g, unsigned percent)
{
    if (g->ops->throttle) {
        g->ops->throttle(g->self, percent);
    }
}

gboolean ferry_device_save(const FerryDevice *d, GByteArray *body, GError **error)
{
    if (!d->ops->save(d->self, body, error)) {
        g_prefix_error(error, "saving device '%s' %u: ", d->idstr, d->instance);
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_device_load(const FerryDevice *d, const uint8_t *body, size_t length,
                           uint32_t version, GError **error)
{
    if (version > d->version) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "device '%s' %u: version %u, but this side knows %u at most", d->idstr,
                    d->instance, version, d->version);
        return FALSE;
    }
    if (!d->ops->load(d->self, body, length, version, error)) {
        g_prefix_error(error, "loading device '%s' %u: ", d->idstr, d->instance);
        return FALSE;
    }
    return TRUE;
}

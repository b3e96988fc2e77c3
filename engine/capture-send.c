/* A capture on its way out again: its guest becomes one that a source can send, still, with the
 * sections that came, as they came. */
#include <string.h>
#include "engine/capture-private.h"
#include "protocol/wire.h"

#define RUN_STATE_FIELD 32 /* bytes in globalstate that hold the name in every version */

/* A guest that does not run writes nothing: everything is found once. */
typedef struct {
    const FerryMemory *memory;
    gboolean *reported; /* per block */
} StillLog;

static gboolean start_still(void *self, GError **error)
{
    StillLog *log = self;

    (void)error;
    memset(log->reported, 0, ferry_memory_n_blocks(log->memory) * sizeof *log->reported);
    return TRUE;
}

static gboolean sync_still(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    StillLog *log = self;

    (void)error;
    if (!log->reported[block]) {
        log->reported[block] = TRUE;
        ferry_bitmap_set(dirty, 0, dirty->n_bits);
    }
    return TRUE;
}

static void stop_still(void *self) { (void)self; }

static void free_still(void *self)
{
    StillLog *log = self;

    g_free(log->reported);
    g_free(log);
}

static FerryDirtyLog *new_still_log(const FerryMemory *memory)
{
    static const FerryDirtyLogOps ops = {.name = "still",
                                         .start = start_still,
                                         .sync = sync_still,
                                         .stop = stop_still,
                                         .free = free_still};
    unsigned n = ferry_memory_n_blocks(memory);
    g_autofree uint64_t *pages = g_new(uint64_t, MAX(n, 1));
    StillLog *log = g_new0(StillLog, 1);

    log->memory = memory;
    log->reported = g_new0(gboolean, MAX(n, 1));
    for (unsigned i = 0; i < n; i++) {
        pages[i] = ferry_memory_block(memory, i)->length / FERRY_PAGE_SIZE;
    }
    return ferry_dirty_log_new(&ops, log, pages, n);
}

static gboolean save_as_it_came(void *self, GByteArray *body, GError **error)
{
    const FerrySavedSection *s = self;

    (void)error;
    if (s->length) {
        g_byte_array_append(body, s->body, (guint)s->length);
    }
    return TRUE;
}

static gboolean load_never(void *self, const uint8_t *body, size_t length, uint32_t version,
                           GError **error)
{
    (void)self;
    (void)body;
    (void)length;
    (void)version;
    return ferry_capture_refuse(error, "a guest that is only kept takes nothing in");
}

static gboolean name_run_state(FerryCapture *c, const char *state, GError **error)
{
    FerrySavedSection *s = &ferry_capture_saved(c, (unsigned)c->globalstate)->saved;

    if (s->length < 4 + RUN_STATE_FIELD) {
        return ferry_capture_refuse(error, "section '%s' has no room for the run state '%s'",
                                    s->idstr, state);
    }
    ferry_put_be32(s->body, (uint32_t)strlen(state) + 1);
    memset(s->body + 4, 0, RUN_STATE_FIELD);
    memcpy(s->body + 4, state, strlen(state));
    g_free(c->run_state);
    c->run_state = g_strdup(state);
    return TRUE;
}

static gboolean add_sections(FerryCapture *c, GError **error)
{
    static const FerryDeviceOps ops = {.save = save_as_it_came, .load = load_never};

    for (unsigned i = 0; i < c->sections->len; i++) {
        FerryCaptureSection *s = ferry_capture_saved(c, i);
        if ((int)i == c->globalstate) {
            c->kept.globalstate = &s->saved;
            c->kept.globalstate_at = ferry_guest_n_devices(c->guest);
        } else if (s->early) {
            g_array_append_val(c->kept_early, s->saved);
        } else if (!ferry_guest_add_device(c->guest, s->saved.idstr, s->saved.instance,
                                           s->saved.version, &ops, &s->saved, error)) {
            return FALSE;
        }
    }
    c->kept.early = (const FerrySavedSection *)(void *)c->kept_early->data;
    c->kept.n_early = c->kept_early->len;
    return TRUE;
}

gboolean ferry_capture_prepare(FerryCapture *c, const char *machine, const uint8_t *uuid,
                               FerryStart start, GError **error)
{
    g_return_val_if_fail(!c->prepared, FALSE);
    c->prepared = TRUE;
    if (c->page_bits != FERRY_PAGE_BITS) {
        return ferry_capture_refuse(error, "pages of %u bytes are not sent, only of %u",
                                    1u << c->page_bits, FERRY_PAGE_SIZE);
    }
    if (machine && (machine[0] == '\0' || strlen(machine) > FERRY_MACHINE_MAX)) {
        return ferry_capture_refuse(error, "the name of a machine type has 1 to %u bytes",
                                    FERRY_MACHINE_MAX);
    }
    if (start != FERRY_START_KEEP && c->globalstate >= 0 &&
        !name_run_state(c, start == FERRY_START_RUNNING ? "running" : "paused", error)) {
        return FALSE;
    }
    if (!add_sections(c, error)) {
        return FALSE;
    }
    if (machine) {
        ferry_guest_set_machine(c->guest, machine);
    }
    if (uuid) {
        ferry_guest_set_uuid(c->guest, uuid);
    }
    c->kept.page_bits = c->configuration.page_bits;
    /* A destination that is told no state starts the guest. */
    c->kept.was_running =
        c->run_state ? strcmp(c->run_state, "running") == 0 : start != FERRY_START_PAUSED;
    if (c->globalstate >= 0) { /* else one is made, which the description does not have */
        c->kept.description = c->description;
        c->kept.description_length = c->description_length;
    }
    ferry_guest_set_kept_state(c->guest, &c->kept);
    ferry_guest_set_dirty_log(c->guest, new_still_log(ferry_guest_memory(c->guest)));
    return TRUE;
}

void ferry_capture_animate(FerryCapture *c, const FerryGuestOps *ops, void *self,
                           FerryDirtyLog *log)
{
    g_return_if_fail(c->prepared);
    ferry_guest_set_ops(c->guest, ops, self);
    ferry_guest_set_dirty_log(c->guest, log);
}

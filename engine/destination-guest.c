/* What a stream says of its guest, held against the guest that is described here, or handed to
 * whoever keeps a stranger. */
#include <string.h>
#include "engine/destination-private.h"
#include "protocol/extension.h"
#include "protocol/wire.h"

typedef struct {
    char idstr[FERRY_IDSTR_MAX + 1];
    uint64_t length;
} StrangeBlock;

GArray *ferry_destination_strange_blocks_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(StrangeBlock));
}

static gboolean fits(FerryDestination *d, const FerryConfiguration *c, GError **error)
{
    const char *machine = ferry_guest_machine(d->guest);
    uint8_t uuid[16];

    if (strcmp(c->machine, machine) != 0) {
        g_autofree char *theirs = g_strescape(c->machine, NULL);
        return ferry_destination_fail(error, "machine type '%s' at the source, but '%s' here",
                                      theirs, machine);
    }
    if (d->options.mapped_ram != (c->n_capabilities > 0)) { /* the decoder knows only this one */
        return ferry_destination_fail(error, "capability '%s' is %s at the source, but %s here",
                                      FERRY_CAPABILITY_MAPPED_RAM, c->n_capabilities ? "on" : "off",
                                      d->options.mapped_ram ? "on" : "off");
    }
    if (d->page_bits != FERRY_PAGE_BITS) {
        return ferry_destination_fail(error,
                                      "target pages of %u bytes at the source, but of %u here",
                                      1u << d->page_bits, FERRY_PAGE_SIZE);
    }
    if (c->has_uuid && ferry_guest_get_uuid(d->guest, uuid) && memcmp(c->uuid, uuid, 16) != 0) {
        return ferry_destination_fail(error, "the guest's UUID at the source is not the one here");
    }
    return TRUE;
}

gboolean ferry_destination_take_configuration(FerryDestination *d, const FerryConfiguration *c,
                                              GError **error)
{
    if (c->page_bits) {
        d->page_bits = c->page_bits;
    }
    d->machine = g_strdup(c->machine);
    if (c->has_uuid && d->options.multifd_uuid &&
        memcmp(c->uuid, d->options.multifd_uuid, sizeof c->uuid) != 0) {
        return ferry_destination_fail(error,
                                      "the main channel is of a guest with another UUID than the "
                                      "multifd channels");
    }
    return d->stranger ? d->stranger->configuration(d->stranger_self, c, error) : fits(d, c, error);
}

gboolean ferry_destination_take_block(FerryDestination *d, const FerryStreamEvent *e,
                                      GError **error)
{
    StrangeBlock block = {.length = e->block.used_length};

    if (!d->stranger) {
        return ferry_ram_loader_block(d->ram, e->block.idstr, e->block.used_length, error);
    }
    g_strlcpy(block.idstr, e->block.idstr, sizeof block.idstr);
    g_array_append_val(d->strange_blocks, block);
    return d->stranger->block(d->stranger_self, block.idstr, block.length, error);
}

gboolean ferry_destination_take_list_end(FerryDestination *d, GError **error)
{
    if (d->stranger && !d->stranger->blocks_end(d->stranger_self, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < d->strange_blocks->len; i++) {
        const StrangeBlock *block = &g_array_index(d->strange_blocks, StrangeBlock, i);
        if (!ferry_ram_loader_block(d->ram, block->idstr, block->length, error)) {
            return FALSE;
        }
        if (d->stranger->is_stale && d->stranger->is_stale(d->stranger_self, i)) {
            ferry_ram_loader_set_stale(d->ram, i);
        }
    }
    if (!ferry_ram_loader_list_end(d->ram, d->page_bits, error)) {
        return FALSE;
    }
    if (d->multifd && !ferry_multifd_loader_start(d->multifd, d->page_bits, error)) {
        return FALSE;
    }
    pthread_mutex_lock(&d->lock);
    d->progress.ram_total_bytes = ferry_memory_total_bytes(ferry_guest_memory(d->guest));
    pthread_mutex_unlock(&d->lock);
    ferry_destination_publish(d, FERRY_PHASE_ITERATE, TRUE);
    return ferry_destination_take_mapped(d, error);
}

/* Who runs the guest must know whether it ran; who keeps it keeps every state it may be in. */
static gboolean take_globalstate(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    const uint8_t *body = e->device.body;

    if (d->stranger && e->device.length != FERRY_GLOBALSTATE_SIZE) {
        return TRUE;
    }
    if (e->device.length != FERRY_GLOBALSTATE_SIZE || d->globalstate) {
        return ferry_destination_fail(error, "section '%s': %s", FERRY_GLOBALSTATE_IDSTR,
                                      d->globalstate ? "twice" : "wrong length");
    }
    uint32_t size = ferry_get_be32(body);
    d->globalstate = TRUE;
    d->was_running = size == sizeof "running" && memcmp(body + 4, "running", size) == 0;
    if (!d->stranger && !d->was_running &&
        !(size == sizeof "paused" && memcmp(body + 4, "paused", size) == 0)) {
        return ferry_destination_fail(error, "section '%s': neither running nor paused",
                                      FERRY_GLOBALSTATE_IDSTR);
    }
    return TRUE;
}

static gboolean go_on(void *self, GError **error)
{
    return !ferry_destination_is_cancelled(self, error);
}

static gboolean take_hash(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    if (e->device.length != FERRY_VERIFY_SIZE) {
        return ferry_destination_fail(error, "section '%s': wrong length", FERRY_VERIFY_IDSTR);
    }
    uint64_t theirs = ferry_get_be64(e->device.body), ours;
    ferry_ram_loader_finish(d->ram);
    if (!ferry_memory_hash_stepwise(ferry_guest_memory(d->guest), go_on, d, &ours, error)) {
        return FALSE;
    }
    if (theirs != ours) {
        return ferry_destination_fail(error,
                                      "RAM differs: XXH3 %016" G_GINT64_MODIFIER
                                      "x at the source, %016" G_GINT64_MODIFIER "x here",
                                      theirs, ours);
    }
    pthread_mutex_lock(&d->lock);
    d->progress.ram_hash = ours;
    d->progress.verified = TRUE;
    pthread_mutex_unlock(&d->lock);
    return TRUE;
}

static gboolean load(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    int index = ferry_guest_find_device(d->guest, e->device.idstr, e->device.instance_id);

    if (index < 0) {
        g_autofree char *name = g_strescape(e->device.idstr, NULL);
        return ferry_destination_fail(error, "device '%s' %u does not exist here", name,
                                      e->device.instance_id);
    }
    if (d->loaded[index]) {
        return ferry_destination_fail(error, "device '%s' %u comes twice", e->device.idstr,
                                      e->device.instance_id);
    }
    d->loaded[index] = TRUE;
    return ferry_device_load(ferry_guest_device(d->guest, (unsigned)index), e->device.body,
                             e->device.length, e->device.version_id, error);
}

gboolean ferry_destination_take_device(FerryDestination *d, const FerryStreamEvent *e,
                                       GError **error)
{
    gboolean globalstate = strcmp(e->device.idstr, FERRY_GLOBALSTATE_IDSTR) == 0;
    gboolean verify = d->is_ferry && strcmp(e->device.idstr, FERRY_VERIFY_IDSTR) == 0;

    if (e->device.early && (verify || !d->stranger)) { /* no device of ours is */
        g_autofree char *name = g_strescape(e->device.idstr, NULL);
        return ferry_destination_fail(error, "device '%s' %u comes before the end of ram", name,
                                      e->device.instance_id);
    }
    if (globalstate && !take_globalstate(d, e, error)) {
        return FALSE;
    }
    if (verify) {
        return take_hash(d, e, error); /* about this transfer, not of the guest */
    }
    if (d->stranger) {
        return d->stranger->device(d->stranger_self, e, error);
    }
    return globalstate || load(d, e, error);
}

static gboolean has_everything(const FerryDestination *d, GError **error)
{
    for (unsigned i = 0; i < ferry_guest_n_devices(d->guest); i++) {
        const FerryDevice *device = ferry_guest_device(d->guest, i);
        if (!d->loaded[i]) {
            return ferry_destination_fail(error, "device '%s' %u is missing in the stream",
                                          device->idstr, device->instance);
        }
    }
    if (!d->globalstate) {
        return ferry_destination_fail(error, "section '%s' is missing in the stream",
                                      FERRY_GLOBALSTATE_IDSTR);
    }
    return TRUE;
}

gboolean ferry_destination_take_end(FerryDestination *d, const char *description, size_t length,
                                    GError **error)
{
    if (d->multifd && !ferry_multifd_loader_check(d->multifd, error)) {
        return FALSE; /* something came too late */
    }
    if (d->stranger) {
        d->description = g_memdup2(length ? description : "", MAX(length, 1));
        d->description_length = length;
    } else if (!has_everything(d, error)) {
        return FALSE;
    }
    d->state = LOADED;
    return TRUE;
}

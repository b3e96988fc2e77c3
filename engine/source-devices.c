/* Device sections and the end of the stream, put together before anything of them is sent. */
#include <string.h>
#include "engine/source-private.h"
#include "protocol/extension.h"
#include "protocol/stream.h"
#include "protocol/wire.h"

static void begin_device(FerrySource *s, const char *idstr, uint32_t instance, uint32_t version,
                         uint32_t section_id)
{
    uint8_t header[FERRY_SECTION_HEADER_MAX];
    FerrySectionHeader h = {.type = FERRY_SECTION_FULL,
                            .section_id = section_id,
                            .idstr = idstr,
                            .instance_id = instance,
                            .version_id = version};
    g_byte_array_append(s->tail, header, (guint)ferry_section_header_encode(&h, header));
    FerryDescribedDevice d = {.idstr = idstr, .instance_id = instance, .body_bytes = s->tail->len};
    g_array_append_val(s->described, d);
}

static void end_device(FerrySource *s, uint32_t section_id)
{
    uint8_t footer[FERRY_SECTION_FOOTER_SIZE];
    FerryDescribedDevice *d =
        &g_array_index(s->described, FerryDescribedDevice, s->described->len - 1);

    d->body_bytes = s->tail->len - d->body_bytes;
    g_byte_array_append(s->tail, footer, (guint)ferry_section_footer_encode(section_id, footer));
}

static void add_saved(FerrySource *s, const FerrySavedSection *saved, uint32_t section_id)
{
    begin_device(s, saved->idstr, saved->instance, saved->version, section_id);
    if (saved->length) {
        g_byte_array_append(s->tail, saved->body, (guint)saved->length);
    }
    end_device(s, section_id);
}

void ferry_source_collect_early(FerrySource *s)
{
    const FerryKeptState *kept = ferry_guest_kept_state(s->guest);

    for (unsigned i = 0; kept && i < kept->n_early; i++) {
        add_saved(s, &kept->early[i], s->next_section_id++);
    }
}

static gboolean add_hash(FerrySource *s, GError **error)
{
    uint8_t hash[FERRY_VERIFY_SIZE];
    uint64_t begin_ns = ferry_now_ns(), ram_hash;
    uint32_t id = s->next_section_id++;

    if (!ferry_source_hash(s, &ram_hash, error)) {
        return FALSE;
    }
    s->downtime.verify_ns = ferry_now_ns() - begin_ns;
    pthread_mutex_lock(&s->lock);
    s->progress.ram_hash = ram_hash;
    pthread_mutex_unlock(&s->lock);
    ferry_put_be64(hash, ram_hash);
    begin_device(s, FERRY_VERIFY_IDSTR, 0, FERRY_VERIFY_VERSION, id);
    g_byte_array_append(s->tail, hash, sizeof hash);
    end_device(s, id);
    return TRUE;
}

static void add_globalstate(FerrySource *s)
{
    const FerryKeptState *kept = ferry_guest_kept_state(s->guest);
    uint8_t state[FERRY_GLOBALSTATE_SIZE] = {0};
    const char *run_state = s->was_running ? "running" : "paused";
    FerrySavedSection made = {.idstr = (char *)FERRY_GLOBALSTATE_IDSTR,
                              .version = FERRY_GLOBALSTATE_VERSION,
                              .body = state,
                              .length = sizeof state};

    ferry_put_be32(state, (uint32_t)strlen(run_state) + 1);
    memcpy(state + 4, run_state, strlen(run_state));
    add_saved(s, kept && kept->globalstate ? kept->globalstate : &made, s->next_section_id++);
}

gboolean ferry_source_collect_devices(FerrySource *s, GError **error)
{
    const FerryKeptState *kept = ferry_guest_kept_state(s->guest);
    unsigned n = ferry_guest_n_devices(s->guest);
    unsigned globalstate_at = kept && kept->globalstate ? kept->globalstate_at : n;

    if (s->options.verify && s->peer.is_ferry && !add_hash(s, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        if (i == globalstate_at) {
            add_globalstate(s);
        }
        const FerryDevice *d = ferry_guest_device(s->guest, i);
        uint32_t id = s->next_section_id++;
        begin_device(s, d->idstr, d->instance, d->version, id);
        if (!ferry_device_save(d, s->tail, error)) {
            return FALSE;
        }
        end_device(s, id);
    }
    if (globalstate_at >= n) {
        add_globalstate(s);
    }
    return TRUE;
}

/* A kept guest's own description says more than ours would. It does not know of the hash. */
void ferry_source_append_end(FerrySource *s)
{
    const FerryKeptState *kept = ferry_guest_kept_state(s->guest);
    gboolean verbatim = kept && kept->description && s->downtime.verify_ns == 0;
    uint8_t header[FERRY_DESCRIPTION_HEADER_SIZE];
    g_autofree char *text = NULL;
    size_t length = verbatim ? kept->description_length : 0;

    if (!verbatim) {
        text = ferry_description_write(FERRY_PAGE_SIZE,
                                       (const FerryDescribedDevice *)s->described->data,
                                       s->described->len, &length);
    }
    g_byte_array_append(s->tail, header, (guint)ferry_end_encode((uint32_t)length, header));
    g_byte_array_append(s->tail, (const uint8_t *)(verbatim ? kept->description : text),
                        (guint)length);
}

gboolean ferry_source_write_tail(FerrySource *s, GError **error)
{
    gboolean ok = ferry_source_write(s, s->tail->data, s->tail->len, error);
    g_byte_array_set_size(s->tail, 0);
    return ok;
}

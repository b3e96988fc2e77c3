#include "engine/capture.h"
#include <string.h>
#include "engine/capture-private.h"
#include "protocol/extension.h"
#include "protocol/wire.h"

#define HASH_STEP (64u << 10)

gboolean ferry_capture_refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, text);
    return FALSE;
}

FerryCaptureBlock *ferry_capture_block(const FerryCapture *c, unsigned index)
{
    g_assert(index < c->blocks->len);
    return &g_array_index(c->blocks, FerryCaptureBlock, index);
}

FerryCaptureSection *ferry_capture_saved(const FerryCapture *c, unsigned index)
{
    g_assert(index < c->sections->len);
    return &g_array_index(c->sections, FerryCaptureSection, index);
}

gboolean ferry_capture_take_configuration(FerryCapture *c, const FerryConfiguration *configuration,
                                          GError **error)
{
    if (configuration->machine[0] == '\0') {
        return ferry_capture_refuse(error, "the source does not say its machine type");
    }
    if (c->has_expected_uuid && configuration->has_uuid &&
        memcmp(c->expected_uuid, configuration->uuid, sizeof c->expected_uuid) != 0) {
        return ferry_capture_refuse(error, "the guest's UUID is not the one that is expected here");
    }
    c->configuration = *configuration;
    if (configuration->page_bits) {
        c->page_bits = configuration->page_bits;
    }
    if (configuration->has_uuid) {
        ferry_guest_set_uuid(c->guest, configuration->uuid);
    }
    ferry_guest_set_machine(c->guest, configuration->machine);
    return TRUE;
}

gboolean ferry_capture_take_block(FerryCapture *c, const char *idstr, uint64_t length,
                                  GError **error)
{
    FerryCaptureBlock block = {.length = length, .fd = -1};

    if (length == 0 || length % FERRY_PAGE_SIZE != 0) {
        return ferry_capture_refuse(error,
                                    "RAM block '%s': %" G_GUINT64_FORMAT
                                    " bytes are not a whole number of pages of 4096",
                                    idstr, length);
    }
    if (__builtin_add_overflow(c->ram_bytes, length, &c->ram_bytes)) {
        return ferry_capture_refuse(error, "RAM block '%s': the lengths' sum overflows", idstr);
    }
    if (c->max_ram_bytes && c->ram_bytes > c->max_ram_bytes) {
        return ferry_capture_refuse(error,
                                    "RAM block '%s': with it the source has %" G_GUINT64_FORMAT
                                    " bytes of RAM, more than the %" G_GUINT64_FORMAT
                                    " that are allowed here",
                                    idstr, c->ram_bytes, c->max_ram_bytes);
    }
    block.idstr = g_strdup(idstr);
    g_array_append_val(c->blocks, block);
    return TRUE;
}

/* A state's name, in a field of the body that has room for more: "\0\0\0\bRunning\0\0\0...". */
static char *read_run_state(const uint8_t *body, size_t length)
{
    uint32_t n = length >= 4 ? ferry_get_be32(body) : 0;

    if (n < 2 || n > FERRY_RUN_STATE_MAX || 4 + (size_t)n > length || body[4 + n - 1] != '\0' ||
        strlen((const char *)body + 4) != n - 1 ||
        !g_utf8_validate((const char *)body + 4, (gssize)n - 1, NULL)) {
        return NULL;
    }
    return g_strdup((const char *)body + 4);
}

gboolean ferry_capture_take_section(FerryCapture *c, const FerryStreamEvent *e, GError **error)
{
    FerryCaptureSection section = {.early = e->device.early, .before_ram = c->blocks->len == 0};

    if (strcmp(e->device.idstr, FERRY_GLOBALSTATE_IDSTR) == 0) {
        if (c->globalstate >= 0 || e->device.early) {
            return ferry_capture_refuse(error, "section '%s' comes %s", e->device.idstr,
                                        e->device.early ? "before the end of ram" : "twice");
        }
        c->run_state = read_run_state(e->device.body, e->device.length);
        if (!c->run_state) {
            return ferry_capture_refuse(error, "section '%s' names no run state", e->device.idstr);
        }
        c->globalstate = (int)c->sections->len;
    }
    section.saved = (FerrySavedSection){.idstr = g_strdup(e->device.idstr),
                                        .instance = e->device.instance_id,
                                        .version = e->device.version_id,
                                        .body = g_memdup2(e->device.body, e->device.length),
                                        .length = e->device.length};
    g_array_append_val(c->sections, section);
    return TRUE;
}

void ferry_capture_take_description(FerryCapture *c, const char *text, size_t length)
{
    g_free(c->description);
    c->description = length ? g_strndup(text, length) : NULL;
    c->description_length = length;
}

static gboolean on_configuration(void *self, const FerryConfiguration *configuration,
                                 GError **error)
{
    return ferry_capture_take_configuration(self, configuration, error);
}

static gboolean on_block(void *self, const char *idstr, uint64_t length, GError **error)
{
    return ferry_capture_take_block(self, idstr, length, error);
}

static gboolean on_blocks_end(void *self, GError **error)
{
    FerryCapture *c = self;

    return (!c->output || ferry_snapshot_lay_out(c, error)) && ferry_capture_make_ram(c, error);
}

static gboolean on_is_stale(void *self, unsigned block)
{
    return ferry_capture_block(self, block)->stale;
}

static gboolean on_device(void *self, const FerryStreamEvent *event, GError **error)
{
    return ferry_capture_take_section(self, event, error);
}

static gboolean on_complete(void *self, const char *description, size_t length, GError **error)
{
    FerryCapture *c = self;

    ferry_capture_take_description(c, description, length);
    return !c->output || ferry_snapshot_finish(c, error);
}

static void on_discard(void *self)
{
    FerryCapture *c = self;

    ferry_snapshot_end(c, TRUE);
    ferry_capture_discard_ram(c);
}

static void clear_block(gpointer data)
{
    FerryCaptureBlock *b = data;
    g_free(b->idstr);
    g_free(b->file);
}

static void clear_section(gpointer data)
{
    FerryCaptureSection *s = data;
    g_free(s->saved.idstr);
    g_free(s->saved.body);
}

FerryCapture *ferry_capture_new_empty(void)
{
    static const FerryStrangerOps ops = {.configuration = on_configuration,
                                         .block = on_block,
                                         .blocks_end = on_blocks_end,
                                         .is_stale = on_is_stale,
                                         .device = on_device,
                                         .complete = on_complete,
                                         .discard = on_discard};
    FerryCapture *c = g_new0(FerryCapture, 1);

    c->guest = ferry_guest_new_stranger(&ops, c);
    c->page_bits = FERRY_PAGE_BITS;
    c->blocks = g_array_new(FALSE, FALSE, sizeof(FerryCaptureBlock));
    g_array_set_clear_func(c->blocks, clear_block);
    c->sections = g_array_new(FALSE, FALSE, sizeof(FerryCaptureSection));
    g_array_set_clear_func(c->sections, clear_section);
    c->kept_early = g_array_new(FALSE, FALSE, sizeof(FerrySavedSection));
    c->globalstate = -1;
    c->file.fd = c->file.directory = c->ram_directory = -1;
    pthread_mutex_init(&c->file.lock, NULL);
    return c;
}

FerryCapture *ferry_capture_new(const FerryCaptureOptions *options, GError **error)
{
    g_autoptr(FerryCapture) c = ferry_capture_new_empty();

    if (options->output && options->ram_dir) {
        ferry_capture_refuse(error, "RAM is kept in a snapshot or in files of its own, not both");
        return NULL;
    }
    c->max_ram_bytes = options->max_ram_bytes;
    c->output = g_strdup(options->output);
    c->ram_dir = g_strdup(options->ram_dir);
    if (options->page_bits) {
        c->page_bits = options->page_bits;
    }
    c->has_expected_uuid = options->uuid != NULL;
    if (options->uuid) {
        memcpy(c->expected_uuid, options->uuid, sizeof c->expected_uuid);
    }
    if ((c->output && !ferry_snapshot_begin(c, error)) ||
        (c->ram_dir && !ferry_capture_open_ram_dir(c, error))) {
        return NULL;
    }
    return g_steal_pointer(&c);
}

FerryGuest *ferry_capture_guest(FerryCapture *c) { return c->guest; }

const FerryConfiguration *ferry_capture_configuration(const FerryCapture *c)
{
    return &c->configuration;
}

unsigned ferry_capture_page_bits(const FerryCapture *c) { return c->page_bits; }

unsigned ferry_capture_n_sections(const FerryCapture *c) { return c->sections->len; }

FerryCapturedSection ferry_capture_section(const FerryCapture *c, unsigned index)
{
    const FerryCaptureSection *s = ferry_capture_saved(c, index);

    return (FerryCapturedSection){.idstr = s->saved.idstr,
                                  .instance = s->saved.instance,
                                  .version = s->saved.version,
                                  .body = s->saved.body,
                                  .length = s->saved.length,
                                  .early = s->early};
}

const char *ferry_capture_description(const FerryCapture *c, size_t *out_length)
{
    *out_length = c->description_length;
    return c->description;
}

const char *ferry_capture_run_state(const FerryCapture *c) { return c->run_state; }

char *ferry_capture_sha256(const FerryCapture *c, unsigned block)
{
    const FerryCaptureBlock *b = ferry_capture_block(c, block);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    static const uint8_t zero[HASH_STEP];

    g_assert(b->host);
    for (uint64_t at = 0, n; at < b->length; at += n) {
        uint64_t data = ferry_capture_next_data(c, block, at);
        const uint8_t *bytes = data > at ? zero : b->host + at;
        n = data > at ? MIN(data - at, HASH_STEP) : MIN(b->length - at, HASH_STEP);
        g_checksum_update(sum, bytes, (gssize)n);
    }
    return g_strdup(g_checksum_get_string(sum));
}

void ferry_capture_free(FerryCapture *c)
{
    if (!c) {
        return;
    }
    ferry_snapshot_end(c, FALSE);
    ferry_guest_free(c->guest);
    ferry_capture_release_ram(c);
    pthread_mutex_destroy(&c->file.lock);
    g_array_unref(c->blocks);
    g_array_unref(c->sections);
    g_array_unref(c->kept_early);
    g_free(c->description);
    g_free(c->run_state);
    g_free(c->output);
    g_free(c->ram_dir);
    g_free(c);
}

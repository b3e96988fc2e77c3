#include "tests/engine/stranger-rig.h"
#include <stdio.h>
#include <string.h>
#include "engine/guest-private.h"
#include "protocol/ram.h"
#include "protocol/wire.h"
#include "tests/fakes/expect.h"

size_t rig_room = 1 << 20;

static gboolean hear(Rig *r, const char *word, GError **error)
{
    g_string_append_printf(r->diary, "%s ", word);
    if (r->refuse[0] && g_str_has_prefix(word, r->refuse)) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "not kept: %s", word);
        return FALSE;
    }
    return TRUE;
}

static gboolean on_configuration(void *self, const FerryConfiguration *c, GError **error)
{
    g_autofree char *word = g_strdup_printf("machine:%s", c->machine);
    return hear(self, word, error);
}

static gboolean on_block(void *self, const char *idstr, uint64_t length, GError **error)
{
    g_autofree char *word = g_strdup_printf("block:%s:%u", idstr, (unsigned)length);
    return hear(self, word, error);
}

static gboolean on_blocks_end(void *self, GError **error)
{
    Rig *r = self;

    return hear(r, "list", error) && ferry_memory_add(ferry_guest_memory(r->guest), "strange",
                                                      r->memory, RIG_BLOCK_BYTES, error);
}

static gboolean on_device(void *self, const FerryStreamEvent *e, GError **error)
{
    g_autofree char *word = g_strdup_printf("%s%s:%u", e->device.early ? "early:" : "",
                                            e->device.idstr, (unsigned)e->device.length);
    return hear(self, word, error);
}

static gboolean on_complete(void *self, const char *description, size_t length, GError **error)
{
    (void)description;
    return hear(self, length ? "complete:described" : "complete", error);
}

static void on_discard(void *self) { (void)hear(self, "discard", NULL); }

static const FerryStrangerOps ops = {
    .configuration = on_configuration,
    .block = on_block,
    .blocks_end = on_blocks_end,
    .device = on_device,
    .complete = on_complete,
    .discard = on_discard,
};

static void *run(void *data)
{
    Rig *r = data;

    r->ok = ferry_destination_run(r->destination, &r->error);
    return NULL;
}

void rig_begin(Rig *r, FerryDestinationOptions options, unsigned channels, const char *refuse)
{
    FerryChannel *ours, *others[RIG_CHANNELS];

    memset(r, 0, sizeof *r);
    r->memory = g_malloc0(RIG_BLOCK_BYTES);
    r->diary = g_string_new(NULL);
    r->out = g_byte_array_new();
    r->guest = ferry_guest_new_stranger(&ops, r);
    r->interrupt = ferry_interrupt_new(NULL);
    g_strlcpy(r->refuse, refuse ? refuse : "", sizeof r->refuse);
    ferry_channel_pair(rig_room, r->interrupt, &ours, &r->peer);
    for (unsigned i = 0; i < channels; i++) {
        ferry_channel_pair(1 << 20, r->interrupt, &others[i], &r->channels[i]);
    }
    options.multifd = others;
    options.n_multifd = channels;
    r->destination = ferry_destination_new(r->guest, ours, r->interrupt, &options);
    g_assert(pthread_create(&r->thread, NULL, run, r) == 0);
}

void rig_end(Rig *r)
{
    ferry_destination_free(r->destination);
    ferry_channel_free(r->peer);
    for (unsigned i = 0; i < RIG_CHANNELS; i++) {
        ferry_channel_free(r->channels[i]);
    }
    ferry_guest_free(r->guest);
    ferry_interrupt_free(r->interrupt);
    g_free(r->memory);
    g_string_free(r->diary, TRUE);
    g_byte_array_unref(r->out);
    g_clear_error(&r->error);
}

void rig_add(Rig *r, const void *bytes, size_t n) { g_byte_array_append(r->out, bytes, (guint)n); }

void rig_flush(Rig *r)
{
    (void)ferry_channel_write_all(r->peer, r->out->data, r->out->len, PATIENCE_NS, NULL);
    g_byte_array_set_size(r->out, 0);
}

void rig_add_word(Rig *r, uint64_t word)
{
    uint8_t bytes[8];
    ferry_put_be64(bytes, word);
    rig_add(r, bytes, sizeof bytes);
}

void rig_add_footer(Rig *r, uint32_t id)
{
    uint8_t bytes[FERRY_SECTION_FOOTER_SIZE];
    rig_add(r, bytes, ferry_section_footer_encode(id, bytes));
}

void rig_add_section(Rig *r, FerrySectionType type, uint32_t id, const char *idstr)
{
    uint8_t bytes[FERRY_SECTION_HEADER_MAX];
    FerrySectionHeader h = {.type = type, .section_id = id, .idstr = idstr};
    h.version_id = idstr && strcmp(idstr, FERRY_RAM_IDSTR) == 0 ? FERRY_RAM_VERSION : 1;
    rig_add(r, bytes, ferry_section_header_encode(&h, bytes));
}

void rig_add_device(Rig *r, uint32_t id, const char *idstr, const char *body)
{
    rig_add_section(r, FERRY_SECTION_FULL, id, idstr);
    rig_add(r, body, strlen(body));
    rig_add_footer(r, id);
}

void rig_add_command(Rig *r, FerryCommandId id)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE];
    FerryCommand c = {.id = id};
    rig_add(r, bytes, ferry_command_encode(&c, bytes));
}

void rig_add_ping(Rig *r, uint32_t value)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE + 4];
    rig_add(r, bytes, ferry_ping_encode(value, bytes));
}

void rig_add_head(Rig *r)
{
    uint8_t bytes[FERRY_CONFIGURATION_MAX];
    FerryConfiguration c = {.machine = "virt-9.9"};
    rig_add(r, bytes, ferry_stream_header_encode(bytes));
    rig_add(r, bytes, ferry_configuration_encode(&c, bytes));
}

void rig_add_start(Rig *r, gboolean flush_record)
{
    uint8_t bytes[FERRY_RAM_BLOCK_MAX];
    rig_add_section(r, FERRY_SECTION_START, RIG_RAM_ID, FERRY_RAM_IDSTR);
    rig_add_word(r, RIG_BLOCK_BYTES | FERRY_RAM_MEM_SIZE);
    rig_add(r, bytes, ferry_ram_block_encode("strange", RIG_BLOCK_BYTES, bytes));
    if (flush_record) {
        rig_add_word(r, FERRY_RAM_MULTIFD_FLUSH);
    }
    rig_add_word(r, FERRY_RAM_EOS);
    rig_add_footer(r, RIG_RAM_ID);
}

void rig_add_page(Rig *r, uint64_t offset, int fill)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX], page[RIG_PAGE];
    FerryRamHeader h = {.offset = offset, .flags = FERRY_RAM_PAGE, .idstr = "strange"};
    memset(page, fill, sizeof page);
    rig_add(r, bytes, ferry_ram_header_encode(&h, bytes));
    rig_add(r, page, sizeof page);
}

void rig_add_section_end(Rig *r, gboolean flush_record)
{
    if (flush_record) {
        rig_add_word(r, FERRY_RAM_MULTIFD_FLUSH);
    }
    rig_add_word(r, FERRY_RAM_EOS);
    rig_add_footer(r, RIG_RAM_ID);
}

void rig_add_end(Rig *r)
{
    uint8_t bytes[FERRY_DESCRIPTION_HEADER_SIZE];
    rig_add_device(r, 7, "cpu", "0123456789");
    rig_add_device(r, 8, "globalstate", "any state of any length");
    rig_add(r, bytes, ferry_end_encode(0, bytes));
}

void rig_add_beginning(Rig *r, gboolean return_path, gboolean flush_record)
{
    rig_add_head(r);
    if (return_path) {
        rig_add_command(r, FERRY_COMMAND_OPEN_RETURN_PATH);
    }
    rig_add_start(r, flush_record);
}

void rig_add_whole(Rig *r, gboolean return_path)
{
    rig_add_beginning(r, return_path, FALSE);
    rig_add_section(r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
    rig_add_page(r, RIG_PAGE, 0x11);
    rig_add_section_end(r, FALSE);
    rig_add_section(r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
    rig_add_page(r, 0, 0x22);
    rig_add_section_end(r, FALSE);
    rig_add_end(r);
}

/* Both ends have one interrupt: what ends the destination's waits ends ours. */
static gboolean read_all(Rig *r, uint8_t *bytes, size_t n)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;
    g_autoptr(GError) why = NULL;

    while (!ferry_channel_read_all(r->peer, bytes, n, until, &why)) {
        if (!g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED)) {
            return FALSE;
        }
        g_clear_error(&why);
        g_usleep(1000);
    }
    return TRUE;
}

/* The next message on the return path; type 0: the end. */
static FerryReturnMessage listen(Rig *r)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {0};

    if (read_all(r, bytes, 4)) {
        uint16_t length = ferry_get_be16(bytes + 2);
        g_assert(length == 0 || length == 4);
        m.type = ferry_get_be16(bytes);
        if (length && read_all(r, bytes, length)) {
            m.value = ferry_get_be32(bytes);
        }
    }
    return m;
}

void rig_expect_said(Rig *r, FerryReturnType type, uint32_t value)
{
    FerryReturnMessage m = listen(r);
    EXPECT(m.type == type && m.value == value, "%u 0x%x instead of %u 0x%x", m.type, m.value, type,
           value);
}

void rig_join(Rig *r) { pthread_join(r->thread, NULL); }

void rig_expect_refused(Rig *r)
{
    rig_expect_said(r, FERRY_RETURN_SHUT, 1);
    ferry_channel_free(g_steal_pointer(&r->peer));
    rig_join(r);
}

void rig_expect_diary(Rig *r, const char *expected)
{
    EXPECT(strcmp(r->diary->str, expected) == 0, "%s", r->diary->str);
}

void rig_expect_error(Rig *r, const char *why)
{
    EXPECT(!r->ok && r->error && strstr(r->error->message, why), "'%s' is not in: %s", why,
           r->error ? r->error->message : "success");
}

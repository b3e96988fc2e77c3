/* A destination that keeps whatever guest a source has: what its keeper hears, in which order, and
 * what the source is told when. With multifd: where main waits for the channels. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "engine/destination.h"
#include "engine/guest-private.h"
#include "protocol/extension.h"
#include "protocol/multifd.h"
#include "protocol/return-path.h"
#include "protocol/wire.h"
#include "tests/fakes/expect.h"
#include "transport/transport.h"

#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */
#define RAM_ID 3
#define PAGE 4096u
#define BLOCK_PAGES 256u
#define BLOCK_BYTES (BLOCK_PAGES * PAGE)
#define CHANNELS 2u

/* A destination on a thread of its own, and the source played by hand. */
typedef struct {
    FerryGuest *guest;
    FerryInterrupt *interrupt;
    FerryDestination *destination;
    FerryChannel *peer, *channels[CHANNELS];
    uint8_t *memory;
    GString *diary;  /* what the keeper heard; the destination's thread's until it has ended */
    char refuse[32]; /* the word of the diary at which the keeper refuses */
    GByteArray *out; /* not said yet */
    GError *error;
    gboolean ok;
    pthread_t thread;
} Rig;

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

    return hear(r, "list", error) &&
           ferry_memory_add(ferry_guest_memory(r->guest), "strange", r->memory, BLOCK_BYTES, error);
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

static size_t room = 1 << 20; /* between the ends */

static void *run(void *data)
{
    Rig *r = data;

    r->ok = ferry_destination_run(r->destination, &r->error);
    return NULL;
}

static void begin(Rig *r, FerryDestinationOptions options, unsigned channels, const char *refuse)
{
    FerryChannel *ours, *others[CHANNELS];

    memset(r, 0, sizeof *r);
    r->memory = g_malloc0(BLOCK_BYTES);
    r->diary = g_string_new(NULL);
    r->out = g_byte_array_new();
    r->guest = ferry_guest_new_stranger(&ops, r);
    r->interrupt = ferry_interrupt_new(NULL);
    g_strlcpy(r->refuse, refuse ? refuse : "", sizeof r->refuse);
    ferry_channel_pair(room, r->interrupt, &ours, &r->peer);
    for (unsigned i = 0; i < channels; i++) {
        ferry_channel_pair(1 << 20, r->interrupt, &others[i], &r->channels[i]);
    }
    options.multifd = others;
    options.n_multifd = channels;
    r->destination = ferry_destination_new(r->guest, ours, r->interrupt, &options);
    g_assert(pthread_create(&r->thread, NULL, run, r) == 0);
}

static void end(Rig *r)
{
    ferry_destination_free(r->destination);
    ferry_channel_free(r->peer);
    for (unsigned i = 0; i < CHANNELS; i++) {
        ferry_channel_free(r->channels[i]);
    }
    ferry_guest_free(r->guest);
    ferry_interrupt_free(r->interrupt);
    g_free(r->memory);
    g_string_free(r->diary, TRUE);
    g_byte_array_unref(r->out);
    g_clear_error(&r->error);
}

static void add(Rig *r, const void *bytes, size_t n)
{
    g_byte_array_append(r->out, bytes, (guint)n);
}

static void flush(Rig *r)
{
    (void)ferry_channel_write_all(r->peer, r->out->data, r->out->len, PATIENCE_NS, NULL);
    g_byte_array_set_size(r->out, 0);
}

static void add_word(Rig *r, uint64_t word)
{
    uint8_t bytes[8];
    ferry_put_be64(bytes, word);
    add(r, bytes, sizeof bytes);
}

static void add_footer(Rig *r, uint32_t id)
{
    uint8_t bytes[FERRY_SECTION_FOOTER_SIZE];
    add(r, bytes, ferry_section_footer_encode(id, bytes));
}

static void add_section(Rig *r, FerrySectionType type, uint32_t id, const char *idstr)
{
    uint8_t bytes[FERRY_SECTION_HEADER_MAX];
    FerrySectionHeader h = {.type = type, .section_id = id, .idstr = idstr};
    h.version_id = idstr && strcmp(idstr, FERRY_RAM_IDSTR) == 0 ? FERRY_RAM_VERSION : 1;
    add(r, bytes, ferry_section_header_encode(&h, bytes));
}

static void add_device(Rig *r, uint32_t id, const char *idstr, const char *body)
{
    add_section(r, FERRY_SECTION_FULL, id, idstr);
    add(r, body, strlen(body));
    add_footer(r, id);
}

static void add_command(Rig *r, FerryCommandId id)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE];
    FerryCommand c = {.id = id};
    add(r, bytes, ferry_command_encode(&c, bytes));
}

static void add_ping(Rig *r, uint32_t value)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE + 4];
    add(r, bytes, ferry_ping_encode(value, bytes));
}

static void add_head(Rig *r)
{
    uint8_t bytes[FERRY_CONFIGURATION_MAX];
    FerryConfiguration c = {.machine = "virt-9.9"};
    add(r, bytes, ferry_stream_header_encode(bytes));
    add(r, bytes, ferry_configuration_encode(&c, bytes));
}

static void add_start(Rig *r, gboolean flush_record)
{
    uint8_t bytes[FERRY_RAM_BLOCK_MAX];
    add_section(r, FERRY_SECTION_START, RAM_ID, FERRY_RAM_IDSTR);
    add_word(r, BLOCK_BYTES | FERRY_RAM_MEM_SIZE);
    add(r, bytes, ferry_ram_block_encode("strange", BLOCK_BYTES, bytes));
    if (flush_record) {
        add_word(r, FERRY_RAM_MULTIFD_FLUSH);
    }
    add_word(r, FERRY_RAM_EOS);
    add_footer(r, RAM_ID);
}

static void add_page(Rig *r, uint64_t offset, int fill)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX], page[PAGE];
    FerryRamHeader h = {.offset = offset, .flags = FERRY_RAM_PAGE, .idstr = "strange"};
    memset(page, fill, sizeof page);
    add(r, bytes, ferry_ram_header_encode(&h, bytes));
    add(r, page, sizeof page);
}

static void add_section_end(Rig *r, gboolean flush_record)
{
    if (flush_record) {
        add_word(r, FERRY_RAM_MULTIFD_FLUSH);
    }
    add_word(r, FERRY_RAM_EOS);
    add_footer(r, RAM_ID);
}

static void add_end(Rig *r)
{
    uint8_t bytes[FERRY_DESCRIPTION_HEADER_SIZE];
    add_device(r, 7, "cpu", "0123456789");
    add_device(r, 8, "globalstate", "any state of any length");
    add(r, bytes, ferry_end_encode(0, bytes));
}

/* All of it in front of the ram section's PARTs. */
static void add_beginning(Rig *r, gboolean return_path, gboolean flush_record)
{
    add_head(r);
    if (return_path) {
        add_command(r, FERRY_COMMAND_OPEN_RETURN_PATH);
    }
    add_start(r, flush_record);
}

static void add_whole(Rig *r, gboolean return_path)
{
    add_beginning(r, return_path, FALSE);
    add_section(r, FERRY_SECTION_PART, RAM_ID, NULL);
    add_page(r, PAGE, 0x11);
    add_section_end(r, FALSE);
    add_section(r, FERRY_SECTION_END, RAM_ID, NULL);
    add_page(r, 0, 0x22);
    add_section_end(r, FALSE);
    add_end(r);
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

static void expect_said(Rig *r, FerryReturnType type, uint32_t value)
{
    FerryReturnMessage m = listen(r);
    EXPECT(m.type == type && m.value == value, "%u 0x%x instead of %u 0x%x", m.type, m.value, type,
           value);
}

static void join(Rig *r) { pthread_join(r->thread, NULL); }

/* The last word; who hears it hangs up. */
static void expect_refused(Rig *r)
{
    expect_said(r, FERRY_RETURN_SHUT, 1);
    ferry_channel_free(g_steal_pointer(&r->peer));
    join(r);
}

static void expect_diary(Rig *r, const char *expected)
{
    EXPECT(strcmp(r->diary->str, expected) == 0, "%s", r->diary->str);
}

static void expect_error(Rig *r, const char *why)
{
    EXPECT(!r->ok && r->error && strstr(r->error->message, why), "'%s' is not in: %s", why,
           r->error ? r->error->message : "success");
}

#define HEARD "machine:virt-9.9 block:strange:1048576 list cpu:10 globalstate:23 "

static void a_stock_source_is_told_when_all_is_kept(void)
{
    for (unsigned way_back = 0; way_back < 2; way_back++) {
        Rig r;
        begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        add_whole(&r, way_back);
        flush(&r);
        if (way_back) {
            expect_said(&r, FERRY_RETURN_SHUT, 0);
        }
        join(&r);
        EXPECT(r.ok, "%s", r.error ? r.error->message : "");
        expect_diary(&r, HEARD "complete ");
        EXPECT(r.memory[0] == 0x22 && r.memory[PAGE] == 0x11 && r.memory[2 * PAGE] == 0, "RAM");
        end(&r);
    }
}

static void leave_to_switch_over_is_given_once(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){.switchover_ack = TRUE}, 0, NULL);
    add_head(&r);
    add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
    add_ping(&r, 1);
    add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
    add_ping(&r, 2);
    flush(&r);
    expect_said(&r, FERRY_RETURN_SWITCHOVER_ACK, 0);
    expect_said(&r, FERRY_RETURN_PONG, 1);
    expect_said(&r, FERRY_RETURN_PONG, 2);
    ferry_channel_shutdown_write(r.peer, NULL);
    expect_refused(&r);
    expect_error(&r, "");
    end(&r);
}

/* What the keeper cannot keep, the source keeps. */
static void a_keeper_that_refuses_is_heard(void)
{
    static const char *const words[] = {"machine", "block", "list", "cpu", "complete"};

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        Rig r;
        begin(&r, (FerryDestinationOptions){0}, 0, words[i]);
        add_whole(&r, TRUE);
        flush(&r);
        if (i > 0) {
            expect_refused(&r);
        } else {
            join(&r);
        }
        expect_error(&r, "not kept: ");
        expect_error(&r, words[i]);
        EXPECT(g_str_has_suffix(r.diary->str, " discard "), "%s", r.diary->str);
        end(&r);
    }
}

static void a_cut_stream_is_discarded(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    add_whole(&r, TRUE);
    g_byte_array_set_size(r.out, r.out->len - 1);
    flush(&r);
    ferry_channel_shutdown_write(r.peer, NULL);
    expect_refused(&r);
    expect_error(&r, "description");
    expect_diary(&r, "machine:virt-9.9 block:strange:1048576 list discard ");
    end(&r);
}

/* It runs the guest on when it is told nothing: then it is not kept here, too. */
static void a_stock_source_that_cannot_be_told_keeps_its_guest(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    add_whole(&r, TRUE);
    g_byte_array_set_size(r.out, r.out->len - 1);
    flush(&r);
    add(&r, "", 1); /* the last byte, and nobody listens behind it */
    flush(&r);
    ferry_channel_free(g_steal_pointer(&r.peer));
    join(&r);
    if (!r.ok) { /* or it was faster than we were */
        EXPECT(g_str_has_suffix(r.diary->str, "complete discard "), "%s", r.diary->str);
    }
    end(&r);
}

/* GO or ABORT come when everything is kept; RUNNING says that it is. */
static void a_ferry_source_decides(void)
{
    for (unsigned go = 0; go < 2; go++) {
        Rig r;
        begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        add_head(&r);
        add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
        add_ping(&r, FERRY_PING_HELLO);
        flush(&r);
        expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_HELLO_ANSWER);
        add_start(&r, FALSE);
        add_section(&r, FERRY_SECTION_END, RAM_ID, NULL);
        add_section_end(&r, FALSE);
        add_end(&r);
        flush(&r);
        expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_LOADED);
        add_ping(&r, go ? FERRY_PING_GO : FERRY_PING_ABORT);
        flush(&r);
        if (go) {
            expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_RUNNING);
        }
        expect_said(&r, FERRY_RETURN_SHUT, !go);
        ferry_channel_free(g_steal_pointer(&r.peer));
        join(&r);
        EXPECT(r.ok == (go == 1), "%s", r.error ? r.error->message : "");
        expect_diary(&r, go ? HEARD "complete " : HEARD "complete discard ");
        end(&r);
    }
}

static void send_packet(Rig *r, unsigned channel, unsigned page, int fill, gboolean sync)
{
    uint8_t header[FERRY_MULTIFD_HEADER_MAX], content[PAGE];
    uint64_t offset = (uint64_t)page * PAGE;
    FerryMultifdPacket packet = {.sync = sync, .payload_bytes = PAGE, .idstr = "strange"};

    packet.normal_pages = fill > 0;
    packet.zero_pages = fill == 0;
    if (fill < 0) { /* nothing but SYNC */
        packet.idstr[0] = '\0';
    }
    memset(content, fill, sizeof content);
    (void)ferry_channel_write_all(r->channels[channel], header,
                                  ferry_multifd_packet_encode(&packet, &offset, 12, header),
                                  PATIENCE_NS, NULL);
    if (fill > 0) {
        (void)ferry_channel_write_all(r->channels[channel], content, PAGE, PATIENCE_NS, NULL);
    }
}

static void sync_channels(Rig *r)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        send_packet(r, i, 0, -1, TRUE);
    }
}

/* One page wanders over the channels and main, once per barrier; what came last stands. */
static void barriers_order_what_comes(gboolean per_round)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, CHANNELS, NULL);
    add_beginning(&r, TRUE, per_round);
    sync_channels(&r);
    flush(&r);
    for (unsigned round = 1; round < 40; round++) {
        add_section(&r, FERRY_SECTION_PART, RAM_ID, NULL);
        if (round % 3 == 2) {
            add_page(&r, 5 * PAGE, (int)round);
        } else {
            send_packet(&r, round % 3, 5, (int)round, FALSE);
        }
        add_page(&r, 6 * PAGE, (int)round); /* another page, at the same time */
        sync_channels(&r);
        add_section_end(&r, per_round);
        flush(&r);
    }
    send_packet(&r, 0, 7, 0x77, TRUE); /* SYNC rides on data: QEMU up to 8.2 */
    send_packet(&r, 1, 6, 0, FALSE);
    send_packet(&r, 1, 0, -1, TRUE);
    add_section(&r, FERRY_SECTION_END, RAM_ID, NULL);
    add_section_end(&r, per_round);
    add_end(&r);
    flush(&r);
    send_packet(&r, 0, 0, -1, FALSE); /* and ends with a packet of nothing */
    expect_said(&r, FERRY_RETURN_SHUT, 0);
    for (unsigned i = 0; i < CHANNELS; i++) {
        ferry_channel_shutdown_write(r.channels[i], NULL);
    }
    join(&r);
    EXPECT(r.ok, "%s", r.error ? r.error->message : "");
    EXPECT(r.memory[5 * PAGE] == 39 && r.memory[6 * PAGE - 1] == 39, "%u", r.memory[5 * PAGE]);
    EXPECT(r.memory[6 * PAGE] == 0 && r.memory[7 * PAGE - 1] == 0, "not cleared");
    EXPECT(r.memory[7 * PAGE] == 0x77, "not there");
    FerryProgress p;
    ferry_destination_get_progress(r.destination, &p);
    EXPECT(p.normal_pages == 39 + 39 + 1 && p.zero_pages == 1, "%u", (unsigned)p.normal_pages);
    EXPECT(p.multifd_bytes > 40 * 1344 && p.sent_bytes > p.multifd_bytes, "bytes");
    end(&r);
}

static void a_flush_in_the_wrong_place_is_refused(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, CHANNELS, NULL);
    add_beginning(&r, TRUE, FALSE);
    sync_channels(&r);
    add_section(&r, FERRY_SECTION_PART, RAM_ID, NULL);
    add_section_end(&r, TRUE);
    flush(&r);
    expect_refused(&r);
    expect_error(&r, "FLUSH from a source whose START section had none");
    EXPECT(g_str_has_suffix(r.diary->str, " discard "), "%s", r.diary->str);
    end(&r);
}

/* Without multifd a FLUSH means nothing: QEMU 8.1.0 sends it all the same. */
static void a_flush_without_multifd_is_ignored(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    add_beginning(&r, FALSE, TRUE);
    add_section(&r, FERRY_SECTION_END, RAM_ID, NULL);
    add_section_end(&r, TRUE);
    add_end(&r);
    flush(&r);
    join(&r);
    EXPECT(r.ok, "%s", r.error ? r.error->message : "");
    end(&r);
}

/* Main waits for a byte while a channel goes wrong: the source hears of it at once. */
static void a_channel_that_fails_ends_main(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, CHANNELS, NULL);
    add_beginning(&r, TRUE, FALSE);
    sync_channels(&r);
    flush(&r);
    send_packet(&r, 1, BLOCK_PAGES, 1, FALSE); /* behind the last page */
    expect_refused(&r);
    expect_error(&r, "multifd channel 1 (pair");
    expect_error(&r, "at 0x100000, but it has 0x100000 bytes");
    end(&r);
}

static void a_barrier_that_is_never_reached_ends_by_the_deadline(void)
{
    for (unsigned per_round = 0; per_round < 2; per_round++) {
        Rig r;
        begin(&r, (FerryDestinationOptions){.io_timeout_ns = 100 * MS}, CHANNELS, NULL);
        add_beginning(&r, TRUE, per_round);
        send_packet(&r, 0, 0, -1, TRUE);
        flush(&r);
        expect_refused(&r);
        expect_error(&r, "no SYNC from channel 1 in the time it had");
        end(&r);
    }
}

static void an_end_without_a_barrier_is_refused(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, CHANNELS, NULL);
    add_beginning(&r, TRUE, TRUE);
    sync_channels(&r);
    flush(&r);
    send_packet(&r, 0, 1, 1, FALSE);
    for (FerryProgress p = {0}; p.normal_pages == 0;) { /* until the page was seen */
        add_ping(&r, 1);
        flush(&r);
        expect_said(&r, FERRY_RETURN_PONG, 1);
        g_usleep(25000);
        ferry_destination_get_progress(r.destination, &p);
    }
    add_section(&r, FERRY_SECTION_END, RAM_ID, NULL);
    add_section_end(&r, FALSE);
    flush(&r);
    expect_refused(&r);
    expect_error(&r, "channel 0: pages behind the last barrier");
    end(&r);
}

static void a_cancel_ends_a_barrier(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){0}, CHANNELS, NULL);
    add_beginning(&r, TRUE, TRUE);
    flush(&r);
    g_usleep(50000);
    EXPECT(ferry_destination_cancel(r.destination), "too late");
    join(&r);
    EXPECT(g_error_matches(r.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           r.error ? r.error->message : "success");
    EXPECT(g_str_has_suffix(r.diary->str, "discard "), "%s", r.diary->str);
    end(&r);
}

/* A byte now and then is silence; commands of a source that rests are not. */
static void a_byte_now_and_then_is_silence(void)
{
    Rig r;

    begin(&r, (FerryDestinationOptions){.io_timeout_ns = 200 * MS}, 0, NULL);
    add_beginning(&r, TRUE, FALSE);
    flush(&r);
    for (unsigned i = 0; i < 10; i++) {
        g_usleep(50000);
        add_ping(&r, i);
        flush(&r);
        expect_said(&r, FERRY_RETURN_PONG, i);
    }
    add_section(&r, FERRY_SECTION_PART, RAM_ID, NULL);
    add_page(&r, 0, 1);
    for (unsigned i = 0; i < 2000 && ferry_channel_readable(r.peer, 0, NULL) == 0; i++) {
        (void)ferry_channel_write_all(r.peer, r.out->data + i, 1, PATIENCE_NS, NULL);
        g_usleep(5000);
    }
    expect_refused(&r);
    expect_error(&r, "deadline");
    end(&r);
}

static void add_record(Rig *r, uint8_t *expected, unsigned page, int fill, gboolean named)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader h = {.offset = (uint64_t)page * PAGE,
                        .flags = fill ? FERRY_RAM_PAGE : FERRY_RAM_ZERO,
                        .idstr = "strange"};

    h.flags |= named ? 0 : FERRY_RAM_CONTINUE;
    memset(expected + (size_t)page * PAGE, fill, PAGE);
    add(r, bytes, ferry_ram_header_encode(&h, bytes));
    if (fill) {
        add(r, expected + (size_t)page * PAGE, PAGE);
    }
}

/* Runs of pages, of zero pages, pages again, section after section. */
static unsigned add_anything(Rig *r, GRand *random, uint8_t *expected)
{
    unsigned normal = 0;

    for (unsigned section = 0; section < 6; section++) {
        add_section(r, FERRY_SECTION_PART, RAM_ID, NULL);
        for (unsigned part = (unsigned)g_rand_int_range(random, 0, 8); part > 0; part--) {
            unsigned page = (unsigned)g_rand_int_range(random, 0, BLOCK_PAGES);
            unsigned n = (unsigned)g_rand_int_range(random, 1, 140), step = 1;
            int fill = g_rand_int_range(random, 0, 4) ? g_rand_int_range(random, 1, 256) : 0;
            step += g_rand_int_range(random, 0, 10) == 0;
            for (; n > 0 && page < BLOCK_PAGES; n--, page += step) {
                add_record(r, expected, page, fill,
                           normal == 0 || g_rand_int_range(random, 0, 60) == 0);
                normal += fill > 0;
            }
        }
        add_section_end(r, FALSE);
        add_ping(r, section);
    }
    return normal;
}

static void flush_in_pieces(Rig *r, GRand *random)
{
    for (guint done = 0; done < r->out->len;) {
        guint n = (guint)g_rand_int_range(random, 1, 1 << g_rand_int_range(random, 1, 18));
        n = MIN(n, r->out->len - done);
        (void)ferry_channel_write_all(r->peer, r->out->data + done, n, PATIENCE_NS, NULL);
        done += n;
    }
    g_byte_array_set_size(r->out, 0);
}

/* Pages in a row are read to their places before it is known that they are pages. */
static void ram_is_what_the_records_say(unsigned seeds)
{
    for (unsigned seed = 0; seed < seeds; seed++) {
        g_autoptr(GRand) random = g_rand_new_with_seed(seed);
        g_autofree uint8_t *expected = g_malloc0(BLOCK_BYTES);
        FerryProgress p;
        unsigned normal;
        Rig r;
        room = (size_t)1 << g_rand_int_range(random, 8, 20);
        begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        add_beginning(&r, TRUE, FALSE);
        normal = add_anything(&r, random, expected);
        add_section(&r, FERRY_SECTION_END, RAM_ID, NULL);
        add_section_end(&r, FALSE);
        add_end(&r);
        flush_in_pieces(&r, random);
        for (unsigned section = 0; section < 6; section++) {
            expect_said(&r, FERRY_RETURN_PONG, section);
        }
        expect_said(&r, FERRY_RETURN_SHUT, 0);
        join(&r);
        EXPECT(r.ok, "seed %u: %s", seed, r.error ? r.error->message : "");
        EXPECT(memcmp(r.memory, expected, BLOCK_BYTES) == 0, "seed %u", seed);
        ferry_destination_get_progress(r.destination, &p);
        EXPECT(p.normal_pages == normal, "seed %u: %u of %u", seed, (unsigned)p.normal_pages,
               normal);
        end(&r);
    }
    room = 1 << 20;
}

/* Wherever it is cut inside a row of pages, it is refused as cut there. */
static void a_row_of_pages_that_is_cut_is_refused(void)
{
    for (unsigned cut = 1; cut < 40; cut += 3) {
        g_autofree uint8_t *expected = g_malloc0(BLOCK_BYTES);
        Rig r;
        begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        add_beginning(&r, TRUE, FALSE);
        add_section(&r, FERRY_SECTION_PART, RAM_ID, NULL);
        for (unsigned page = 0; page < 100; page++) {
            add_record(&r, expected, page, 1, page == 0);
        }
        g_byte_array_set_size(r.out, r.out->len - cut * 333);
        g_autofree char *where =
            g_strdup_printf("byte %u: the stream ended inside a ram section", r.out->len);
        for (guint done = 0, n; done < r.out->len; done += n) { /* so that it begins early */
            n = MIN(30000, r.out->len - done);
            (void)ferry_channel_write_all(r.peer, r.out->data + done, n, PATIENCE_NS, NULL);
            g_usleep(100);
        }
        ferry_channel_shutdown_write(r.peer, NULL);
        expect_refused(&r);
        expect_error(&r, where);
        end(&r);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    a_stock_source_is_told_when_all_is_kept();
    leave_to_switch_over_is_given_once();
    a_keeper_that_refuses_is_heard();
    a_cut_stream_is_discarded();
    a_stock_source_that_cannot_be_told_keeps_its_guest();
    a_ferry_source_decides();
    barriers_order_what_comes(FALSE);
    barriers_order_what_comes(TRUE);
    a_flush_in_the_wrong_place_is_refused();
    a_flush_without_multifd_is_ignored();
    a_channel_that_fails_ends_main();
    a_barrier_that_is_never_reached_ends_by_the_deadline();
    an_end_without_a_barrier_is_refused();
    a_cancel_ends_a_barrier();
    a_byte_now_and_then_is_silence();
    ram_is_what_the_records_say(80);
    a_row_of_pages_that_is_cut_is_refused();
    printf("%u failures\n", failures);
    return failures != 0;
}

/* What the sender writes, the decoder and the loader make of it: memory is equal, and every record
 * is accounted for. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "engine/ram-load.h"
#include "engine/ram-send.h"
#include "protocol/wire.h"
#include "transport/transport.h"

#define PAGES 600
static _Alignas(4096) uint8_t from[2][PAGES * 4096], to[2][PAGES * 4096];

typedef struct {
    FerryMemory *memory;
    FerryRamLoader *loader;
    FerryChannel *out, *in;
    FerryDecoder *decoder;
    unsigned sections[3];
} Ends;

static FerryMemory *blocks(uint8_t m[2][PAGES * 4096])
{
    FerryMemory *memory = ferry_memory_new();
    ferry_memory_add(memory, "pc.ram", m[0], sizeof from[0], NULL);
    ferry_memory_add(memory, "/rom@etc/acpi/tables", m[1], sizeof from[1], NULL);
    return memory;
}

static void push_prelude(FerryDecoder *decoder)
{
    static uint8_t bytes[FERRY_STREAM_HEADER_SIZE + FERRY_CONFIGURATION_MAX];
    FerryConfiguration c = {.machine = "m"};
    FerryStreamEvent event;
    size_t n = ferry_stream_header_encode(bytes);
    n += ferry_configuration_encode(&c, bytes + n);
    ferry_decoder_push(decoder, bytes, n);
    while (ferry_decoder_step(decoder, &event, NULL) == FERRY_DECODE_EVENT) {
    }
}

/* Takes what the sender has written. */
static void drain(Ends *e)
{
    static uint8_t buffer[1 << 20];
    FerryStreamEvent event;
    GError *error = NULL;
    while (ferry_channel_readable(e->in, 0, NULL) == 1) {
        gssize n = ferry_channel_read(e->in, buffer, sizeof buffer, 0, &error);
        cr_assert_gt(n, 0);
        ferry_decoder_push(e->decoder, buffer, (size_t)n);
        FerryDecode step;
        while ((step = ferry_decoder_step(e->decoder, &event, &error)) == FERRY_DECODE_EVENT) {
            if (event.type == FERRY_STREAM_RAM_BLOCK) {
                cr_assert(ferry_ram_loader_block(e->loader, event.block.idstr,
                                                 event.block.used_length, &error),
                          "%s", error->message);
            } else if (event.type == FERRY_STREAM_RAM_LIST_END) {
                cr_assert(ferry_ram_loader_list_end(e->loader, 12, &error));
            } else if (event.type == FERRY_STREAM_PAGE || event.type == FERRY_STREAM_ZERO) {
                cr_assert(ferry_ram_loader_page(e->loader, &event, &error));
            } else if (event.type == FERRY_STREAM_ROUND_END) {
                e->sections[event.section - FERRY_SECTION_START]++;
            }
        }
        cr_assert_eq(step, FERRY_DECODE_MORE, "%s", error ? error->message : "");
    }
}

static void send(FerryRamSender *s, Ends *e, unsigned block, uint64_t first, uint64_t n,
                 gboolean last)
{
    for (uint64_t done = 0; done < n; done += MIN(100, n - done)) {
        if (!ferry_ram_sender_has_room(s, MIN(100, n - done))) {
            cr_assert(ferry_ram_sender_flush(s, NULL));
            drain(e);
        }
        cr_assert(ferry_ram_sender_pages(s, block, first + done, MIN(100, n - done), last, NULL));
    }
}

Test(ram, arrives_as_it_was_sent)
{
    g_autoptr(FerryMemory) source = blocks(from), destination = blocks(to);
    Ends e = {.loader = ferry_ram_loader_new(destination), .decoder = ferry_decoder_new(NULL)};
    ferry_channel_pair(8 << 20, NULL, &e.out, &e.in);
    FerrySourceOptions options = {0};
    FerryRamSetup setup = {
        .memory = source, .channel = e.out, .options = &options, .progress_ns = 1000000000};
    g_autoptr(FerryRamSender) s = ferry_ram_sender_new(&setup);

    for (unsigned p = 0; p < PAGES; p++) {
        memset(from[0] + p * 4096, p % 3 ? (int)(p % 251 + 1) : 0, 4096);
    }
    from[1][5 * 4096 + 4095] = 1;
    push_prelude(e.decoder);
    cr_assert(ferry_ram_sender_start(s, NULL));
    send(s, &e, 0, 0, PAGES, FALSE);
    send(s, &e, 1, 0, PAGES, FALSE);
    cr_assert(ferry_ram_sender_end_section(s, FALSE, NULL));
    memset(from[0] + 4096, 0, 4096);        /* was not zero: must be cleared there */
    memset(from[1] + 7 * 4096, 0x77, 4096); /* was zero */
    send(s, &e, 1, 7, 1, FALSE);
    send(s, &e, 0, 1, 1, FALSE);
    cr_assert(ferry_ram_sender_end_section(s, FALSE, NULL));
    cr_assert(ferry_ram_sender_end_section(s, FALSE, NULL)); /* none is open: nothing is sent */
    cr_assert(ferry_ram_sender_end_section(s, TRUE, NULL));  /* but the END section always is */
    cr_assert(ferry_ram_sender_flush(s, NULL));
    drain(&e);

    cr_expect(memcmp(from, to, sizeof from) == 0);
    cr_expect_eq(e.sections[0], 1);
    cr_expect_eq(e.sections[1], 2);
    cr_expect_eq(e.sections[2], 1);
    FerryRamCounts counts = ferry_ram_sender_counts(s);
    cr_expect_eq(counts.normal_pages, 400 + 1 + 1);
    cr_expect_eq(counts.zero_pages, 200 + 599 + 1);
    cr_expect_eq(ferry_ram_loader_counts(e.loader).normal_pages, counts.normal_pages);
    cr_expect_eq(ferry_ram_loader_counts(e.loader).zero_pages, counts.zero_pages);

    ferry_ram_loader_discard(e.loader);
    for (size_t i = 0; i < sizeof to; i++) {
        cr_assert_eq(((uint8_t *)to)[i], 0);
    }
    ferry_ram_loader_free(e.loader);
    ferry_decoder_free(e.decoder);
    ferry_channel_free(e.out);
    ferry_channel_free(e.in);
}

typedef struct {
    char idstr[32];
    uint64_t length;
    char complaint[48];
} Row;
ParameterizedTestParameters(ram, a_list_that_does_not_fit_is_refused)
{
    static Row rows[] = {
        {"pc.ram", PAGES * 4096,        ""                        },
        {"pc.ram", PAGES * 4096 + 4096, "bytes at the source, but"},
        {"pc.ram", PAGES * 4096 - 4096, "bytes at the source, but"},
        {"pc.rom", PAGES * 4096,        "does not exist here"     },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Row *row, ram, a_list_that_does_not_fit_is_refused)
{
    g_autoptr(FerryMemory) memory = blocks(to);
    g_autoptr(FerryRamLoader) loader = ferry_ram_loader_new(memory);
    g_autoptr(GError) error = NULL;
    gboolean ok = ferry_ram_loader_block(loader, row->idstr, row->length, &error);
    cr_expect_eq(ok, row->complaint[0] == '\0');
    cr_expect(ok || strstr(error->message, row->complaint), "%s", error ? error->message : "");
    g_clear_error(&error);
    cr_expect_not(ferry_ram_loader_list_end(loader, 12, &error), "one block of ours is not listed");
}

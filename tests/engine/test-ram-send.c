/* XBZRLE and COMPRESS_PAGE: over rounds in which pages change a little, much, not at all, become
 * zero and are zero no more, memory there is what it is here, and every page is accounted for. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "engine/ram-load.h"
#include "engine/ram-send.h"
#include "tests/engine/content.h"
#include "transport/transport.h"

#define PAGES 300
#define CHANNEL_SIZE (8u << 20)
static _Alignas(4096) uint8_t from[2][PAGES * 4096], to[2][PAGES * 4096];

typedef struct {
    FerryMemory *source, *destination;
    FerryRamLoader *loader;
    FerryChannel *out, *in;
    FerryDecoder *decoder;
    FerrySourceOptions options;
    FerryDialect dialect;
    FerryRamSender *sender;
} Rig;

static FerryMemory *blocks(uint8_t m[2][PAGES * 4096])
{
    FerryMemory *memory = ferry_memory_new();

    ferry_memory_add(memory, "pc.ram", m[0], sizeof from[0], NULL);
    ferry_memory_add(memory, "/rom@etc/acpi/tables", m[1], sizeof from[1], NULL);
    return memory;
}

static void take_event(Rig *r, const FerryStreamEvent *event)
{
    g_autoptr(GError) error = NULL;

    switch (event->type) {
    case FERRY_STREAM_RAM_BLOCK:
        cr_assert(
            ferry_ram_loader_block(r->loader, event->block.idstr, event->block.used_length, NULL));
        break;
    case FERRY_STREAM_RAM_LIST_END:
        cr_assert(ferry_ram_loader_list_end(r->loader, 12, NULL));
        break;
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        cr_assert(ferry_ram_loader_page(r->loader, event, &error), "%s", error->message);
        break;
    default:
        break;
    }
}

static void take(Rig *r)
{
    g_autofree uint8_t *buffer = g_malloc(1 << 20);
    g_autoptr(GError) error = NULL;
    FerryStreamEvent event;
    FerryDecode step;

    while (ferry_channel_readable(r->in, 0, NULL) == 1) {
        gssize n = ferry_channel_read(r->in, buffer, 1 << 20, 0, NULL);
        cr_assert_gt(n, 0);
        ferry_decoder_push(r->decoder, buffer, (size_t)n);
        while ((step = ferry_decoder_step(r->decoder, &event, &error)) == FERRY_DECODE_EVENT) {
            take_event(r, &event);
        }
        cr_assert_eq(step, FERRY_DECODE_MORE, "%s", error ? error->message : "");
    }
}

static void rig_up(Rig *r, FerrySourceOptions options)
{
    uint8_t bytes[FERRY_STREAM_HEADER_SIZE + FERRY_CONFIGURATION_MAX];
    FerryConfiguration c = {.machine = "m"};
    FerryStreamEvent event;
    size_t n = ferry_stream_header_encode(bytes);

    n += ferry_configuration_encode(&c, bytes + n);
    *r = (Rig){.source = blocks(from), .destination = blocks(to), .options = options};
    r->dialect.compress_page = TRUE;
    r->loader = ferry_ram_loader_new(r->destination);
    r->decoder = ferry_decoder_new(NULL);
    ferry_channel_pair(CHANNEL_SIZE, NULL, &r->out, &r->in);
    FerryRamSetup setup = {.memory = r->source,
                           .channel = r->out,
                           .options = &r->options,
                           .dialect = &r->dialect,
                           .progress_ns = 1000000000};
    r->sender = ferry_ram_sender_new(&setup);
    ferry_decoder_push(r->decoder, bytes, n);
    while (ferry_decoder_step(r->decoder, &event, NULL) == FERRY_DECODE_EVENT) {
    }
    memset(to, 0, sizeof to);
    cr_assert(ferry_ram_sender_start(r->sender, NULL));
}

static void rig_down(Rig *r)
{
    ferry_ram_sender_free(r->sender);
    ferry_ram_loader_free(r->loader);
    ferry_decoder_free(r->decoder);
    ferry_channel_free(r->out);
    ferry_channel_free(r->in);
    ferry_memory_free(r->source);
    ferry_memory_free(r->destination);
}

static void send(Rig *r, unsigned block, uint64_t first, uint64_t n, gboolean last)
{
    for (uint64_t done = 0, batch; done < n; done += batch) {
        batch = MIN(128, n - done);
        if (!ferry_ram_sender_has_room(r->sender, batch)) {
            cr_assert(ferry_ram_sender_flush(r->sender, NULL));
            cr_assert(ferry_ram_sender_has_room(r->sender, batch));
            take(r);
        }
        cr_assert(ferry_ram_sender_pages(r->sender, block, first + done, batch, last, NULL));
    }
}

/* Memory is equal after every round. */
static void end_round(Rig *r, gboolean last)
{
    ferry_ram_sender_end_first_pass(r->sender);
    cr_assert(ferry_ram_sender_end_round(r->sender, last, NULL));
    cr_assert(ferry_ram_sender_end_section(r->sender, last, NULL));
    cr_assert(ferry_ram_sender_drain(r->sender, NULL));
    take(r);
    cr_assert(memcmp(from, to, sizeof from) == 0);
}

static void fill(void)
{
    for (unsigned page = 0; page < 2 * PAGES; page++) {
        content_fill(from[page / PAGES] + (size_t)(page % PAGES) * 4096, 4096,
                     (Content)(page / 20 % N_CONTENTS), page);
    }
}

/* The guest's part of a round, by page: a few bytes, everything, nothing, to zero, from zero. */
static void change(unsigned round)
{
    for (unsigned page = 0; page < 2 * PAGES; page++) {
        uint8_t *bytes = from[page / PAGES] + (size_t)(page % PAGES) * 4096;
        switch (page % 5) {
        case 0:
            bytes[(page * 37 + round) % 4096] ^= 0x5a;
            bytes[(page * 91 + round) % 4096] ^= 0xa5;
            break;
        case 1:
            content_fill(bytes, 4096, CONTENT_RANDOM, page + round * 1000);
            break;
        case 2:
            break;
        case 3:
            memset(bytes, 0, 4096);
            break;
        default:
            bytes[4095]++;
            break;
        }
    }
}

typedef struct {
    gboolean xbzrle;
    int page_method; /* a FerryMultifdMethod */
    unsigned cache_pages;
} Row;

ParameterizedTestParameters(ram_send, packs_one_by_one)
{
    static Row rows[] = {
        {TRUE,  FERRY_MULTIFD_NONE, 0   }, /* the default: all fit */
        {TRUE,  FERRY_MULTIFD_NONE, 1   },
        {TRUE,  FERRY_MULTIFD_NONE, 64  },
        {TRUE,  FERRY_MULTIFD_NONE, 1000},
        {TRUE,  FERRY_MULTIFD_ZLIB, 256 },
        {FALSE, FERRY_MULTIFD_ZLIB, 0   },
        {FALSE, FERRY_MULTIFD_ZSTD, 0   },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, ram_send, packs_one_by_one)
{
    Rig r;
    FerrySourceOptions options = {.xbzrle = row->xbzrle,
                                  .xbzrle_cache_bytes = row->cache_pages * 4096ull,
                                  .page_method = (FerryMultifdMethod)row->page_method,
                                  .page_level = 1};

    fill();
    rig_up(&r, options);
    for (unsigned round = 0; round < 6; round++) {
        send(&r, 0, 0, PAGES, round == 5);
        send(&r, 1, 0, PAGES, round == 5);
        end_round(&r, round == 5);
        change(round);
        if (round == 4) {
            FerryRamCounts c = ferry_ram_sender_counts(r.sender);
            cr_expect_eq(ferry_ram_counts_pages(&c), 5 * 2 * PAGES);
            cr_expect_eq(c.xbzrle_pages > 0, row->xbzrle);
            cr_expect_eq(c.compressed_pages > 0, row->page_method != FERRY_MULTIFD_NONE);
            cr_expect_eq(c.skipped_pages > 0, row->xbzrle && row->cache_pages != 1);
            cr_expect_lt(c.compressed_bytes, MAX(c.compressed_pages, 1) * 4096);
        }
    }
    FerryRamCounts sent = ferry_ram_sender_counts(r.sender);
    FerryRamLoaded got = ferry_ram_loader_counts(r.loader);
    cr_expect_eq(got.normal_pages, sent.normal_pages);
    cr_expect_eq(got.zero_pages, sent.zero_pages);
    cr_expect_eq(got.xbzrle_pages, sent.xbzrle_pages);
    cr_expect_eq(got.xbzrle_bytes, sent.xbzrle_bytes);
    cr_expect_eq(got.compressed_pages, sent.compressed_pages);
    cr_expect_eq(got.compressed_bytes, sent.compressed_bytes);
    rig_down(&r);
}

Test(ram_send, counts_what_xbzrle_did)
{
    FerrySourceOptions options = {.xbzrle = TRUE, .xbzrle_cache_bytes = 1024 * 4096};
    FerryRamCounts c;
    Rig r;

    for (unsigned i = 0; i < sizeof from; i++) {
        from[i / sizeof from[0]][i % sizeof from[0]] = (uint8_t)(i % 251 + 1);
    }
    rig_up(&r, options);
    send(&r, 0, 0, PAGES, FALSE); /* the first round is never compared */
    send(&r, 1, 0, PAGES, FALSE);
    end_round(&r, FALSE);
    send(&r, 0, 0, PAGES, FALSE);
    send(&r, 1, 0, PAGES, FALSE);
    end_round(&r, FALSE);
    c = ferry_ram_sender_counts(r.sender);
    cr_expect_eq(c.xbzrle_misses, 2 * PAGES);
    cr_expect_eq(c.xbzrle_pages, 0);
    cr_expect_float_eq(c.xbzrle_miss_rate, 1, 0);
    from[0][4096]++;
    content_fill(from[0] + 2 * 4096, 4096, CONTENT_RANDOM, 1);
    memset(from[0] + 3 * 4096, 0, 4096);
    send(&r, 0, 0, 4, FALSE); /* unchanged, a byte, all bytes, zero */
    end_round(&r, FALSE);
    c = ferry_ram_sender_counts(r.sender);
    cr_expect_eq(c.skipped_pages, 1);
    cr_expect_eq(c.xbzrle_pages, 1);
    cr_expect_eq(c.xbzrle_bytes, 3); /* skip 0, one byte, it */
    cr_expect_eq(c.xbzrle_overflows, 1);
    cr_expect_eq(c.xbzrle_misses, 2 * PAGES);
    cr_expect_eq(c.zero_pages, 1);
    cr_expect_float_eq(c.xbzrle_miss_rate, 0, 0);
    cr_expect_float_eq(c.xbzrle_encoding_rate, 4096.0 / 3, 1e-9);
    from[0][3 * 4096 + 7] = 1; /* the zero page and the new one are known as well */
    from[0][2 * 4096]++;
    send(&r, 0, 2, 2, TRUE);
    end_round(&r, TRUE);
    cr_expect_eq(ferry_ram_sender_counts(r.sender).xbzrle_pages, 3);
    rig_down(&r);
}

/* Rounds may be short: as long as pages are sent for the first time nothing goes to the cache. */
Test(ram_send, xbzrle_awaits_the_end_of_the_first_pass)
{
    FerrySourceOptions options = {.xbzrle = TRUE, .xbzrle_cache_bytes = 1024 * 4096};
    Rig r;

    memset(from, 1, sizeof from);
    rig_up(&r, options);
    for (unsigned round = 0; round < 3; round++) {
        send(&r, 0, round * 8, 8, FALSE);
        cr_assert(ferry_ram_sender_end_round(r.sender, FALSE, NULL));
        cr_assert(ferry_ram_sender_end_section(r.sender, FALSE, NULL));
        cr_assert(ferry_ram_sender_drain(r.sender, NULL));
        take(&r);
    }
    cr_expect_eq(ferry_ram_sender_counts(r.sender).xbzrle_misses, 0);
    cr_expect_eq(ferry_ram_sender_counts(r.sender).normal_pages, 24);
    send(&r, 0, 24, PAGES - 24, FALSE);
    send(&r, 1, 0, PAGES, FALSE);
    end_round(&r, FALSE);
    send(&r, 0, 0, 8, FALSE);
    end_round(&r, FALSE);
    cr_expect_eq(ferry_ram_sender_counts(r.sender).xbzrle_misses, 8);
    rig_down(&r);
}

/* Two pages of one slot: the one that is there stays while it is sent round after round. */
Test(ram_send, pages_do_not_drive_each_other_out)
{
    FerrySourceOptions options = {.xbzrle = TRUE, .xbzrle_cache_bytes = 64 * 4096};
    FerryRamCounts c;
    Rig r;

    memset(from, 1, sizeof from);
    rig_up(&r, options);
    send(&r, 0, 0, PAGES, FALSE);
    send(&r, 1, 0, PAGES, FALSE);
    end_round(&r, FALSE);
    for (unsigned round = 1; round <= 4; round++) {
        from[0][0]++;
        from[0][64 * 4096]++;
        send(&r, 0, 0, 1, FALSE);
        send(&r, 0, 64, 1, FALSE);
        end_round(&r, FALSE);
    }
    c = ferry_ram_sender_counts(r.sender);
    cr_expect_eq(c.xbzrle_pages, 3);
    cr_expect_eq(c.xbzrle_misses, 1 + 4);
    for (unsigned round = 1; round <= 4; round++) { /* now only the other is sent */
        from[0][64 * 4096]++;
        send(&r, 0, 64, 1, FALSE);
        end_round(&r, FALSE);
    }
    c = ferry_ram_sender_counts(r.sender);
    cr_expect_eq(c.xbzrle_pages, 3 + 2);
    rig_down(&r);
}

Test(ram_send, compressed_pages_go_only_where_they_are_known)
{
    g_autoptr(FerryMemory) memory = blocks(from);
    FerrySourceOptions options = {.page_method = FERRY_MULTIFD_ZLIB};
    FerryDialect dialect = {.compress_page = FALSE};
    FerryRamSetup setup = {.memory = memory, .options = &options, .dialect = &dialect};
    g_autoptr(FerryRamSender) sender = ferry_ram_sender_new(&setup);
    g_autoptr(GError) error = NULL;

    cr_assert_not(ferry_ram_sender_start(sender, &error));
    cr_expect(strstr(error->message, "'compress'"), "%s", error->message);
}

Test(ram_send, none_sends_zero_pages_whole)
{
    FerrySourceOptions options = {.zero_pages = FERRY_ZERO_PAGES_NONE};
    Rig r;

    memset(from, 0, sizeof from);
    rig_up(&r, options);
    send(&r, 0, 0, PAGES, FALSE);
    end_round(&r, FALSE);
    cr_expect_eq(ferry_ram_sender_counts(r.sender).normal_pages, PAGES);
    cr_expect_eq(ferry_ram_loader_counts(r.loader).zero_pages, 0);
    rig_down(&r);
}

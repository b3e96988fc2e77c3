/* Pages in a row are read to their places before it is known that they are pages: guest memory is
 * what the records say all the same. */
#include <stdio.h>
#include <string.h>
#include "protocol/ram.h"
#include "tests/engine/stranger-rig.h"
#include "tests/fakes/expect.h"

static void add_record(Rig *r, uint8_t *expected, unsigned page, int fill, gboolean named)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader h = {.offset = (uint64_t)page * RIG_PAGE,
                        .flags = fill ? FERRY_RAM_PAGE : FERRY_RAM_ZERO,
                        .idstr = "strange"};

    h.flags |= named ? 0 : FERRY_RAM_CONTINUE;
    memset(expected + (size_t)page * RIG_PAGE, fill, RIG_PAGE);
    rig_add(r, bytes, ferry_ram_header_encode(&h, bytes));
    if (fill) {
        rig_add(r, expected + (size_t)page * RIG_PAGE, RIG_PAGE);
    }
}

/* Runs of pages, of zero pages, pages again, section after section. */
static unsigned add_anything(Rig *r, GRand *random, uint8_t *expected)
{
    unsigned normal = 0;

    for (unsigned section = 0; section < 6; section++) {
        rig_add_section(r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
        for (unsigned part = (unsigned)g_rand_int_range(random, 0, 8); part > 0; part--) {
            unsigned page = (unsigned)g_rand_int_range(random, 0, RIG_BLOCK_PAGES);
            unsigned n = (unsigned)g_rand_int_range(random, 1, 140), step = 1;
            int fill = g_rand_int_range(random, 0, 4) ? g_rand_int_range(random, 1, 256) : 0;
            step += g_rand_int_range(random, 0, 10) == 0;
            for (; n > 0 && page < RIG_BLOCK_PAGES; n--, page += step) {
                add_record(r, expected, page, fill,
                           normal == 0 || g_rand_int_range(random, 0, 60) == 0);
                normal += fill > 0;
            }
        }
        rig_add_section_end(r, FALSE);
        rig_add_ping(r, section);
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
        g_autofree uint8_t *expected = g_malloc0(RIG_BLOCK_BYTES);
        FerryProgress p;
        unsigned normal;
        Rig r;
        rig_room = (size_t)1 << g_rand_int_range(random, 8, 20);
        rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        rig_add_beginning(&r, TRUE, FALSE);
        normal = add_anything(&r, random, expected);
        rig_add_section(&r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
        rig_add_section_end(&r, FALSE);
        rig_add_end(&r);
        flush_in_pieces(&r, random);
        for (unsigned section = 0; section < 6; section++) {
            rig_expect_said(&r, FERRY_RETURN_PONG, section);
        }
        rig_expect_said(&r, FERRY_RETURN_SHUT, 0);
        rig_join(&r);
        EXPECT(r.ok, "seed %u: %s", seed, r.error ? r.error->message : "");
        EXPECT(memcmp(r.memory, expected, RIG_BLOCK_BYTES) == 0, "seed %u", seed);
        ferry_destination_get_progress(r.destination, &p);
        EXPECT(p.normal_pages == normal, "seed %u: %u of %u", seed, (unsigned)p.normal_pages,
               normal);
        rig_end(&r);
    }
    rig_room = 1 << 20;
}

/* Wherever it is cut inside a row of pages, it is refused as cut there. */
static void a_row_of_pages_that_is_cut_is_refused(void)
{
    for (unsigned cut = 1; cut < 40; cut += 3) {
        g_autofree uint8_t *expected = g_malloc0(RIG_BLOCK_BYTES);
        Rig r;
        rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        rig_add_beginning(&r, TRUE, FALSE);
        rig_add_section(&r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
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
        rig_expect_refused(&r);
        rig_expect_error(&r, where);
        rig_end(&r);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    ram_is_what_the_records_say(80);
    a_row_of_pages_that_is_cut_is_refused();
    printf("%u failures\n", failures);
    return failures != 0;
}

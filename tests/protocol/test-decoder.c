#include "protocol/decoder.h"
#include <criterion/criterion.h>
#include <string.h>
#include "tests/protocol/sample.h"

static const FerryDecoderOptions small_pages = {.page_bits = SAMPLE_PAGE_BITS,
                                                .commands_after_end = TRUE};
static const FerryDecoderOptions tolerant = {
    .page_bits = SAMPLE_PAGE_BITS, .commands_after_end = TRUE, .description_optional = TRUE};

static void expect_events(const char *words, const char *expected)
{
    g_autoptr(GByteArray) wire = sample_assemble(words, SAMPLE_PAGE_BITS);
    g_autofree char *got = sample_events(wire->data, wire->len, &small_pages, 0, 0);

    cr_expect_str_eq(got, expected);
}

Test(decoder, tells_a_stream_in_order)
{
    expect_events("H C O P S L E F R B Q Z E F X E F D N P",
                  "0: header\n"
                  "8: configuration pc-i440fx-7.2 bits 0 uuid 0 69691905\n"
                  "26: command open-return-path 0 811c9dc5\n"
                  "31: command ping 4 4a95f382\n"
                  "65: block 0 pc.ram 4096\n"
                  "80: block 1 pc.bios 1024\n"
                  "96: list 5120\n"
                  "40: round end 1\n"
                  "114: page 0 0 07dfb91e\n"
                  "1153: page 0 400 bc752dbd\n"
                  "2185: zero 0 800\n"
                  "109: round end 2\n"
                  "2207: round end 3\n"
                  "2225: device 5 dev 0 1 16 e026de6a\n"
                  "2263: description 0 811c9dc5\n"
                  "2269: command ping 4 4a95f382\n"
                  "end\n");
}

/* "The last block" outlives a section (and a command between two). */
Test(decoder, continue_survives_the_end_of_a_section)
{
    expect_events("H C S L E F R B E F 08000b0000 R Z E F X Z E F N",
                  "0: header\n"
                  "8: configuration pc-i440fx-7.2 bits 0 uuid 0 69691905\n"
                  "51: block 0 pc.ram 4096\n"
                  "66: block 1 pc.bios 1024\n"
                  "82: list 5120\n"
                  "26: round end 1\n"
                  "100: page 0 0 07dfb91e\n"
                  "95: round end 2\n"
                  "1152: command switchover-start 0 811c9dc5\n"
                  "1162: zero 0 800\n"
                  "1157: round end 2\n"
                  "1189: zero 0 800\n"
                  "1184: round end 3\n"
                  "1211: description 0 811c9dc5\n"
                  "end\n");
}

/* QEMU 7.2 sends the footer with whatever comes next, which may wait for the barrier here. */
Test(decoder, records_end_without_waiting_for_the_footer)
{
    expect_events("H C S L E", "0: header\n"
                               "8: configuration pc-i440fx-7.2 bits 0 uuid 0 69691905\n"
                               "51: block 0 pc.ram 4096\n"
                               "66: block 1 pc.bios 1024\n"
                               "82: list 5120\n"
                               "26: round end 1\n"
                               "bad: byte 90: the stream ended inside a ram section\n");
}

Test(decoder, result_does_not_depend_on_how_bytes_are_chopped)
{
    for (unsigned what = 0; what < SAMPLE_ALL; what++) {
        g_autoptr(GByteArray) wire = sample_stream(what);
        g_autofree char *whole = sample_events(wire->data, wire->len, &tolerant, 0, 0);
        g_autofree char *bytes = sample_events(wire->data, wire->len, &tolerant, 1, 0);

        cr_assert(g_str_has_suffix(whole, "\nend\n"), "%u: %s", what, whole);
        cr_assert_null(strstr(whole, "bad"));
        cr_assert_str_eq(bytes, whole, "%u: byte by byte", what);
        for (unsigned seed = 1; seed <= 40; seed++) {
            size_t piece = seed % 2 ? 40 : 2000;
            g_autofree char *pieces = sample_events(wire->data, wire->len, &tolerant, piece, seed);

            cr_assert_str_eq(pieces, whole, "%u: pieces of up to %zu, seed %u", what, piece, seed);
        }
    }
}

Test(decoder, device_sections_are_the_same_with_any_end)
{
    static const unsigned ends[] = {0, SAMPLE_EMPTY_TEXT, SAMPLE_NO_TEXT};

    for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_autoptr(GByteArray) wire = sample_stream(SAMPLE_EARLY | ends[i]);
        g_autofree char *got = sample_events(wire->data, wire->len, &tolerant, 0, 0);

        cr_expect(strstr(got, "device 9 early/one 0 3 21 "), "%s", got);
        cr_expect(strstr(got, "device 2 early/two 0 3 0 811c9dc5 early"), "%s", got);
        cr_expect(strstr(got, "device 102 timer 0 3 24 "), "%s", got);
        cr_expect(strstr(got, "device 2 dma 0 3 75 "), "%s", got);
        cr_expect(strstr(got, "device 104 dma 1 3 75 "), "%s", got);
        cr_expect(strstr(got, "device 105 0000:00:01.0/ide 0 3 1 "), "%s", got);
    }
}

/* Wrong sizes are a reason to look for footers, not to fail: QEMU 7.2 describes arrays with holes
 * wrongly. */
Test(decoder, footers_decide_where_the_description_is_wrong)
{
    expect_events("H C S L E F X E F D 00 06 00000038 "
                  "={\"devices\":[{\"name\":\"dev\",\"instance_id\":0,\"fields\":[]}]}",
                  "0: header\n"
                  "8: configuration pc-i440fx-7.2 bits 0 uuid 0 69691905\n"
                  "51: block 0 pc.ram 4096\n"
                  "66: block 1 pc.bios 1024\n"
                  "82: list 5120\n"
                  "26: round end 1\n"
                  "95: round end 3\n"
                  "113: device 5 dev 0 1 16 e026de6a\n"
                  "151: description 56 9149806e\n"
                  "end\n");
}

/* A guest decides about bytes of device state. */
Test(decoder, an_end_inside_a_device_is_not_believed)
{
    expect_events(
        "H C S L E F X E F 0400000005 \"dev 0000000000000001 "
        "7e00000005 00 06 0000000e ={\"devices\":[]} 0102 7e00000005 "
        "00 06 00000043 "
        "={\"devices\":[{\"name\":\"dev\",\"instance_id\":0,\"fields\":[{\"size\":27}]}]}",
        "0: header\n"
        "8: configuration pc-i440fx-7.2 bits 0 uuid 0 69691905\n"
        "51: block 0 pc.ram 4096\n"
        "66: block 1 pc.bios 1024\n"
        "82: list 5120\n"
        "26: round end 1\n"
        "95: round end 3\n"
        "113: device 5 dev 0 1 27 a5220ba2\n"
        "162: description 67 ccea82a0\n"
        "end\n");
}

/* Also where a footer and a zero in device state look like the end mark. */
Test(decoder, cut_anywhere_is_an_error)
{
    g_autoptr(GByteArray) wire = sample_stream(SAMPLE_EARLY | SAMPLE_UUID | SAMPLE_FLUSH);

    for (size_t n = 0; n < wire->len; n++) {
        g_autofree char *got = sample_events(wire->data, n, &small_pages, 700, 1);

        cr_assert(strstr(got, "the stream ended inside"), "%zu: %s", n, got);
        cr_assert_null(strstr(got, ": description "));
    }
}

/* The end mark is the end only for who says so. */
Test(decoder, a_missing_description_must_be_expected)
{
    static const FerryDecoderOptions optional = {.page_bits = SAMPLE_PAGE_BITS,
                                                 .description_optional = TRUE};
    g_autoptr(GByteArray) wire = sample_stream(SAMPLE_NO_TEXT);
    g_autofree char *whole = sample_events(wire->data, wire->len, &optional, 0, 0);
    g_autofree char *strict = sample_events(wire->data, wire->len, &small_pages, 0, 0);
    g_autofree char *cut = sample_events(wire->data, wire->len - 1, &optional, 0, 0);

    cr_expect(g_str_has_suffix(whole, "\nend\n"), "%s", whole);
    cr_expect(strstr(strict, "the stream ended inside"), "%s", strict);
    cr_expect(strstr(cut, "the stream ended inside"), "%s", cut);
}

/* Whatever a flipped bit makes of a stream, it is the same however the bytes come. */
Test(decoder, a_flipped_bit_gives_one_answer)
{
    g_autoptr(GByteArray) wire = sample_stream(SAMPLE_EARLY | SAMPLE_UUID | SAMPLE_FLUSH);
    size_t good = 0;

    for (size_t bit = 0; bit < (size_t)wire->len * 8; bit++) {
        size_t at = bit / 8;
        g_autofree char *whole = NULL, *pieces = NULL;

        if (at >= 64 && wire->data[at] == wire->data[at - 1] &&
            wire->data[at] == wire->data[at - 64]) {
            continue; /* inside a page */
        }
        wire->data[at] ^= (uint8_t)(1u << bit % 8);
        whole = sample_events(wire->data, wire->len, &small_pages, 0, 0);
        pieces = sample_events(wire->data, wire->len, &small_pages, 30, (unsigned)bit + 1);
        cr_assert_str_eq(pieces, whole, "bit %zu of byte %zu", bit % 8, at);
        good += g_str_has_suffix(whole, "\nend\n");
        wire->data[at] ^= (uint8_t)(1u << bit % 8);
    }
    cr_expect_gt(good, 0, "names and contents may change");
}

/* M23: of all combinations of flags only eight go on. */
Test(decoder, only_known_combinations_of_flags_pass)
{
    static const FerryDecoderOptions defaults = {0};
    g_autoptr(GByteArray) start = sample_assemble("H C S L E F R B", 12);
    guint length = start->len;

    g_byte_array_set_size(start, length + 8192);
    memset(start->data + length, 0, 8192);
    for (unsigned flags = 0; flags < 4096; flags++) {
        g_autofree char *got = NULL;
        unsigned kind = flags & ~(unsigned)FERRY_RAM_CONTINUE;
        gboolean page = kind == FERRY_RAM_PAGE || kind == FERRY_RAM_ZERO;
        gboolean mark = flags == FERRY_RAM_EOS || flags == FERRY_RAM_MULTIFD_FLUSH;

        start->data[length + 6] = (uint8_t)(page ? 0x10 | flags >> 8 : flags >> 8);
        start->data[length + 7] = (uint8_t)flags;
        if (page && !(flags & FERRY_RAM_CONTINUE)) {
            memcpy(start->data + length + 8, "\6pc.ram", 7);
        } else {
            memset(start->data + length + 8, 0, 7);
        }
        got = sample_events(start->data, length + 8 + 7, &defaults, 0, 0);
        /* a mark's next record is cut, or a zero word: not this one's fault */
        if (page || mark) {
            cr_assert_null(strstr(got, "byte 4211"), "0x%x: %s", flags, got);
        } else {
            cr_assert(strstr(got, "bad: byte 4211: ram section: "), "0x%x: %s", flags, got);
        }
    }
}

/* No copy where none is needed: the page is where it was pushed. */
Test(decoder, a_whole_page_is_given_where_it_lies)
{
    g_autoptr(GByteArray) wire = sample_assemble("H C S L E F R B Q", SAMPLE_PAGE_BITS);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&small_pages);
    FerryStreamEvent ev;
    unsigned pages = 0;

    ferry_decoder_push(decoder, wire->data, wire->len);
    while (ferry_decoder_step(decoder, &ev, NULL) == FERRY_DECODE_EVENT) {
        if (ev.type == FERRY_STREAM_PAGE) {
            pages++;
            cr_expect(ev.page.data >= wire->data && ev.page.data < wire->data + wire->len);
        }
    }
    cr_expect_eq(pages, 2);
    cr_expect_eq(ferry_decoder_offset(decoder), wire->len);
}

Test(decoder, bad_is_final)
{
    g_autoptr(GByteArray) good = sample_assemble("H C S L E F R B Q Q", SAMPLE_PAGE_BITS);
    g_autoptr(GByteArray) bad = sample_assemble("H C S L E F R B 0000000000000001", 10);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&small_pages);
    g_autofree char *first = NULL;
    FerryStreamEvent ev;
    FerryDecode answer;

    ferry_decoder_push(decoder, bad->data, bad->len);
    while ((answer = ferry_decoder_step(decoder, &ev, NULL)) == FERRY_DECODE_EVENT) {
    }
    cr_assert_eq(answer, FERRY_DECODE_BAD);
    for (int i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;

        /* what a good stream would continue with changes nothing */
        ferry_decoder_push(decoder, good->data + good->len - 1032, 1032);
        cr_assert_eq(ferry_decoder_step(decoder, &ev, &error), FERRY_DECODE_BAD);
        if (!first) {
            first = g_strdup(error->message);
        }
        cr_expect_str_eq(error->message, first);
        g_clear_error(&error);
        cr_expect_not(ferry_decoder_finish(decoder, &error));
        cr_expect_str_eq(error->message, first);
    }
}

/* What is buffered without knowing its length is bounded. */
Test(decoder, device_state_is_bounded)
{
    FerryDecoderOptions options = {.page_bits = 10, .max_device_bytes = 5000};
    static const char *const streams[] = {"H C S L E F X E F D 04000000070178 0000000000000001",
                                          "H C 04000000070178 0000000000000001",
                                          "H C S L E F X E F 00 06 ffffffff"};

    for (unsigned i = 0; i < G_N_ELEMENTS(streams); i++) {
        g_autoptr(GByteArray) wire = sample_assemble(streams[i], 10);
        guint length = wire->len;
        g_autofree char *whole = NULL, *pieces = NULL;

        g_byte_array_set_size(wire, length + 6000);
        memset(wire->data + length, 0, 6000);
        whole = sample_events(wire->data, wire->len, &options, 0, 0);
        pieces = sample_events(wire->data, wire->len, &options, 100, 5);
        cr_expect(strstr(whole, "larger than 5000 bytes"), "%s", whole);
        cr_expect_str_eq(pieces, whole);
    }
}

/* Places in device state that look like its end cost a limited number of looks. */
Test(decoder, false_ends_are_bounded)
{
    g_autoptr(GByteArray) wire =
        sample_assemble("H C S L E F X E F 04000000070178 0000000000000001", 10);
    g_autofree char *got = NULL;

    for (int i = 0; i < 1000; i++) {
        g_byte_array_append(wire, (const uint8_t *)"\x7e\0\0\0\1\0\6\0\0\0\0", 11);
    }
    got = sample_events(wire->data, wire->len, &small_pages, 0, 0);
    cr_expect(strstr(got, "looks like its end too often"), "%s", got);
}

Test(decoder, block_list_is_bounded)
{
    g_autoptr(GByteArray) wire = sample_assemble("H C S 0000000000200004", 10);
    g_autofree char *got = NULL;

    for (int i = 0; i < 2048; i++) {
        uint8_t out[FERRY_RAM_BLOCK_MAX];
        g_autofree char *name = g_strdup_printf("b%d", i);

        g_byte_array_append(wire, out, (guint)ferry_ram_block_encode(name, 1024, out));
    }
    got = sample_events(wire->data, wire->len, &small_pages, 0, 0);
    cr_expect(strstr(got, "block 1023 b1023 "), "the last that fits");
    cr_expect(strstr(got, "more than 1024 blocks"), "%s", got);
}

Test(decoder, free_of_nothing_does_nothing) { ferry_decoder_free(NULL); }

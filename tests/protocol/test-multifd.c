#include "protocol/multifd.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/wire.h"

#define BITS 12u
#define SIZE 1344 /* of a header for pages of 4 KiB */
#define BAD FERRY_PROTOCOL_ERROR_MALFORMED
#define NOT FERRY_PROTOCOL_ERROR_UNSUPPORTED

Test(multifd, hello)
{
    static const uint8_t start[] = "\x11\x22\x33\x44\0\0\0\1";
    FerryMultifdHello hello = {.id = 7}, again;
    uint8_t out[FERRY_MULTIFD_HELLO_SIZE], nothing[39] = {0};

    for (unsigned i = 0; i < 16; i++) {
        hello.uuid[i] = (uint8_t)(0xf0 + i);
    }
    ferry_multifd_hello_encode(&hello, out);
    cr_expect_arr_eq(out, start, 8);
    cr_expect_arr_eq(out + 8, hello.uuid, 16);
    cr_expect_eq(out[24], 7);
    cr_expect_arr_eq(out + 25, nothing, 39);
    cr_assert(ferry_multifd_hello_decode(out, &again, NULL));
    cr_expect_eq(again.id, 7);
    cr_expect_arr_eq(again.uuid, hello.uuid, 16);
}

typedef struct {
    char what[40];
    unsigned at;
    uint8_t byte;
    int code;
    char message[48];
} BadHello;
ParameterizedTestParameters(multifd, hello_refuses)
{
    static BadHello rows[] = {
        {"M30 magic",               0,  0x51, FERRY_PROTOCOL_ERROR_MAGIC, "magic is 0x51223344"       },
        {"M30 version",             7,  2,    NOT,                        "version 2 is not supported"},
        {"M30 version 0",           7,  0,    NOT,                        "version 0 is not supported"},
        {"M30 first reserved byte", 25, 1,    BAD,                        "reserved byte 25 is 0x01"  },
        {"M30 last reserved byte",  63, 0x80, BAD,                        "reserved byte 63 is 0x80"  },
    };
    return cr_make_param_array(BadHello, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(BadHello *row, multifd, hello_refuses)
{
    FerryMultifdHello hello = {.id = 1};
    g_autoptr(GError) error = NULL;
    uint8_t out[FERRY_MULTIFD_HELLO_SIZE];

    ferry_multifd_hello_encode(&hello, out);
    out[row->at] = row->byte;
    cr_assert_not(ferry_multifd_hello_decode(out, &hello, &error), "%s", row->what);
    cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, row->code), "%s", row->what);
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
}

Test(multifd, methods_have_names)
{
    static const char *const names[] = {"none", "zlib", "zstd", "qpl", "uadk", "qatzip"};
    FerryMultifdMethod method;

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        cr_assert(ferry_multifd_method_find(names[i], &method));
        cr_expect_eq(method, i == 0 ? 0u : 1u << i);
        cr_expect_str_eq(ferry_multifd_method_name(method), names[i]);
    }
    cr_expect_not(ferry_multifd_method_find("ZLIB", &method));
    cr_expect_not(ferry_multifd_method_find("", &method));
}

/* Bytes of a QEMU 10.0 source: 3 pages, 125 zero pages, no compression. */
Test(multifd, packet_that_qemu_sent)
{
    static const uint8_t start[64] = {0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1, 0, 0, 0,    0,
                                      0,    0,    0,    0x80, 0, 0, 0, 3, 0, 0, 0x30, 0,
                                      0,    0,    0,    0,    0, 0, 0, 2, 0, 0, 0,    0x7d};
    FerryMultifdPacket packet = {.normal_pages = 3,
                                 .zero_pages = 125,
                                 .payload_bytes = 0x3000,
                                 .packet_num = 2,
                                 .idstr = "pc.ram"},
                       again;
    uint64_t offsets[128], got[128];
    uint8_t out[SIZE];

    for (unsigned i = 0; i < 128; i++) {
        offsets[i] = (uint64_t)(127 - i) << 12;
    }
    cr_assert_eq(ferry_multifd_packet_encode(&packet, offsets, BITS, out), SIZE);
    cr_expect_arr_eq(out, start, 64);
    cr_expect_str_eq((char *)out + 64, "pc.ram");
    cr_expect_eq(ferry_get_be64(out + 320), 127u << 12);
    cr_expect_eq(ferry_get_be64(out + SIZE - 8), 0);
    cr_assert(ferry_multifd_packet_decode(out, BITS, &again, got, NULL));
    cr_expect_eq(again.method, FERRY_MULTIFD_NONE);
    cr_expect_not(again.sync);
    cr_expect_eq(again.normal_pages, 3);
    cr_expect_eq(again.zero_pages, 125);
    cr_expect_eq(again.payload_bytes, 0x3000);
    cr_expect_eq(again.packet_num, 2);
    cr_expect_str_eq(again.idstr, "pc.ram");
    cr_expect_arr_eq(got, offsets, sizeof offsets);
}

Test(multifd, sync_packet_is_empty)
{
    static const uint8_t start[16] = {0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1, 0, 0, 0, 1};
    FerryMultifdPacket packet = {
        .sync = TRUE, .method = FERRY_MULTIFD_ZSTD, .payload_bytes = 9, .packet_num = 5};
    uint8_t out[SIZE];

    memset(out, 0xee, sizeof out);
    ferry_multifd_packet_encode(&packet, NULL, BITS, out);
    cr_expect_arr_eq(out, start, 16);
    for (unsigned i = 16; i < SIZE; i++) {
        cr_assert_eq(out[i], i == 31 ? 5 : 0, "byte %u", i);
    }
    cr_assert(ferry_multifd_packet_decode(out, BITS, &packet, NULL, NULL));
    cr_expect(packet.sync);
    cr_expect_eq(packet.normal_pages + packet.zero_pages, 0);
}

Test(multifd, header_grows_with_smaller_pages)
{
    cr_expect_eq(ferry_multifd_header_size(12), SIZE);
    cr_expect_eq(ferry_multifd_header_size(10), 4416);
    cr_expect_eq(FERRY_MULTIFD_HEADER_MAX, 4416);
    cr_expect_eq(ferry_multifd_pages_max(10), 512);
}

/* A good packet of two pages and one zero page, some of whose words are then set. */
typedef struct {
    char what[48];
    unsigned at[3]; /* 0: none. Words of 4 bytes */
    uint32_t word[3];
    int code; /* 0: accepted */
    char message[80];
} Change;

static void make(const Change *row, uint8_t *out)
{
    FerryMultifdPacket packet = {.method = FERRY_MULTIFD_NONE,
                                 .normal_pages = 2,
                                 .zero_pages = 1,
                                 .payload_bytes = 0x2000,
                                 .idstr = "pc.ram"};
    static const uint64_t offsets[] = {0x1000, 0x3000, 0x2000};

    ferry_multifd_packet_encode(&packet, offsets, BITS, out);
    for (unsigned i = 0; i < 3; i++) {
        if (row->at[i] || i == 0) {
            ferry_put_be32(out + row->at[i], row->word[i]);
        }
    }
}

ParameterizedTestParameters(multifd, refuses)
{
    static Change rows[] = {
        {"M34 magic",                         {0},      {0x5145564d},             FERRY_PROTOCOL_ERROR_MAGIC, "magic is 0x5145564d"                                 },
        {"M34 version",                       {4},      {2},                      NOT,                        "packet: version 2 is not supported"                  },
        {"device state",                      {8},      {0x40},                   NOT,                        "device state is not supported (flags 0x40)"          },
        {"two methods",                       {8},      {6},                      BAD,                        "flags 0x6"                                           },
        {"flag bit 7",                        {8},      {0x80},                   BAD,                        "flags 0x80"                                          },
        {"flag bit 31",                       {8},      {0x80000001},             BAD,                        "flags 0x80000001"                                    },
        {"M35 room for 129",                  {12},     {129},                    BAD,                        "room for 129 pages (at most 128)"                    },
        {"M35 room for 2^32-1",               {12},     {0xffffffff},             BAD,                        "room for 4294967295"                                 },
        {"M35 room for 0, with pages",        {12},     {0},                      BAD,                        "2 pages and 1 zero pages, but room for 0"            },
        {"M36 normal > room",                 {16},     {129},                    BAD,                        "129 pages and 1 zero pages, but room for 128"        },
        {"M36 sum > room",                    {16},     {128},                    BAD,                        "128 pages and 1 zero"                                },
        {"M36 zero > room",                   {32},     {127},                    BAD,                        "2 pages and 127 zero"                                },
        {"M36 sum wraps",                     {32},     {0xfffffffe},             BAD,                        "4294967294 zero pages"                               },
        {"M36 normal and zero wrap",          {16, 32}, {0x80000000, 0x80000000}, BAD,                        "2147483648 pages"                                    },
        {"M39 payload one byte short",
         {20},
         {0x1fff},
         BAD,                                                                                                 "a payload of 8191 bytes for 2 pages with method none"},
        {"M39 payload of 2^32-1",             {20},     {0xffffffff},             BAD,                        "payload of 4294967295"                               },
        {"M39 packed payload of 0",
         {8, 20},
         {2, 0},
         BAD,                                                                                                 "a payload of 0 bytes for 2 pages with method zlib"   },
        {"M39 packed payload over twice",
         {8, 20},
         {4, 0x4001},
         BAD,                                                                                                 "16385 bytes for 2 pages with method zstd"            },
        {"M37 first offset unaligned",
         {324},
         {0x1001},
         BAD,                                                                                                 "block 'pc.ram': offset 0x1001 is not a page's"       },
        {"M37 zero offset unaligned",         {340},    {0x2400},                 BAD,                        "offset 0x2400 is not"                                },
        {"M37 the same page twice",
         {332},
         {0x1000},
         BAD,                                                                                                 "block 'pc.ram': page at 0x1000 comes twice"          },
        {"M37 page and zero page",            {340},    {0x3000},                 BAD,                        "page at 0x3000 comes twice"                          },
        {"M38 no name",                       {64},     {0},                      BAD,                        "name is empty, not text"                             },
        {"M38 name with a control character", {64},     {0x70630172},             BAD,                        "not text"                                            },
        {"M38 name that is no UTF-8",         {64},     {0x70c36172},             BAD,                        "not text"                                            },
    };
    return cr_make_param_array(Change, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Change *row, multifd, refuses)
{
    FerryMultifdPacket packet = {.normal_pages = 77};
    g_autoptr(GError) error = NULL;
    uint64_t offsets[128];
    uint8_t wire[SIZE];

    make(row, wire);
    cr_assert_not(ferry_multifd_packet_decode(wire, BITS, &packet, offsets, &error), "%s",
                  row->what);
    cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, row->code), "%s: %s", row->what,
              error->message);
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
    cr_expect_eq(packet.normal_pages, 77, "%s: written", row->what);
}

Test(multifd, M38_name_without_an_end)
{
    static const Change nothing = {.word = {FERRY_MULTIFD_MAGIC}};
    FerryMultifdPacket packet;
    uint64_t offsets[128];
    uint8_t wire[SIZE];

    make(&nothing, wire);
    memset(wire + 64, 'a', 255);
    cr_assert(ferry_multifd_packet_decode(wire, BITS, &packet, offsets, NULL));
    cr_expect_eq(strlen(packet.idstr), 255);
    wire[319] = 'a';
    cr_expect_not(ferry_multifd_packet_decode(wire, BITS, &packet, offsets, NULL));
}

typedef struct {
    char what[48];
    unsigned at[3];
    uint32_t word[3];
    unsigned method, sync, normal, zero, payload;
} Odd;
ParameterizedTestParameters(multifd, accepts)
{
    static Odd rows[] = {
        {"payload size 0, method none",             {20},     {0},         0,    0, 2, 1, 0     },
        {"stale payload size without pages",        {16, 20}, {0, 77},     0,    0, 0, 1, 0     },
        {"empty packet with stale words",           {16, 32}, {0, 0},      0,    0, 0, 0, 0     },
        {"the same with a stale name that is none",
         {16, 32, 64},
         {0, 0, 0x01020304},
         0,                                                                      0,
         0,                                                                            0,
         0                                                                                      },
        {"sync on data",                            {8},      {1},         0,    1, 2, 1, 0x2000},
        {"sync on packed data",                     {8},      {3},         2,    1, 2, 1, 0x2000},
        {"packed payload of one byte",              {8, 20},  {4, 1},      4,    0, 2, 1, 1     },
        {"packed payload of twice",                 {8, 20},  {2, 0x4000}, 2,    0, 2, 1, 0x4000},
        {"qpl",                                     {8},      {8},         8,    0, 2, 1, 0x2000},
        {"uadk",                                    {8},      {0x10},      0x10, 0, 2, 1, 0x2000},
        {"qatzip",                                  {8},      {0x20},      0x20, 0, 2, 1, 0x2000},
        {"room for just these",                     {12},     {3},         0,    0, 2, 1, 0x2000},
    };
    return cr_make_param_array(Odd, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Odd *row, multifd, accepts)
{
    Change change = {0};
    FerryMultifdPacket p;
    g_autoptr(GError) error = NULL;
    uint64_t offsets[128];
    uint8_t wire[SIZE];

    memcpy(change.at, row->at, sizeof change.at);
    memcpy(change.word, row->word, sizeof change.word);
    make(&change, wire);
    cr_assert(ferry_multifd_packet_decode(wire, BITS, &p, offsets, &error), "%s: %s", row->what,
              error ? error->message : "");
    cr_expect_eq((unsigned)p.method, row->method, "%s", row->what);
    cr_expect_eq(p.sync, (gboolean)row->sync, "%s", row->what);
    cr_expect_eq(p.normal_pages, row->normal, "%s", row->what);
    cr_expect_eq(p.zero_pages, row->zero, "%s", row->what);
    cr_expect_eq(p.payload_bytes, row->payload, "%s", row->what);
}

/* All offsets that a peer may aim at one slot of whatever finds duplicates. */
Test(multifd, offsets_far_apart_differ)
{
    FerryMultifdPacket packet = {.zero_pages = 512, .idstr = "r"}, again;
    uint64_t offsets[512], got[512];
    uint8_t out[FERRY_MULTIFD_HEADER_MAX];

    for (unsigned i = 0; i < 512; i++) {
        offsets[i] = (uint64_t)i << 30;
    }
    ferry_multifd_packet_encode(&packet, offsets, 10, out);
    cr_assert(ferry_multifd_packet_decode(out, 10, &again, got, NULL));
    cr_expect_arr_eq(got, offsets, sizeof offsets);
    ferry_put_be64(out + 320 + 8 * 511, offsets[13]);
    cr_expect_not(ferry_multifd_packet_decode(out, 10, &again, got, NULL));
}

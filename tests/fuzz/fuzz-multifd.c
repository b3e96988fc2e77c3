/* A multifd channel. First byte: the page's size; then the hello, then packets. What is accepted,
 * written and read again, is the same. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "protocol/multifd.h"

static void check_packet(const FerryMultifdPacket *p, const uint64_t *offsets, unsigned bits)
{
    size_t header = ferry_multifd_header_size(bits);
    uint32_t n = p->normal_pages + p->zero_pages;
    g_autofree uint8_t *wire = g_malloc(header);
    g_autofree uint64_t *again = g_new(uint64_t, ferry_multifd_pages_max(bits));
    FerryMultifdPacket q;

    g_assert(n <= ferry_multifd_pages_max(bits));
    g_assert(p->payload_bytes <= 2 * FERRY_MULTIFD_PACKET_BYTES);
    g_assert(p->normal_pages || p->payload_bytes == 0);
    g_assert(ferry_multifd_packet_encode(p, offsets, bits, wire) == header);
    g_assert(ferry_multifd_packet_decode(wire, bits, &q, again, NULL));
    g_assert(q.sync == p->sync && q.normal_pages == p->normal_pages);
    g_assert(q.zero_pages == p->zero_pages && q.payload_bytes == p->payload_bytes);
    g_assert(n == 0 || (q.method == p->method && strcmp(q.idstr, p->idstr) == 0 &&
                        memcmp(again, offsets, n * sizeof *offsets) == 0));
}

/* How many bytes the packet takes; 0: it is refused or cut. */
static size_t take_packet(const uint8_t *data, size_t size, unsigned bits)
{
    size_t header = ferry_multifd_header_size(bits), payload;
    g_autofree uint64_t *offsets = g_new(uint64_t, ferry_multifd_pages_max(bits));
    g_autofree uint8_t *own = NULL;
    g_autoptr(GError) error = NULL;
    FerryMultifdPacket p;

    if (size < header) {
        return 0;
    }
    own = g_memdup2(data, header);
    if (!ferry_multifd_packet_decode(own, bits, &p, offsets, &error)) {
        g_assert(error->domain == FERRY_PROTOCOL_ERROR);
        return 0;
    }
    check_packet(&p, offsets, bits);
    payload = p.method == FERRY_MULTIFD_NONE ? p.normal_pages << bits : p.payload_bytes;
    return size - header < payload ? 0 : header + payload;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    FerryMultifdHello hello;
    unsigned bits;
    uint8_t wire[FERRY_MULTIFD_HELLO_SIZE];

    if (size < 1 + FERRY_MULTIFD_HELLO_SIZE) {
        return 0;
    }
    bits = 10 + data[0] % 7;
    data++;
    size--;
    if (ferry_multifd_hello_decode(data, &hello, &error)) {
        ferry_multifd_hello_encode(&hello, wire);
        g_assert(memcmp(wire, data, sizeof wire) == 0);
    } else {
        g_assert(error->domain == FERRY_PROTOCOL_ERROR);
    }
    for (size_t at = FERRY_MULTIFD_HELLO_SIZE, n; at < size; at += n) {
        n = take_packet(data + at, size - at, bits);
        if (n == 0) {
            break;
        }
    }
    return 0;
}

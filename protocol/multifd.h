/* What travels on a multifd channel: one hello, then packets. A packet is a header of a fixed size
 * (for a page size) with the offsets of its pages, all of one block, and a payload that holds the
 * pages with content; pages that are all zero have only their offset. Integers are big-endian.
 *
 *   channel: hello | packet header, payload | packet header, payload | SYNC header | ...
 *   main:                                                  ... FLUSH or end of section waits here
 *
 * A barrier: the source sends SYNC on every channel, then the record on main that waits. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include "protocol/method.h"
#include "protocol/stream.h"

G_BEGIN_DECLS

#define FERRY_MULTIFD_MAGIC 0x11223344u
#define FERRY_MULTIFD_VERSION 1u
#define FERRY_MULTIFD_CHANNELS_MAX 255
#define FERRY_MULTIFD_HELLO_SIZE 64
#define FERRY_MULTIFD_PACKET_BYTES (512u << 10) /* of pages in one packet */

typedef struct {
    uint8_t uuid[16]; /* of the source's guest; all zero without */
    uint8_t id;       /* 0 .. channels-1 */
} FerryMultifdHello;

void ferry_multifd_hello_encode(const FerryMultifdHello *hello,
                                uint8_t out[static FERRY_MULTIFD_HELLO_SIZE]);
/* Magic (FERRY_PROTOCOL_ERROR_MAGIC), version and reserved bytes are checked; id and uuid are the
 * caller's to judge. */
gboolean ferry_multifd_hello_decode(const uint8_t bytes[static FERRY_MULTIFD_HELLO_SIZE],
                                    FerryMultifdHello *out_hello, GError **error);

#define FERRY_MULTIFD_SYNC 0x01u
#define FERRY_MULTIFD_DEVICE_STATE 0x40u
const char *ferry_multifd_method_name(FerryMultifdMethod method); /* "none", "zlib", ... */
/* FALSE: there is none of that name. */
gboolean ferry_multifd_method_find(const char *name, FerryMultifdMethod *out_method);

/* Pages that one packet may hold, and the size of its header, for pages of 1 << @page_bits. */
static inline unsigned ferry_multifd_pages_max(unsigned page_bits)
{
    return FERRY_MULTIFD_PACKET_BYTES >> page_bits;
}
static inline size_t ferry_multifd_header_size(unsigned page_bits)
{
    return 320 + 8 * (size_t)ferry_multifd_pages_max(page_bits);
}
#define FERRY_MULTIFD_HEADER_MAX (320 + 8 * (FERRY_MULTIFD_PACKET_BYTES >> 10)) /* 1 KiB pages */

typedef struct {
    FerryMultifdMethod method;
    gboolean sync; /* the channel stops here until main's barrier; also on data (QEMU <= 8.2) */
    uint32_t normal_pages, zero_pages; /* with content; all zero. Both 0: no block, no offsets */
    uint32_t payload_bytes;            /* next_packet_size as sent; see the traps in decode */
    uint64_t packet_num;               /* a counter over all channels; nobody relies on it */
    char idstr[FERRY_IDSTR_MAX + 1];
} FerryMultifdPacket;

/* @offsets: normal_pages, then zero_pages. QEMU 9.2.0 misreads SYNC on a packet with pages. Unused
 * bytes are zero; a packet without pages has pages_alloc 0. Returns ferry_multifd_header_size(). */
size_t ferry_multifd_packet_encode(const FerryMultifdPacket *packet, const uint64_t *offsets,
                                   unsigned page_bits, uint8_t *out);
/* @bytes is ferry_multifd_header_size() long; @out_offsets has room for
 * ferry_multifd_pages_max(). Judged here: magic, version, flags (one known method, no device state,
 * nothing unknown), counts, the block's name, offsets that are whole pages and differ from one
 * another, and the payload's size where it can be judged: with method none it is 0 or
 * normal_pages pages; with a method it is 1 to twice the packet's pages when there are normal
 * pages. Without normal pages no payload follows, whatever payload_bytes says (QEMU <= 8.2 leaves
 * an old value there): *out_packet then has 0. Offsets inside the block are the caller's to judge.
 */
gboolean ferry_multifd_packet_decode(const uint8_t *bytes, unsigned page_bits,
                                     FerryMultifdPacket *out_packet, uint64_t *out_offsets,
                                     GError **error);

G_END_DECLS

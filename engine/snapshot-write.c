/* A snapshot in QEMU's mapped-ram layout:
 *
 *   header | configuration | early sections | START ram: MEM_SIZE,
 *     for each block: name, length, mapped header, bitmap, [align] pages | EOS, footer |
 *   early sections that came later | END ram | FULL... | EOF | description
 *
 * The blocks' pages are where the destination put them: they are memory of this file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "engine/capture-private.h"
#include "engine/ram-send.h"
#include "protocol/ram.h"
#include "protocol/wire.h"

#define PUNCH_MIN (64u << 10)           /* smaller holes are not worth the call */
#define MAY_BE_FIRMWARE_MAX (64u << 20) /* the flash of an Arm machine */

/* The bytes in front of the first block's entry, or behind the last one's pages. */
static void add_section(GByteArray *out, const FerrySavedSection *s, uint32_t id)
{
    uint8_t header[FERRY_SECTION_HEADER_MAX], footer[FERRY_SECTION_FOOTER_SIZE];
    FerrySectionHeader h = {.type = FERRY_SECTION_FULL,
                            .section_id = id,
                            .idstr = s->idstr,
                            .instance_id = s->instance,
                            .version_id = s->version};

    g_byte_array_append(out, header, (guint)ferry_section_header_encode(&h, header));
    if (s->length) {
        g_byte_array_append(out, s->body, (guint)s->length);
    }
    g_byte_array_append(out, footer, (guint)ferry_section_footer_encode(id, footer));
}

static void add_sections(const FerryCapture *c, GByteArray *out, gboolean early,
                         gboolean before_ram)
{
    for (unsigned i = 0; i < c->sections->len; i++) {
        const FerryCaptureSection *s = ferry_capture_saved(c, i);
        if (s->early == early && s->before_ram == before_ram) {
            add_section(out, &s->saved, FERRY_RAM_SECTION_ID + 1 + i);
        }
    }
}

static void add_ram_header(GByteArray *out, FerrySectionType type)
{
    uint8_t header[FERRY_SECTION_HEADER_MAX];
    FerrySectionHeader h = {.type = type,
                            .section_id = FERRY_RAM_SECTION_ID,
                            .idstr = FERRY_RAM_IDSTR,
                            .version_id = FERRY_RAM_VERSION};

    g_byte_array_append(out, header, (guint)ferry_section_header_encode(&h, header));
}

static void add_ram_end(GByteArray *out)
{
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader eos = {.flags = FERRY_RAM_EOS};

    g_byte_array_append(out, bytes, (guint)ferry_ram_header_encode(&eos, bytes));
    g_byte_array_append(out, bytes,
                        (guint)ferry_section_footer_encode(FERRY_RAM_SECTION_ID, bytes));
}

static GByteArray *make_head(const FerryCapture *c)
{
    GByteArray *out = g_byte_array_new();
    FerryConfiguration configuration = c->configuration;
    uint8_t bytes[FERRY_CONFIGURATION_MAX];
    FerryRamHeader list = {.offset = c->ram_bytes, .flags = FERRY_RAM_MEM_SIZE};

    configuration.n_capabilities = 1; /* what the source had on is not true of a file */
    g_strlcpy(configuration.capabilities[0], FERRY_CAPABILITY_MAPPED_RAM,
              sizeof configuration.capabilities[0]);
    g_byte_array_append(out, bytes, (guint)ferry_stream_header_encode(bytes));
    g_byte_array_append(out, bytes, (guint)ferry_configuration_encode(&configuration, bytes));
    add_sections(c, out, TRUE, TRUE);
    add_ram_header(out, FERRY_SECTION_START);
    g_byte_array_append(out, bytes, (guint)ferry_ram_header_encode(&list, bytes));
    return out;
}

static GByteArray *make_tail(const FerryCapture *c)
{
    GByteArray *out = g_byte_array_new();
    uint8_t end[FERRY_DESCRIPTION_HEADER_SIZE];

    add_ram_end(out);
    add_sections(c, out, TRUE, FALSE);
    add_ram_header(out, FERRY_SECTION_END);
    add_ram_end(out);
    add_sections(c, out, FALSE, FALSE);
    g_byte_array_append(out, end, (guint)ferry_end_encode((uint32_t)c->description_length, end));
    if (c->description_length) {
        g_byte_array_append(out, (const uint8_t *)c->description, (guint)c->description_length);
    }
    return out;
}

static gboolean lay_out_block(FerryCaptureBlock *b, uint64_t page_size, uint64_t *at)
{
    uint64_t header = *at + 1 + strlen(b->idstr) + 8;

    b->entry_offset = *at;
    b->mapped = ferry_mapped_header_place(header, b->length, page_size);
    return !__builtin_add_overflow(b->mapped.pages_offset, b->length, at) &&
           *at <= INT64_MAX - FERRY_MAPPED_ALIGNMENT;
}

gboolean ferry_snapshot_lay_out(FerryCapture *c, GError **error)
{
    g_autoptr(GByteArray) head = make_head(c);
    uint64_t at = head->len;
    gboolean fits = TRUE;

    for (unsigned i = 0; fits && i < c->blocks->len; i++) {
        FerryCaptureBlock *b = ferry_capture_block(c, i);
        fits = b->length <= INT64_MAX && b->length % (1ull << c->page_bits) == 0 &&
               lay_out_block(b, 1ull << c->page_bits, &at);
        if (!fits) {
            return ferry_capture_refuse(
                error, "%s: RAM block '%s' of %" G_GUINT64_FORMAT " bytes cannot stand in a file",
                c->output, b->idstr, b->length);
        }
    }
    c->file.tail_offset = at;
    if (fallocate(c->file.fd, 0, 0, (off_t)at) < 0) {
        return ferry_capture_refuse(
            error, "%s: making room on the disk for %" G_GUINT64_FORMAT " bytes of RAM: %s",
            c->output, c->ram_bytes, g_strerror(errno));
    }
    return TRUE;
}

static gboolean write_at(const FerryCapture *c, const void *bytes, size_t n, uint64_t at,
                         GError **error)
{
    const uint8_t *p = bytes;

    while (n > 0) {
        ssize_t done = pwrite(c->file.fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return ferry_capture_refuse(error, "%s: %s", c->output,
                                        g_strerror(done < 0 ? errno : EIO));
        }
        p += done;
        n -= (size_t)done;
        at += (uint64_t)done;
    }
    return TRUE;
}

/* Nothing depends on it: a hole only saves room. */
static void punch(const FerryCapture *c, const FerryCaptureBlock *b, uint64_t from, uint64_t to)
{
    if (to - from >= PUNCH_MIN) {
        (void)fallocate(c->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)(b->mapped.pages_offset + from), (off_t)(to - from));
    }
}

/* A QEMU that loads such a file writes only pages with a bit, and its blocks are not all zero
 * before: its own firmware, option ROMs and ACPI tables lie where the source's belong. Only the
 * guest's main memory begins empty, so the zero pages of all smaller blocks have bits. */
static gboolean begins_empty(const FerryCapture *c, const FerryCaptureBlock *block)
{
    for (unsigned i = 0; i < c->blocks->len; i++) {
        if (ferry_capture_block(c, i)->length > block->length) {
            return block->length > MAY_BE_FIRMWARE_MAX;
        }
    }
    return TRUE;
}

/* A bit for each page that has to be written; what is zero becomes a hole. */
static uint8_t *scan(const FerryCapture *c, unsigned index, size_t *out_size)
{
    const FerryCaptureBlock *b = ferry_capture_block(c, index);
    uint64_t page_size = b->mapped.page_size, zero_from = 0, at = 0;
    uint8_t *bitmap;

    *out_size = ferry_mapped_bitmap_size(b->length, page_size);
    bitmap = g_malloc0(*out_size);
    if (!begins_empty(c, b)) {
        for (uint64_t i = 0; i < b->length / page_size; i++) {
            bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
    while (at < b->length) {
        uint64_t data = ferry_capture_next_data(c, index, at);
        at = data - data % page_size;
        uint64_t chunk = MIN(b->length, at + PUNCH_MIN);
        for (; at < chunk; at += page_size) {
            if (!ferry_capture_is_zero(b->host + at, page_size)) {
                bitmap[at / page_size / 8] |= (uint8_t)(1u << (at / page_size % 8));
                punch(c, b, zero_from, at);
                zero_from = at + page_size;
            }
        }
    }
    punch(c, b, zero_from, b->length);
    return bitmap;
}

static gboolean write_block(const FerryCapture *c, unsigned index, GError **error)
{
    const FerryCaptureBlock *b = ferry_capture_block(c, index);
    uint8_t entry[FERRY_RAM_BLOCK_MAX + FERRY_MAPPED_HEADER_SIZE];
    size_t n = ferry_ram_block_encode(b->idstr, b->length, entry), size;
    g_autofree uint8_t *bitmap = scan(c, index, &size);

    ferry_mapped_header_encode(&b->mapped, entry + n);
    return write_at(c, entry, n + FERRY_MAPPED_HEADER_SIZE, b->entry_offset, error) &&
           write_at(c, bitmap, size, b->mapped.bitmap_offset, error);
}

gboolean ferry_snapshot_finish(FerryCapture *c, GError **error)
{
    g_autoptr(GByteArray) head = make_head(c);
    g_autoptr(GByteArray) tail = make_tail(c);

    for (unsigned i = 0; i < c->blocks->len; i++) {
        if (!write_block(c, i, error)) {
            return FALSE;
        }
    }
    return write_at(c, head->data, head->len, 0, error) &&
           write_at(c, tail->data, tail->len, c->file.tail_offset, error) &&
           ferry_snapshot_publish(c, error);
}

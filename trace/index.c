#include "trace/index.h"
#include <string.h>
#include "trace/chunk.h"
#include "trace/json.h"

#define VERSION 1u

static const uint8_t magic[8] = {0x89, 'P', 'D', 'T', '\r', '\n', 0x1a, '\n'};
static const uint8_t end_magic[8] = {'P', 'D', 'T', '-', 'E', 'N', 'D', 0};

void ferry_trace_prefix_encode(uint8_t to[static FERRY_TRACE_PREFIX_BYTES], const void *header,
                               uint32_t n)
{
    memcpy(to, magic, sizeof magic);
    ferry_trace_put_le32(to + 8, VERSION);
    ferry_trace_put_le32(to + 12, n);
    ferry_trace_put_le32(to + 16, ferry_trace_crc(0, header, n));
}

gboolean ferry_trace_is_trace(const void *begin, size_t n)
{
    return n >= sizeof magic && memcmp(begin, magic, sizeof magic) == 0;
}

const char *ferry_trace_prefix_decode(const uint8_t from[static FERRY_TRACE_PREFIX_BYTES],
                                      uint32_t *out_n, uint32_t *out_crc)
{
    if (!ferry_trace_is_trace(from, FERRY_TRACE_PREFIX_BYTES)) {
        return "not a page dirty trace";
    }
    if (ferry_trace_get_le32(from + 8) != VERSION) {
        return "a page dirty trace of a version that is not 1";
    }
    if (ferry_trace_get_le32(from + 12) > FERRY_TRACE_JSON_MAX) {
        return "a header of more than 16 MiB";
    }
    *out_n = ferry_trace_get_le32(from + 12);
    *out_crc = ferry_trace_get_le32(from + 16);
    return NULL;
}

void ferry_trace_index_encode(GByteArray *out, const GArray *places)
{
    for (guint i = 0; i < places->len; i++) {
        const FerryTracePlace *place = &g_array_index(places, FerryTracePlace, i);
        uint8_t entry[FERRY_TRACE_ENTRY_BYTES];

        ferry_trace_put_le64(entry, place->offset);
        ferry_trace_put_le64(entry + 8, place->where);
        ferry_trace_put_le64(entry + 16, place->time);
        ferry_trace_put_le32(entry + 24, place->count);
        ferry_trace_put_le32(entry + 28, place->is_blocks ? 1 : 0);
        g_byte_array_append(out, entry, sizeof entry);
    }
}

gboolean ferry_trace_index_decode(GArray *out_places, const uint8_t *from, size_t n, uint32_t count)
{
    if (n != (uint64_t)count * FERRY_TRACE_ENTRY_BYTES) {
        return FALSE;
    }
    for (uint32_t i = 0; i < count; i++, from += FERRY_TRACE_ENTRY_BYTES) {
        uint32_t kind = ferry_trace_get_le32(from + 28);
        FerryTracePlace place = {
            .offset = ferry_trace_get_le64(from),
            .where = ferry_trace_get_le64(from + 8),
            .time = ferry_trace_get_le64(from + 16),
            .count = ferry_trace_get_le32(from + 24),
            .is_blocks = kind == 1,
        };

        if (kind > 1) {
            return FALSE;
        }
        g_array_append_val(out_places, place);
    }
    return TRUE;
}

void ferry_trace_tail_encode(uint8_t to[static FERRY_TRACE_TAIL_BYTES], uint64_t offset)
{
    ferry_trace_put_le64(to, offset);
    memcpy(to + 8, end_magic, sizeof end_magic);
}

gboolean ferry_trace_tail_decode(const uint8_t from[static FERRY_TRACE_TAIL_BYTES],
                                 uint64_t *out_offset)
{
    if (memcmp(from + 8, end_magic, sizeof end_magic) != 0) {
        return FALSE;
    }
    *out_offset = ferry_trace_get_le64(from);
    return TRUE;
}

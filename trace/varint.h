/* Integers of 7 bits a byte, the low ones first. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_VARINT_MAX 10u /* bytes */

static inline uint8_t *ferry_varint_put(uint8_t *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}

static inline unsigned ferry_varint_size(uint64_t value)
{
    return (unsigned)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

/* NULL if there is none before @end, or none that fits 64 bits; else what follows it. */
static inline const uint8_t *ferry_varint_get(const uint8_t *from, const uint8_t *end,
                                              uint64_t *out_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; from < end && shift < 64; shift += 7) {
        uint8_t byte = *from++;

        if (shift == 63 && byte > 1) {
            return NULL;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out_value = value;
            return from;
        }
    }
    return NULL;
}

G_END_DECLS

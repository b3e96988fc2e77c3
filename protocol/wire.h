/* Big-endian integers and names on a caller's buffer. Every number of the migration stream is
 * big-endian unless its definition says otherwise. The caller guarantees room. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <string.h>

static inline void ferry_put_be16(uint8_t *out, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(out, &v, sizeof v);
}

static inline void ferry_put_be32(uint8_t *out, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(out, &v, sizeof v);
}

static inline void ferry_put_be64(uint8_t *out, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(out, &v, sizeof v);
}

static inline uint16_t ferry_get_be16(const uint8_t *in)
{
    uint16_t v;
    memcpy(&v, in, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t ferry_get_be32(const uint8_t *in)
{
    uint32_t v;
    memcpy(&v, in, sizeof v);
    return __builtin_bswap32(v);
}

static inline uint64_t ferry_get_be64(const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof v);
    return __builtin_bswap64(v);
}

/* One byte of length, then the name without NUL. */
static inline size_t ferry_put_name(uint8_t *out, const char *name)
{
    size_t length = strlen(name);

    g_assert(length <= 255);
    out[0] = (uint8_t)length;
    memcpy(out + 1, name, length);
    return 1 + length;
}

/* What pages hold, for tests of compression. */
#pragma once
#include <stdint.h>
#include <string.h>

typedef enum { CONTENT_TEXT, CONTENT_RANDOM, CONTENT_ZERO, CONTENT_REPEATS, N_CONTENTS } Content;

static inline uint64_t content_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* REPEATS: random bytes that come again after 1 KiB, whose frequencies look incompressible. */
static inline void content_fill(uint8_t *to, size_t n, Content content, uint64_t seed)
{
    static const char *const words[] = {"the ", "guest ", "page ", "write ", "of ", "0x00 ", "\n"};
    uint64_t state = seed * 2654435761u + 88172645463325252u;
    size_t i = 0;

    memset(to, 0, n);
    while (content == CONTENT_TEXT && i < n) {
        const char *word = words[content_next(&state) % 7];
        size_t take = strlen(word) < n - i ? strlen(word) : n - i;
        memcpy(to + i, word, take);
        i += take;
    }
    for (; (content == CONTENT_RANDOM || content == CONTENT_REPEATS) && i < n; i++) {
        to[i] = content == CONTENT_REPEATS && i >= 1024 ? to[i - 1024]
                                                        : (uint8_t)(content_next(&state) >> 24);
    }
}

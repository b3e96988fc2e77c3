#include "tools/replay-content.h"

#include <string.h>

#include "trace/trace.h"

#define WORDS (FERRY_REPLAY_PAGE / 8)

/* Guest memory is read by the migration while it is written; that makes sense of it, a race
 * detector cannot. Volatile words: no call of memset or memcpy comes of them, which it would see.
 */
#define GUEST_WRITE __attribute__((no_sanitize("thread"))) static void

const char *ferry_replay_content_name(FerryReplayContent content)
{
    static const char *const names[FERRY_N_REPLAY_CONTENTS] = {
        [FERRY_REPLAY_TRACE] = "trace", [FERRY_REPLAY_RANDOM] = "random",
        [FERRY_REPLAY_TEXT] = "text",   [FERRY_REPLAY_COUNTERS] = "counters",
        [FERRY_REPLAY_KEEP] = "keep",
    };

    return names[content];
}

gboolean ferry_replay_content_parse(const char *name, FerryReplayContent *out_content)
{
    for (unsigned i = 0; i < FERRY_N_REPLAY_CONTENTS; i++) {
        if (strcmp(name, ferry_replay_content_name((FerryReplayContent)i)) == 0) {
            *out_content = (FerryReplayContent)i;
            return TRUE;
        }
    }
    return FALSE;
}

uint64_t ferry_replay_random(uint64_t x)
{
    x *= UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* @random words of random bytes, zeros behind them. */
GUEST_WRITE write_random(volatile uint64_t *words, unsigned random, uint64_t salt)
{
    uint64_t x = ferry_replay_random(salt) | 1;

    for (unsigned i = 0; i < WORDS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        words[i] = i < random ? x : 0;
    }
}

/* Syllables of four letters with eight bits of choice in each. */
GUEST_WRITE write_text(volatile uint64_t *words, uint64_t salt)
{
    static const char first[] = "bcdfghklmnprstvz", vowel[] = "aeio", end[] = "nrs ";
    uint64_t x = ferry_replay_random(salt) | 1;

    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t word = 0;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        for (unsigned s = 0; s < 2; s++) {
            unsigned bits = (unsigned)(x >> (8 * s + 24)) & 0xff;
            uint64_t syllable = (uint64_t)(uint8_t)first[bits >> 4] |
                                (uint64_t)(uint8_t)vowel[bits & 3] << 8 |
                                (uint64_t)(uint8_t)end[bits >> 2 & 3] << 16 | (uint64_t)' ' << 24;
            word |= syllable << (32 * s);
        }
        words[i] = word;
    }
}

GUEST_WRITE fill(volatile uint64_t *words, uint64_t value)
{
    for (unsigned i = 0; i < WORDS; i++) {
        words[i] = value;
    }
}

/* In the middle of its sixteenth, so that what a frame around it costs does not lift it over. */
static void write_class(volatile uint64_t *words, uint8_t class_, uint64_t salt)
{
    unsigned sixteenths = class_ - FERRY_TRACE_CLASS_PACKED + 1;

    if (class_ == FERRY_TRACE_CLASS_ZERO) {
        fill(words, 0);
    } else if (class_ == FERRY_TRACE_CLASS_SAME) {
        fill(words, (ferry_replay_random(salt) % 255 + 1) * UINT64_C(0x0101010101010101));
    } else if (sixteenths >= 1 && sixteenths < 16) {
        write_random(words, (2 * sixteenths - 1) * WORDS / 32, salt);
    } else {
        write_random(words, WORDS, salt);
    }
}

GUEST_WRITE count(volatile uint64_t *words) { words[0] = words[0] + 1; }

GUEST_WRITE keep(volatile uint64_t *words) { words[0] = words[0]; }

void ferry_replay_write(FerryReplayContent content, uint8_t *host, uint8_t class_, uint64_t salt)
{
    volatile uint64_t *words = (volatile uint64_t *)(void *)host;

    switch (content) {
    case FERRY_REPLAY_TRACE:
        write_class(words, class_, salt);
        return;
    case FERRY_REPLAY_RANDOM:
        write_random(words, WORDS, salt);
        return;
    case FERRY_REPLAY_TEXT:
        write_text(words, salt);
        return;
    case FERRY_REPLAY_COUNTERS:
        count(words);
        return;
    case FERRY_REPLAY_KEEP:
        keep(words);
        return;
    case FERRY_N_REPLAY_CONTENTS:
        break;
    }
    g_assert_not_reached();
}

/* Streams to test with, and what the decoder says about them as text. */
#pragma once
#include "protocol/decoder.h"

/* Bytes from words: literal hex digits, or
 *   H file header      C configuration      O command open-return-path     P command ping
 *   S START of ram     L its block list     R PART     X END     E end of records     F footer
 *   B first page of pc.ram by name          Q its second page, continued   Z its third page, zero
 *   D device section   N end of stream with an empty description
 *   "NAME length byte and name              =TEXT the text itself
 *   @HEX zeros up to that byte
 * Blocks are pc.ram (four pages) and pc.bios (one page); the ram section's id is 2. */
GByteArray *sample_assemble(const char *words, unsigned page_bits);

/* A whole small stream (pages of 1 KiB) with what is asked for besides. */
enum {
    SAMPLE_UUID = 1,
    SAMPLE_FLUSH = 2,
    SAMPLE_EARLY = 4,           /* one device section before START, one behind it */
    SAMPLE_COMMAND_BETWEEN = 8, /* among the device sections */
    SAMPLE_EMPTY_TEXT = 16,     /* a description of length 0 */
    SAMPLE_NO_TEXT = 32,        /* ends with the end mark */
    SAMPLE_COMMANDS_AFTER = 64, /* not together with SAMPLE_NO_TEXT */
    SAMPLE_ALL = 128,
};
#define SAMPLE_PAGE_BITS 10u
GByteArray *sample_stream(unsigned what);

/* One line per event, then "more", "end" (finish was TRUE) or "bad: MESSAGE". @piece: bytes per
 * push, 0 = all in one; with @seed not 0 pieces are 1..@piece bytes long. Each push is a block of
 * its own that is freed when it has been consumed. The pages of mapped blocks are jumped over. */
char *sample_events(const uint8_t *bytes, size_t n, const FerryDecoderOptions *options,
                    size_t piece, unsigned seed);

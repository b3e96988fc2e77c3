#include "engine/mapped-load.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/error.h"

#define PIECE (8u << 20) /* bytes of one read: an interrupt is looked at in between */

static gboolean fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean fail(GError **error, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, "mapped-ram: %s", message);
    return FALSE;
}

gboolean ferry_mapped_file_size(int fd, uint64_t *out_bytes, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return fail(error, "%s", g_strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(error, "not a regular file");
    }
    *out_bytes = (uint64_t)st.st_size;
    return TRUE;
}

static gboolean read_at(int fd, const FerryMappedBlock *block, uint64_t at, void *to, size_t n,
                        GError **error)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(at + done));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail(error, "block '%s': byte %" PRIu64 ": %s", block->idstr, at + done,
                        g_strerror(errno));
        }
        if (got == 0) {
            return fail(error, "block '%s': the file became shorter: it ends at byte %" PRIu64,
                        block->idstr, at + done);
        }
        done += (size_t)got;
    }
    return TRUE;
}

static gboolean check_block(const FerryMappedBlock *b, uint64_t file_bytes, GError **error)
{
    uint64_t end = b->header.pages_offset + b->used_length;

    if (b->used_length > FERRY_MAPPED_BLOCK_MAX) {
        return fail(error, "block '%s': %" PRIu64 " bytes are more than one block may have",
                    b->idstr, b->used_length);
    }
    if (end > file_bytes) {
        return fail(error, "block '%s': its pages end at byte %" PRIu64 ", the file at %" PRIu64,
                    b->idstr, end, file_bytes);
    }
    return TRUE;
}

gboolean ferry_mapped_read_bitmap(int fd, uint64_t file_bytes, const FerryMappedBlock *block,
                                  FerryBitmap *out_present, GError **error)
{
    const FerryMappedHeader *h = &block->header;
    uint64_t n = block->used_length / h->page_size, words;
    FerryBitmap present;

    if (!check_block(block, file_bytes, error)) {
        return FALSE;
    }
    ferry_bitmap_init(&present, n);
    words = ferry_bitmap_n_words(&present);
    g_assert(words * 8 == ferry_mapped_bitmap_size(block->used_length, h->page_size));
    if (!read_at(fd, block, h->bitmap_offset, present.words, words * 8, error)) {
        ferry_bitmap_clear(&present);
        return FALSE;
    }
    for (uint64_t i = 0; G_BYTE_ORDER != G_LITTLE_ENDIAN && i < words; i++) {
        present.words[i] = GUINT64_FROM_LE(present.words[i]);
    }
    if (n % 64 && present.words[words - 1] >> (n % 64)) {
        ferry_bitmap_clear(&present);
        return fail(error, "block '%s': a page is marked behind its last one (%" PRIu64 ")",
                    block->idstr, n - 1);
    }
    *out_present = present;
    return TRUE;
}

gboolean ferry_mapped_read_pages(int fd, const FerryMappedBlock *block, const FerryBitmap *present,
                                 uint8_t *host, const FerryInterrupt *interrupt, GError **error)
{
    uint64_t page = block->header.page_size, first, n = 0;

    for (uint64_t from = 0; ferry_bitmap_next_run(present, from, PIECE / page, &first, &n);
         from = first + n) {
        if (interrupt && ferry_interrupt_is_raised(interrupt)) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "cancelled");
            return FALSE;
        }
        if (!read_at(fd, block, block->header.pages_offset + first * page, host + first * page,
                     n * page, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

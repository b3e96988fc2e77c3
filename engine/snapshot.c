/* A capture from a file in the mapped-ram layout, a QEMU's or ours. RAM is read, not mapped: a file
 * that becomes shorter meanwhile is an error then, not the end of the process; and what stands in
 * the file where a page is said to be zero is of no concern. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "engine/capture-private.h"
#include "engine/mapped-load.h"

#define READ_SIZE (64u << 10)

typedef struct {
    FerryCapture *capture;
    FerryDecoder *decoder;
    const char *path;
    int fd;
    uint64_t file_bytes, at; /* at: of what is read next */
    gboolean whole;          /* the description was there */
} Reader;

static gboolean read_ram(Reader *r, GError **error)
{
    FerryCapture *c = r->capture;

    for (unsigned i = 0; i < c->blocks->len; i++) {
        FerryCaptureBlock *b = ferry_capture_block(c, i);
        FerryMappedBlock mapped = {
            .idstr = b->idstr, .used_length = b->length, .header = b->mapped};
        FerryBitmap present;
        if (!ferry_mapped_read_bitmap(r->fd, r->file_bytes, &mapped, &present, error)) {
            return FALSE;
        }
        gboolean ok =
            ferry_capture_map(b, -1, 0, error) &&
            ferry_mapped_read_pages(r->fd, &mapped, &present, b->host, NULL, error) &&
            ferry_memory_add(ferry_guest_memory(c->guest), b->idstr, b->host, b->length, error);
        ferry_bitmap_clear(&present);
        if (!ok) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean take_block(Reader *r, const FerryStreamEvent *e, GError **error)
{
    if (!e->block.is_mapped) {
        return ferry_capture_refuse(
            error, "a stream, not a snapshot in the mapped-ram layout ('ferry receive "
                   "file:PATH --output FILE' makes one of it)");
    }
    if (!ferry_capture_take_block(r->capture, e->block.idstr, e->block.used_length, error)) {
        return FALSE;
    }
    ferry_capture_block(r->capture, e->block.index)->mapped = e->block.mapped;
    r->at = ferry_decoder_jump(r->decoder);
    return TRUE;
}

static gboolean take(Reader *r, const FerryStreamEvent *e, GError **error)
{
    switch (e->type) {
    case FERRY_STREAM_CONFIGURATION:
        return ferry_capture_take_configuration(r->capture, &e->configuration, error);
    case FERRY_STREAM_RAM_BLOCK:
        return take_block(r, e, error);
    case FERRY_STREAM_RAM_LIST_END:
        return read_ram(r, error);
    case FERRY_STREAM_DEVICE:
        return ferry_capture_take_section(r->capture, e, error);
    case FERRY_STREAM_DESCRIPTION:
        ferry_capture_take_description(r->capture, e->description.text, e->description.length);
        r->whole = TRUE;
        return TRUE;
    default: /* what was said on the way, and marks; pages are nowhere else than in their place */
        return TRUE;
    }
}

/* Reads once and takes what that brought. */
static gboolean read_on(Reader *r, uint8_t *buffer, gboolean *out_end, GError **error)
{
    FerryStreamEvent event;
    FerryDecode decoded;
    ssize_t n;

    do {
        n = pread(r->fd, buffer, READ_SIZE, (off_t)r->at);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return ferry_capture_refuse(error, "%s", g_strerror(errno));
    }
    *out_end = n == 0;
    if (n == 0) {
        return r->whole || ferry_decoder_finish(r->decoder, error);
    }
    r->at += (uint64_t)n;
    ferry_decoder_push(r->decoder, buffer, (size_t)n);
    while ((decoded = ferry_decoder_step(r->decoder, &event, error)) == FERRY_DECODE_EVENT) {
        if (!take(r, &event, error)) {
            return FALSE;
        }
    }
    return decoded == FERRY_DECODE_MORE;
}

static gboolean read_all(Reader *r, GError **error)
{
    g_autofree uint8_t *buffer = g_malloc(READ_SIZE);
    gboolean end = FALSE;

    while (!end) {
        if (!read_on(r, buffer, &end, error)) {
            return FALSE;
        }
    }
    return r->whole || ferry_capture_refuse(error, "ends before the guest is whole");
}

FerryCapture *ferry_snapshot_open(const char *path, uint64_t offset, uint64_t max_ram_bytes,
                                  GError **error)
{
    FerryDecoderOptions options = {.mapped_allowed = TRUE, .file_offset = offset};
    g_autoptr(FerryCapture) c = ferry_capture_new_empty();
    /* A FIFO would keep us waiting for its other end before we see that it is none. */
    g_auto(FerryFd) fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    Reader r = {.capture = c, .path = path, .fd = fd, .at = offset};

    if (fd < 0) {
        ferry_capture_refuse(error, "%s: %s", path, g_strerror(errno));
        return NULL;
    }
    c->max_ram_bytes = max_ram_bytes;
    if (offset > INT64_MAX) {
        ferry_capture_refuse(error, "%s: no file has a byte %" G_GUINT64_FORMAT, path, offset);
        return NULL;
    }
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    r.decoder = decoder;
    if (!ferry_mapped_file_size(fd, &r.file_bytes, error) || !read_all(&r, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    return g_steal_pointer(&c);
}

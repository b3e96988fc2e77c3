#include "tools/inspect-input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "protocol/stream.h"

#define BUFFER_SIZE (256u << 10)

struct FerryInspectInput {
    char *name;
    int fd;
    gboolean can_seek; /* a regular file that is not compressed */
    uint64_t size;     /* of that file */
    ZSTD_DStream *zstd;
    gboolean frame_open; /* the compressed data may not end here */
    uint8_t *packed;     /* what was read for the decompressor */
    ZSTD_inBuffer ahead;
    uint8_t *buffer;
    uint64_t base; /* place of buffer[0] */
    size_t pos, n;
    uint64_t origin; /* messages count from here */
};

static gboolean system_error(GError **error)
{
    g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno), "%s", g_strerror(errno));
    return FALSE;
}

static gboolean cut(const FerryInspectInput *in, uint64_t end, const char *what, GError **error)
{
    g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_TRUNCATED,
                "byte %" PRIu64 ": the %s ended inside %s", end - MIN(end, in->origin),
                in->zstd ? "uncompressed file" : "file", what);
    return FALSE;
}

static gboolean read_some(FerryInspectInput *in, uint8_t *out, size_t most, size_t *out_n,
                          GError **error)
{
    ssize_t n;

    do {
        n = read(in->fd, out, most);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return system_error(error);
    }
    *out_n = (size_t)n;
    return TRUE;
}

/* Up to @most bytes of content; 0 at the end. */
static gboolean inflate_some(FerryInspectInput *in, uint8_t *out, size_t most, size_t *out_n,
                             GError **error)
{
    ZSTD_outBuffer to = {.dst = out, .size = most};

    for (;;) {
        size_t before = in->ahead.pos;
        size_t left = ZSTD_decompressStream(in->zstd, &to, &in->ahead);

        if (ZSTD_isError(left)) {
            g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                        "byte %" PRIu64 ": zstd: %s", in->base + in->n, ZSTD_getErrorName(left));
            return FALSE;
        }
        if (in->ahead.pos != before || to.pos) {
            in->frame_open = left != 0;
        }
        if (to.pos) {
            break;
        }
        if (in->ahead.pos == in->ahead.size) {
            in->ahead.pos = 0;
            if (!read_some(in, in->packed, BUFFER_SIZE, &in->ahead.size, error)) {
                return FALSE;
            }
            if (in->ahead.size == 0) {
                break;
            }
        }
    }
    if (to.pos == 0 && in->frame_open) {
        return cut(in, in->base + in->n, "its zstd frame", error);
    }
    *out_n = to.pos;
    return TRUE;
}

static gboolean get_some(FerryInspectInput *in, uint8_t *out, size_t most, size_t *out_n,
                         GError **error)
{
    return in->zstd ? inflate_some(in, out, most, out_n, error)
                    : read_some(in, out, most, out_n, error);
}

/* Everything that is buffered has been used: the next bytes. */
static gboolean refill(FerryInspectInput *in, GError **error)
{
    in->base += in->n;
    in->pos = in->n = 0;
    return get_some(in, in->buffer, BUFFER_SIZE, &in->n, error);
}

/* The first bytes tell whether the rest is compressed. */
static gboolean begin(FerryInspectInput *in, GError **error)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    struct stat st;

    if (fstat(in->fd, &st) < 0) {
        return system_error(error);
    }
    while (in->n < sizeof magic) {
        size_t n;

        if (!read_some(in, in->buffer + in->n, BUFFER_SIZE - in->n, &n, error)) {
            return FALSE;
        }
        if (n == 0) {
            break;
        }
        in->n += n;
    }
    if (in->n >= sizeof magic && memcmp(in->buffer, magic, sizeof magic) == 0) {
        in->zstd = ZSTD_createDStream();
        in->packed = in->buffer;
        in->buffer = g_malloc(BUFFER_SIZE);
        in->ahead = (ZSTD_inBuffer){.src = in->packed, .size = in->n};
        in->n = 0;
        return TRUE;
    }
    /* Standard input may stand in the middle of a file. */
    in->can_seek = S_ISREG(st.st_mode) && lseek(in->fd, 0, SEEK_CUR) == (off_t)in->n;
    in->size = (uint64_t)st.st_size;
    return TRUE;
}

FerryInspectInput *ferry_inspect_input_open(const char *path, GError **error)
{
    g_autoptr(FerryInspectInput) in = g_new0(FerryInspectInput, 1);
    gboolean standard = strcmp(path, "-") == 0;

    in->name = standard ? g_strdup("standard input") : g_filename_display_name(path);
    in->buffer = g_malloc(BUFFER_SIZE);
    in->fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 ? !system_error(error) : !begin(in, error)) {
        g_prefix_error(error, "%s: ", in->name);
        return NULL;
    }
    return g_steal_pointer(&in);
}

const char *ferry_inspect_input_name(const FerryInspectInput *in) { return in->name; }
gboolean ferry_inspect_input_is_zstd(const FerryInspectInput *in) { return in->zstd != NULL; }
void ferry_inspect_input_begin_here(FerryInspectInput *in) { in->origin = in->base + in->pos; }
uint64_t ferry_inspect_input_place(const FerryInspectInput *in) { return in->base + in->pos; }

gboolean ferry_inspect_input_peek(FerryInspectInput *in, const uint8_t **out_bytes, size_t *out_n,
                                  GError **error)
{
    if (in->pos == in->n && !refill(in, error)) {
        return FALSE;
    }
    *out_bytes = in->buffer + in->pos;
    *out_n = in->n - in->pos;
    return TRUE;
}

gboolean ferry_inspect_input_go(FerryInspectInput *in, uint64_t place, const char *what,
                                GError **error)
{
    if (place < in->base) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "byte %" PRIu64 ": %s would have to stand in front of it",
                    in->base + in->pos - in->origin, what);
        return FALSE;
    }
    if (place - in->base <= in->n) {
        in->pos = (size_t)(place - in->base);
        return TRUE;
    }
    if (in->can_seek) {
        if (place > in->size) {
            return cut(in, in->size, what, error);
        }
        if (lseek(in->fd, (off_t)place, SEEK_SET) < 0) {
            return system_error(error);
        }
        in->base = place;
        in->pos = in->n = 0;
        return TRUE;
    }
    while (place - in->base > in->n) {
        if (!refill(in, error)) {
            return FALSE;
        }
        if (in->n == 0) {
            return cut(in, in->base, what, error);
        }
    }
    in->pos = (size_t)(place - in->base);
    return TRUE;
}

gboolean ferry_inspect_input_read(FerryInspectInput *in, uint8_t *out, size_t n, const char *what,
                                  GError **error)
{
    while (n > 0) {
        const uint8_t *bytes;
        size_t m;

        if (in->pos == in->n && n >= BUFFER_SIZE) { /* large: not by way of the buffer */
            if (!get_some(in, out, n, &m, error)) {
                return FALSE;
            }
            in->base += in->n + m;
            in->pos = in->n = 0;
        } else if (ferry_inspect_input_peek(in, &bytes, &m, error)) {
            m = MIN(m, n);
            if (m) {
                memcpy(out, bytes, m);
            }
            in->pos += m;
        } else {
            return FALSE;
        }
        if (m == 0) {
            return cut(in, in->base + in->pos, what, error);
        }
        out += m;
        n -= m;
    }
    return TRUE;
}

void ferry_inspect_input_free(FerryInspectInput *in)
{
    if (!in) {
        return;
    }
    if (in->fd >= 0) {
        close(in->fd);
    }
    ZSTD_freeDStream(in->zstd);
    g_free(in->packed);
    g_free(in->buffer);
    g_free(in->name);
    g_free(in);
}

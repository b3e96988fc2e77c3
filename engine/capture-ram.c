/* The memory behind a capture's blocks: anonymous, in files of their own, or in the snapshot that
 * is being written. Room on a disk is taken before anything is received: a mapping of a full disk
 * would end the process instead of the migration. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "engine/capture-private.h"
#include "engine/page.h"

#define HUGE_PAGE_SIZE (2u << 20)

static gboolean refuse_errno(GError **error, const FerryCaptureBlock *b, const char *what)
{
    return ferry_capture_refuse(error, "RAM block '%s': %s %" G_GUINT64_FORMAT " bytes: %s",
                                b->idstr, what, b->length, g_strerror(errno));
}

gboolean ferry_capture_map(FerryCaptureBlock *b, int fd, uint64_t offset, GError **error)
{
    /* Huge pages need an address that is a multiple of theirs. */
    size_t slack = fd < 0 && b->length >= HUGE_PAGE_SIZE ? HUGE_PAGE_SIZE : 0;
    int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

    if (b->length > SIZE_MAX / 2 || offset > INT64_MAX - b->length) {
        errno = EFBIG;
        return refuse_errno(error, b, "mapping");
    }
    b->mapping_size = b->length + slack;
    b->mapping =
        mmap(NULL, b->mapping_size, PROT_READ | PROT_WRITE, flags, fd, fd < 0 ? 0 : (off_t)offset);
    if (b->mapping == MAP_FAILED) {
        b->mapping = NULL;
        return refuse_errno(error, b, "mapping");
    }
    b->host = b->mapping;
    if (slack) {
        uintptr_t address = (uintptr_t)b->mapping;
        b->host += (HUGE_PAGE_SIZE - address % HUGE_PAGE_SIZE) % HUGE_PAGE_SIZE;
    }
    /* Where there are none, small pages do as well. */
    (void)madvise(b->host, b->length, MADV_HUGEPAGE);
    (void)madvise(b->mapping, b->mapping_size, MADV_DONTDUMP);
    return TRUE;
}

gboolean ferry_capture_open_ram_dir(FerryCapture *c, GError **error)
{
    if (mkdir(c->ram_dir, 0700) < 0 && errno != EEXIST) {
        return ferry_capture_refuse(error, "%s: %s", c->ram_dir, g_strerror(errno));
    }
    c->ram_directory = open(c->ram_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->ram_directory < 0) {
        return ferry_capture_refuse(error, "%s: %s", c->ram_dir, g_strerror(errno));
    }
    ferry_capture_warm_up(c);
    return TRUE;
}

/* "/rom@etc/x" -> "rom@etc%2Fx". */
static char *file_name(const char *idstr)
{
    GString *name = g_string_new(NULL);

    for (const char *p = idstr[0] == '/' ? idstr + 1 : idstr; *p; p++) {
        if (*p == '/' || *p == '%') {
            g_string_append_printf(name, "%%%02X", (unsigned char)*p);
        } else {
            g_string_append_c(name, *p);
        }
    }
    if (name->len == 0 || strcmp(name->str, ".") == 0 || strcmp(name->str, "..") == 0) {
        g_string_prepend(name, "%");
    }
    return g_string_free(name, FALSE);
}

static gboolean is_taken(const FerryCapture *c, const char *name)
{
    for (unsigned i = 0; i < c->blocks->len; i++) {
        const FerryCaptureBlock *b = ferry_capture_block(c, i);
        if (b->file && strcmp(b->file, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A file that is there already is taken as it is when its size is right: whoever prepares it (on
 * memory that was touched before) does so to save us the first touch. */
static gboolean open_file(FerryCapture *c, FerryCaptureBlock *b, GError **error)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    g_autofree char *name = file_name(b->idstr);
    struct stat st;

    if (is_taken(c, name)) {
        return ferry_capture_refuse(error, "RAM block '%s': another one's file is '%s' too",
                                    b->idstr, name);
    }
    b->fd = openat(c->ram_directory, name, flags | O_CREAT | O_EXCL, 0600);
    b->made = b->fd >= 0;
    if (b->fd < 0 && errno == EEXIST) {
        b->fd = openat(c->ram_directory, name, flags);
    }
    b->file = g_steal_pointer(&name);
    if (b->fd < 0 || fstat(b->fd, &st) < 0) {
        return ferry_capture_refuse(error, "RAM block '%s': %s/%s: %s", b->idstr, c->ram_dir,
                                    b->file, g_strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return ferry_capture_refuse(error, "RAM block '%s': %s/%s: not a regular file", b->idstr,
                                    c->ram_dir, b->file);
    }
    b->stale = !b->made && (uint64_t)st.st_size == b->length;
    if (b->stale && (uint64_t)st.st_blocks * 512 >= b->length) {
        return TRUE; /* and no room is missing */
    }
    if (b->length > INT64_MAX) {
        errno = EFBIG;
    } else if ((b->stale || ftruncate(b->fd, 0) == 0) &&
               fallocate(b->fd, 0, 0, (off_t)b->length) == 0) {
        return TRUE;
    }
    return refuse_errno(error, b, "making room on the disk for");
}

static gboolean make_block(FerryCapture *c, FerryCaptureBlock *b, GError **error)
{
    if (c->ram_dir && !open_file(c, b, error)) {
        return FALSE;
    }
    int fd = c->ram_dir ? b->fd : c->file.fd;
    if (!ferry_capture_take_warm(c, b) &&
        !ferry_capture_map(b, fd, c->ram_dir ? 0 : b->mapped.pages_offset, error)) {
        return FALSE;
    }
    return ferry_memory_add(ferry_guest_memory(c->guest), b->idstr, b->host, b->length, error);
}

gboolean ferry_capture_make_ram(FerryCapture *c, GError **error)
{
    for (unsigned i = 0; i < c->blocks->len; i++) {
        if (!make_block(c, ferry_capture_block(c, i), error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_capture_is_zero(const uint8_t *page, size_t size)
{
    static const uint8_t none[8];

    if (size % FERRY_PAGE_SIZE != 0) { /* nothing else is testing the pages of old Arm machines */
        return memcmp(page, none, sizeof none) == 0 &&
               memcmp(page, page + sizeof none, size - sizeof none) == 0;
    }
    for (size_t at = 0; at < size; at += FERRY_PAGE_SIZE) {
        if (!ferry_page_is_zero(page + at)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Reading a hole would make memory or disk of it. */
uint64_t ferry_capture_next_data(const FerryCapture *c, unsigned block, uint64_t at)
{
    const FerryCaptureBlock *b = ferry_capture_block(c, block);
    uint64_t base = b->mapped.pages_offset;

    if (c->file.fd < 0) {
        return at;
    }
    off_t data = lseek(c->file.fd, (off_t)(base + at), SEEK_DATA);
    if (data < 0) {
        return errno == ENXIO ? b->length : at;
    }
    return MIN((uint64_t)data - base, b->length);
}

void ferry_capture_discard_ram(FerryCapture *c)
{
    for (unsigned i = 0; c->ram_dir && i < c->blocks->len; i++) {
        const FerryCaptureBlock *b = ferry_capture_block(c, i);
        if (b->made) {
            (void)unlinkat(c->ram_directory, b->file, 0);
        } else if (b->host) {
            (void)(ftruncate(b->fd, 0) == 0 && ftruncate(b->fd, (off_t)b->length) == 0);
        }
    }
}

void ferry_capture_release_ram(FerryCapture *c)
{
    for (unsigned i = 0; i < c->blocks->len; i++) {
        FerryCaptureBlock *b = ferry_capture_block(c, i);
        if (b->mapping) {
            munmap(b->mapping, b->mapping_size);
            b->mapping = NULL;
            b->host = NULL;
        }
        ferry_fd_clear(&b->fd);
    }
    ferry_capture_cool_down(c);
    ferry_fd_clear(&c->ram_directory);
}

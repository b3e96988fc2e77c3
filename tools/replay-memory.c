#include "tools/replay-memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MACHINE "ferry-replay"
#define NAME_BYTES 200   /* of a trace's name for a block; idstrs have 255 */
#define BLOCKS_MAX 1024u /* a process may have had any number of mappings */

struct FerryReplayMemory {
    FerryGuest *own;       /* NULL: the capture's */
    FerryCapture *capture; /* borrowed */
    void *mapping;
    uint64_t mapping_bytes;
    FerryDirtyMarks *marks;
    FerryDirtyLog *log; /* until animate */
    gboolean animated;
    char *log_name;
    FerryReplayPlace *places;
    char **names; /* of the blocks of a memory of its own */
    unsigned n_places;
};

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, text);
    return FALSE;
}

static const FerryTraceBlock *block_of(const FerryTraceHeader *h, unsigned i)
{
    return &g_array_index(h->blocks, FerryTraceBlock, i);
}

/* As the trace has it; mappings of a process may share a name, blocks of a guest may not. */
static char *name_block(const FerryTraceHeader *h, unsigned index)
{
    const char *name = block_of(h, index)->name;
    gboolean taken = name[0] == '\0' || strlen(name) > NAME_BYTES;

    for (unsigned i = 0; !taken && i < h->blocks->len; i++) {
        taken = i != index && strcmp(block_of(h, i)->name, name) == 0;
    }
    return taken ? g_strdup_printf("%.*s#%u", NAME_BYTES, name, index) : g_strdup(name);
}

/* The kernel notes writes by the page, but those to a huge page by the huge page. */
static void use_small_pages(void *host, uint64_t bytes)
{
    (void)madvise(host, bytes, MADV_NOHUGEPAGE);
}

static gboolean map_own(FerryReplayMemory *m, const FerryTraceHeader *h, GError **error)
{
    uint64_t at = 0;
    unsigned block = 0;

    m->mapping_bytes = ferry_trace_header_pages(h) * FERRY_REPLAY_PAGE;
    m->mapping =
        mmap(NULL, m->mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mapping == MAP_FAILED) {
        m->mapping = NULL;
        return refuse(error, "%" G_GUINT64_FORMAT " MiB of memory: %s", m->mapping_bytes >> 20,
                      g_strerror(errno));
    }
    use_small_pages(m->mapping, m->mapping_bytes);
    if (h->blocks->len > BLOCKS_MAX) { /* they lie there one behind the other just the same */
        m->places[0] =
            (FerryReplayPlace){.host = m->mapping, .n_pages = m->mapping_bytes / FERRY_REPLAY_PAGE};
        m->names[0] = g_strdup("trace");
        return TRUE;
    }
    for (unsigned i = 0; i < m->n_places; i++) {
        m->places[i] = (FerryReplayPlace){
            .host = (uint8_t *)m->mapping + at, .n_pages = block_of(h, i)->pages, .block = block};
        at += m->places[i].n_pages * FERRY_REPLAY_PAGE;
        block += m->places[i].n_pages > 0;
        m->names[i] = name_block(h, i);
    }
    return TRUE;
}

static gboolean has_name(const FerryTraceHeader *h, const char *name)
{
    for (unsigned i = 0; i < h->blocks->len; i++) {
        if (strcmp(block_of(h, i)->name, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* By name, else one of the same size that nobody has or names. -1: there is none. */
static int find_there(const FerryMemory *memory, const FerryTraceHeader *h,
                      const FerryTraceBlock *b, const gboolean *taken)
{
    int found = ferry_memory_find(memory, b->name);

    for (unsigned i = 0; found < 0 && i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *there = ferry_memory_block(memory, i);
        if (!taken[i] && there->length == b->pages * FERRY_REPLAY_PAGE &&
            !has_name(h, there->idstr)) {
            found = (int)i;
        }
    }
    return found;
}

static gboolean find_place(FerryReplayMemory *m, const FerryTraceHeader *h,
                           const FerryTraceBlock *b, gboolean *taken, FerryReplayPlace *out_place,
                           GError **error)
{
    const FerryMemory *memory = ferry_guest_memory(ferry_capture_guest(m->capture));
    int found = find_there(memory, h, b, taken);
    const FerryMemoryBlock *there = found < 0 ? NULL : ferry_memory_block(memory, (unsigned)found);

    if (!there) {
        return refuse(error,
                      "the trace's block '%s' of %" G_GUINT64_FORMAT
                      " pages: the snapshot has none of that name or size",
                      b->name, b->pages);
    }
    if (taken[found]) {
        return refuse(error, "the trace has two blocks for the snapshot's '%s'", there->idstr);
    }
    if (b->pages * FERRY_REPLAY_PAGE > there->length) {
        return refuse(error,
                      "block '%s' has %" G_GUINT64_FORMAT
                      " pages in the trace, but %" G_GUINT64_FORMAT " in the snapshot",
                      b->name, b->pages, there->length / FERRY_REPLAY_PAGE);
    }
    taken[found] = TRUE;
    *out_place =
        (FerryReplayPlace){.host = there->host, .n_pages = b->pages, .block = (unsigned)found};
    return TRUE;
}

static gboolean use_capture(FerryReplayMemory *m, const FerryTraceHeader *h, GError **error)
{
    const FerryMemory *memory = ferry_guest_memory(ferry_capture_guest(m->capture));
    unsigned n = ferry_memory_n_blocks(memory);
    g_autofree gboolean *taken = g_new0(gboolean, n + 1);

    for (unsigned i = 0; i < m->n_places; i++) {
        if (block_of(h, i)->pages > 0 &&
            !find_place(m, h, block_of(h, i), taken, &m->places[i], error)) {
            return FALSE;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        use_small_pages(ferry_memory_block(memory, i)->host, ferry_memory_block(memory, i)->length);
    }
    return TRUE;
}

/* Of all blocks that will be migrated; FerryPagemapRegion each. */
static GArray *regions_of(const FerryReplayMemory *m)
{
    GArray *regions = g_array_new(FALSE, FALSE, sizeof(FerryPagemapRegion));
    const FerryMemory *memory =
        m->capture ? ferry_guest_memory(ferry_capture_guest(m->capture)) : NULL;

    for (unsigned i = 0; memory && i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *b = ferry_memory_block(memory, i);
        FerryPagemapRegion r = {(uintptr_t)b->host, b->length / FERRY_REPLAY_PAGE};
        g_array_append_val(regions, r);
    }
    for (unsigned i = 0; !memory && i < m->n_places; i++) {
        FerryPagemapRegion r = {(uintptr_t)m->places[i].host, m->places[i].n_pages};
        if (r.n_pages) {
            g_array_append_val(regions, r);
        }
    }
    return regions;
}

static gboolean open_log(FerryReplayMemory *m, FerryReplayLog kind, GError **error)
{
    g_autoptr(GArray) regions = regions_of(m);
    const FerryPagemapRegion *r = (const FerryPagemapRegion *)(void *)regions->data;
    g_autofree uint64_t *pages = g_new(uint64_t, regions->len);

    if (kind != FERRY_REPLAY_LOG_MARKS) {
        m->log = ferry_dirty_log_pagemap_new(0, -1, r, regions->len,
                                             kind == FERRY_REPLAY_LOG_PAGEMAP ? error : NULL);
        if (m->log || kind == FERRY_REPLAY_LOG_PAGEMAP) {
            return m->log != NULL;
        }
    }
    for (unsigned i = 0; i < regions->len; i++) {
        pages[i] = r[i].n_pages;
    }
    m->marks = ferry_dirty_marks_new(pages, regions->len);
    m->log = ferry_dirty_log_marks_new(m->marks);
    return TRUE;
}

FerryReplayMemory *ferry_replay_memory_new(const FerryTraceHeader *h, FerryCapture *capture,
                                           FerryReplayLog log, GError **error)
{
    g_autoptr(FerryReplayMemory) m = g_new0(FerryReplayMemory, 1);

    m->capture = capture;
    m->n_places = !capture && h->blocks->len > BLOCKS_MAX ? 1 : h->blocks->len;
    m->places = g_new0(FerryReplayPlace, m->n_places + 1);
    m->names = g_new0(char *, m->n_places + 1);
    if (!(capture ? use_capture(m, h, error) : map_own(m, h, error)) || !open_log(m, log, error)) {
        return NULL;
    }
    m->log_name = g_strdup(ferry_dirty_log_get_name(m->log));
    return g_steal_pointer(&m);
}

const FerryReplayPlace *ferry_replay_memory_places(const FerryReplayMemory *m,
                                                   unsigned *out_n_places)
{
    *out_n_places = m->n_places;
    return m->places;
}

FerryDirtyMarks *ferry_replay_memory_marks(const FerryReplayMemory *m) { return m->marks; }

FerryGuest *ferry_replay_memory_animate(FerryReplayMemory *m, FerryReplayGuest *guest,
                                        GError **error)
{
    m->animated = TRUE;
    if (m->capture) {
        ferry_capture_animate(m->capture, &ferry_replay_guest_ops, guest, g_steal_pointer(&m->log));
        return ferry_capture_guest(m->capture);
    }
    m->own = ferry_guest_new(MACHINE, &ferry_replay_guest_ops, guest);
    ferry_guest_set_dirty_log(m->own, g_steal_pointer(&m->log));
    for (unsigned i = 0; i < m->n_places; i++) {
        const FerryReplayPlace *p = &m->places[i];
        if (p->n_pages && !ferry_memory_add(ferry_guest_memory(m->own), m->names[i], p->host,
                                            p->n_pages * FERRY_REPLAY_PAGE, error)) {
            return NULL;
        }
    }
    return ferry_guest_add_device(m->own, FERRY_REPLAY_DEVICE, 0, 1, &ferry_replay_device_ops,
                                  guest, error)
               ? m->own
               : NULL;
}

const char *ferry_replay_memory_log_name(const FerryReplayMemory *m) { return m->log_name; }

void ferry_replay_memory_free(FerryReplayMemory *m)
{
    if (!m) {
        return;
    }
    ferry_dirty_log_free(m->log);
    ferry_guest_free(m->own); /* its log before the marks and the memory */
    if (m->capture && m->animated) {
        ferry_guest_set_dirty_log(ferry_capture_guest(m->capture), NULL);
    }
    ferry_dirty_marks_free(m->marks);
    if (m->mapping) {
        munmap(m->mapping, m->mapping_bytes);
    }
    for (unsigned i = 0; i < m->n_places; i++) {
        g_free(m->names[i]);
    }
    g_free(m->names);
    g_free(m->places);
    g_free(m->log_name);
    g_free(m);
}

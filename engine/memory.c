#include "engine/memory.h"
#include <string.h>
#include <xxhash.h>
#include "engine/error.h"
#include "protocol/ram.h"

struct FerryMemory {
    GArray *blocks; /* FerryMemoryBlock */
};

static void clear_block(gpointer data) { g_free(((FerryMemoryBlock *)data)->idstr); }

FerryMemory *ferry_memory_new(void)
{
    FerryMemory *m = g_new0(FerryMemory, 1);
    m->blocks = g_array_new(FALSE, FALSE, sizeof(FerryMemoryBlock));
    g_array_set_clear_func(m->blocks, clear_block);
    return m;
}

gboolean ferry_memory_add(FerryMemory *m, const char *idstr, void *host, uint64_t length,
                          GError **error)
{
    const char *wrong = NULL;
    if (idstr[0] == '\0' || strlen(idstr) > FERRY_IDSTR_MAX) {
        wrong = "a name has 1 to 255 bytes";
    } else if (ferry_memory_find(m, idstr) >= 0) {
        wrong = "there is one of that name";
    } else if (length == 0 || length % FERRY_PAGE_SIZE != 0) {
        wrong = "its length is not a whole number of pages";
    } else if (m->blocks->len == FERRY_RAM_BLOCKS_MAX) {
        wrong = "too many blocks";
    }
    if (wrong) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "RAM block '%s': %s",
                    idstr, wrong);
        return FALSE;
    }
    FerryMemoryBlock block = {
        .idstr = g_strdup(idstr), .host = host, .length = length, .guest_address = UINT64_MAX};
    g_array_append_val(m->blocks, block);
    return TRUE;
}

void ferry_memory_set_guest_address(FerryMemory *m, unsigned index, uint64_t address)
{
    g_assert(index < m->blocks->len);
    g_array_index(m->blocks, FerryMemoryBlock, index).guest_address = address;
}

unsigned ferry_memory_n_blocks(const FerryMemory *m) { return m->blocks->len; }

const FerryMemoryBlock *ferry_memory_block(const FerryMemory *m, unsigned index)
{
    g_assert(index < m->blocks->len);
    return &g_array_index(m->blocks, FerryMemoryBlock, index);
}

int ferry_memory_find(const FerryMemory *m, const char *idstr)
{
    for (unsigned i = 0; i < m->blocks->len; i++) {
        if (strcmp(ferry_memory_block(m, i)->idstr, idstr) == 0) {
            return (int)i;
        }
    }
    return -1;
}

uint64_t ferry_memory_total_bytes(const FerryMemory *m)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < m->blocks->len; i++) {
        total += ferry_memory_block(m, i)->length;
    }
    return total;
}

static gboolean go_on(void *self, GError **error)
{
    (void)self;
    (void)error;
    return TRUE;
}

uint64_t ferry_memory_hash(const FerryMemory *m)
{
    uint64_t hash = 0;

    (void)ferry_memory_hash_stepwise(m, go_on, NULL, &hash, NULL);
    return hash;
}

gboolean ferry_memory_hash_stepwise(const FerryMemory *m,
                                    gboolean (*between)(void *self, GError **error), void *self,
                                    uint64_t *out_hash, GError **error)
{
    XXH3_state_t *state = XXH3_createState();
    gboolean ok = TRUE;

    XXH3_64bits_reset(state);
    for (unsigned i = 0; ok && i < m->blocks->len; i++) {
        const FerryMemoryBlock *block = ferry_memory_block(m, i);
        uint64_t length = GUINT64_TO_BE(block->length);
        XXH3_64bits_update(state, block->idstr, strlen(block->idstr) + 1);
        XXH3_64bits_update(state, &length, sizeof length);
        for (uint64_t at = 0; ok && at < block->length; at += FERRY_MEMORY_HASH_STEP) {
            uint64_t n = MIN(block->length - at, FERRY_MEMORY_HASH_STEP);
            XXH3_64bits_update(state, block->host + at, n);
            ok = between(self, error);
        }
    }
    *out_hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return ok;
}

void ferry_memory_free(FerryMemory *m)
{
    if (m) {
        g_array_unref(m->blocks);
        g_free(m);
    }
}

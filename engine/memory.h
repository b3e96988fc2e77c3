/* Guest RAM: named blocks, readable and writable somewhere in this process. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    char *idstr; /* the block's name on the wire, as QEMU names it: "pc.ram" */
    uint8_t *host;
    uint64_t length;        /* bytes, a multiple of 4096 */
    uint64_t guest_address; /* of its first byte; UINT64_MAX: not said */
} FerryMemoryBlock;

typedef struct FerryMemory FerryMemory;
FerryMemory *ferry_memory_new(void);
/* Borrows @host, which must outlive the memory. Indexes count from 0 in the order of adding and are
 * the ones dirty logs use. FERRY_ENGINE_ERROR_REFUSED: a name taken or too long, a length that is 0
 * or not whole pages. */
gboolean ferry_memory_add(FerryMemory *memory, const char *idstr, void *host, uint64_t length,
                          GError **error);
/* Where the guest sees it, for who reads traces of its pages; migration does not need it. */
void ferry_memory_set_guest_address(FerryMemory *memory, unsigned index, uint64_t address);
unsigned ferry_memory_n_blocks(const FerryMemory *memory);
const FerryMemoryBlock *ferry_memory_block(const FerryMemory *memory, unsigned index);
/* -1: no such block. */
int ferry_memory_find(const FerryMemory *memory, const char *idstr);
uint64_t ferry_memory_total_bytes(const FerryMemory *memory);
/* XXH3 (64 bit) of all blocks in order, each as name, length, bytes. The guest must not run. */
uint64_t ferry_memory_hash(const FerryMemory *memory);
/* The same, for much memory: asks @between every FERRY_MEMORY_HASH_STEP bytes whether to go on.
 * FALSE with its error when it says no. */
#define FERRY_MEMORY_HASH_STEP (64ull << 20)
gboolean ferry_memory_hash_stepwise(const FerryMemory *memory,
                                    gboolean (*between)(void *self, GError **error), void *self,
                                    uint64_t *out_hash, GError **error);
void ferry_memory_free(FerryMemory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryMemory, ferry_memory_free)

G_END_DECLS

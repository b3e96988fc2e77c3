#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sys/mman.h>
#include "engine/error.h"
#include "engine/memory.h"

static _Alignas(4096) uint8_t bytes[4 * 4096];

typedef struct {
    char idstr[32];
    uint64_t length;
    gboolean taken;
} Row;
ParameterizedTestParameters(memory, takes_only_whole_pages_under_a_new_name)
{
    static Row rows[] = {
        {"pc.ram", 4096, TRUE },
        {"first",  4096, FALSE},
        {"",       4096, FALSE},
        {"odd",    4097, FALSE},
        {"empty",  0,    FALSE},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Row *row, memory, takes_only_whole_pages_under_a_new_name)
{
    g_autoptr(FerryMemory) m = ferry_memory_new();
    g_autoptr(GError) error = NULL;
    cr_assert(ferry_memory_add(m, "first", bytes, 4096, NULL));
    cr_expect_eq(ferry_memory_add(m, row->idstr, bytes + 4096, row->length, &error), row->taken,
                 "%s", row->idstr);
    cr_expect(row->taken || g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED));
    cr_expect_eq(ferry_memory_n_blocks(m), row->taken ? 2 : 1);
}

Test(memory, knows_where_the_guest_sees_a_block)
{
    g_autoptr(FerryMemory) m = ferry_memory_new();
    ferry_memory_add(m, "a", bytes, 4096, NULL);
    ferry_memory_add(m, "b", bytes + 4096, 4096, NULL);
    ferry_memory_set_guest_address(m, 1, 0x100000000);
    cr_expect_eq(ferry_memory_block(m, 0)->guest_address, UINT64_MAX);
    cr_expect_eq(ferry_memory_block(m, 1)->guest_address, 0x100000000);
}

Test(memory, finds_blocks_and_adds_them_up)
{
    g_autoptr(FerryMemory) m = ferry_memory_new();
    ferry_memory_add(m, "a", bytes, 4096, NULL);
    ferry_memory_add(m, "b", bytes + 4096, 8192, NULL);
    cr_expect_eq(ferry_memory_find(m, "b"), 1);
    cr_expect_eq(ferry_memory_find(m, "c"), -1);
    cr_expect_eq(ferry_memory_total_bytes(m), 12288);
}

Test(memory, the_hash_sees_every_byte_name_and_length)
{
    uint64_t seen[5];
    for (unsigned i = 0; i < G_N_ELEMENTS(seen); i++) {
        g_autoptr(FerryMemory) m = ferry_memory_new();
        ferry_memory_add(m, i == 1 ? "x" : "a", bytes, i == 2 ? 8192 : 4096, NULL);
        ferry_memory_add(m, "b", bytes + 8192, 8192, NULL);
        bytes[4 * 4096 - 1] = i == 3;
        bytes[0] = i == 4;
        seen[i] = ferry_memory_hash(m);
        for (unsigned k = 0; k < i; k++) {
            cr_expect_neq(seen[i], seen[k], "%u and %u", i, k);
        }
    }
}

typedef struct {
    unsigned asked, last;
} Patience;

static gboolean ask(void *self, GError **error)
{
    Patience *p = self;
    if (p->asked++ == p->last) {
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "enough");
        return FALSE;
    }
    return TRUE;
}

Test(memory, the_hash_of_much_memory_can_be_given_up)
{
    size_t length = 3 * FERRY_MEMORY_HASH_STEP + 4096;
    void *host = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_autoptr(FerryMemory) m = ferry_memory_new();
    g_autoptr(GError) error = NULL;
    Patience patient = {.last = 4}, hasty = {.last = 1};
    uint64_t hash;

    cr_assert_neq(host, MAP_FAILED);
    cr_assert(ferry_memory_add(m, "a", host, length, NULL));
    cr_expect(ferry_memory_hash_stepwise(m, ask, &patient, &hash, NULL));
    cr_expect_eq(patient.asked, 4);
    cr_expect_eq(hash, ferry_memory_hash(m));
    cr_expect_not(ferry_memory_hash_stepwise(m, ask, &hasty, &hash, &error));
    cr_expect(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED));
    cr_expect_eq(hasty.asked, 2);
    munmap(host, length);
}

#include "tools/vm/workload.h"
#include <string.h>
#include "tools/vm/error.h"
#include "tools/vm/size.h"
#include "tools/vm/workload-guest.h"

static const char *const names[WORKLOAD_N_KINDS] = {
    [WORKLOAD_UNIFORM] = "uniform", [WORKLOAD_HOT_COLD] = "hot-cold", [WORKLOAD_SWEEP] = "sweep",
    [WORKLOAD_ZIPF] = "zipf",       [WORKLOAD_IDLE] = "idle",
};

const char *workload_name(uint32_t kind) { return kind < WORKLOAD_N_KINDS ? names[kind] : "none"; }

static gboolean parse_fill(const char *value, gboolean *out)
{
    if (g_str_equal(value, "random") || g_str_equal(value, "zero")) {
        *out = g_str_equal(value, "random");
        return TRUE;
    }
    return FALSE;
}

static gboolean parse_pair(const char *key, const char *value, WorkloadOptions *out, GError **error)
{
    uint64_t number = 0;
    gboolean good;

    if (g_str_equal(key, "size")) {
        good = size_parse(value, 1, &out->size_bytes) && out->size_bytes > 0;
    } else if (g_str_equal(key, "hot")) {
        good = size_parse(value, 1, &out->hot_bytes) && out->hot_bytes > 0;
    } else if (g_str_equal(key, "rate")) {
        good = number_parse(value, 0, 1000000000, &out->rate);
    } else if (g_str_equal(key, "seed")) {
        good = number_parse(value, 0, UINT32_MAX, &out->seed);
    } else if (g_str_equal(key, "share")) {
        good = number_parse(value, 0, 100, &number);
        out->share_percent = (unsigned)number;
    } else if (g_str_equal(key, "fill")) {
        good = parse_fill(value, &out->fill);
    } else {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE,
                    "unknown key '%s' (known: size, rate, share, hot, seed, fill)", key);
        return FALSE;
    }
    if (!good) {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE, "'%s' is no value for %s", value, key);
    }
    return good;
}

gboolean workload_parse(const char *text, WorkloadOptions *out, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    WorkloadOptions options = {.share_percent = 90, .seed = 1};
    unsigned kind;

    for (kind = 0; kind < WORKLOAD_N_KINDS; kind++) {
        if (words[0] != NULL && g_str_equal(words[0], names[kind])) {
            break;
        }
    }
    if (kind == WORKLOAD_N_KINDS) {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE,
                    "unknown workload '%s' (known: uniform, hot-cold, sweep, zipf, idle)",
                    words[0] == NULL ? "" : words[0]);
        return FALSE;
    }
    options.kind = kind;
    for (char **word = words + 1; *word != NULL; word++) {
        char *value = strchr(*word, '=');
        if (value == NULL) {
            g_set_error(error, VM_ERROR, VM_ERROR_USAGE, "'%s' is not key=value", *word);
            return FALSE;
        }
        *value++ = '\0';
        if (!parse_pair(*word, value, &options, error)) {
            return FALSE;
        }
    }
    *out = options;
    return TRUE;
}

static uint64_t pages_of(uint64_t bytes)
{
    return bytes / WORKLOAD_PAGE + (bytes % WORKLOAD_PAGE != 0);
}

gboolean workload_facts(const WorkloadOptions *options, uint64_t ram_bytes, unsigned n_vcpus,
                        uint64_t ticks_per_second, WorkloadFacts *out, GError **error)
{
    uint64_t room = ram_bytes > WORKLOAD_BASE ? (ram_bytes - WORKLOAD_BASE) / WORKLOAD_PAGE : 0;
    uint64_t pages = options->size_bytes != 0 ? pages_of(options->size_bytes)
                                              : MIN(room, ram_bytes / WORKLOAD_PAGE / 2);
    uint64_t hot = options->hot_bytes != 0 ? pages_of(options->hot_bytes) : MAX(pages / 10, 1);
    uint64_t rate = options->kind == WORKLOAD_IDLE ? 1 : options->rate;

    if (pages == 0 || pages > room) {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE,
                    "a working set of %" G_GUINT64_FORMAT " KiB does not fit: of %" G_GUINT64_FORMAT
                    " KiB of RAM the program keeps the first %u KiB",
                    pages * 4, ram_bytes / 1024, WORKLOAD_BASE / 1024);
        return FALSE;
    }
    if (hot > pages) {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE, "hot is larger than size");
        return FALSE;
    }
    *out = (WorkloadFacts){
        .magic = WORKLOAD_MAGIC,
        .kind = options->kind,
        .n_vcpus = n_vcpus,
        .pages = pages,
        .hot_pages = hot,
        .hot_share = (UINT64_C(1) << 32) * options->share_percent / 100,
        .seed = workload_random(options->seed), /* neighbours must not share a sequence */
        .ticks_per_second = ticks_per_second,
        .write_ticks_q8 = rate == 0 ? 0 : MAX(ticks_per_second * n_vcpus * 256 / rate, 1),
    };
    return TRUE;
}

gboolean workload_facts_check(const WorkloadFacts *facts, uint64_t ram_bytes, unsigned n_vcpus,
                              GError **error)
{
    if (facts->magic != WORKLOAD_MAGIC || facts->kind >= WORKLOAD_N_KINDS ||
        facts->n_vcpus != n_vcpus || facts->pages == 0 || ram_bytes < WORKLOAD_BASE ||
        facts->pages > (ram_bytes - WORKLOAD_BASE) / WORKLOAD_PAGE || facts->hot_pages == 0 ||
        facts->hot_pages > facts->pages || facts->ticks_per_second < 1000) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "workload facts that fit no such machine");
        return FALSE;
    }
    return TRUE;
}

WorkloadState *workload_state(uint8_t *ram, unsigned vcpu)
{
    return (WorkloadState *)(ram + WORKLOAD_STATES + (size_t)vcpu * WORKLOAD_PAGE);
}

/* Maps the block from address 0 on without a gap, in 2 MiB pages that ring 3 may write. Accessed
 * and dirty bits are set already: the processor then never writes to the tables. */
static void put_page_tables(uint8_t *ram, uint64_t ram_bytes, uint64_t hole, uint64_t hole_end)
{
    const uint64_t link = 0x27,
                   leaf = 0xe7; /* present, writable, user, accessed (, dirty, large) */
    uint64_t *pml4 = (uint64_t *)(ram + WORKLOAD_PAGE_TABLES);
    uint64_t *pdpt = pml4 + 512, *directories = (uint64_t *)(ram + WORKLOAD_DIRECTORIES);
    uint64_t n_large = (ram_bytes + (2u << 20) - 1) >> 21;

    pml4[0] = (WORKLOAD_PAGE_TABLES + WORKLOAD_PAGE) | link;
    for (uint64_t i = 0; i < n_large; i++) {
        uint64_t offset = i << 21;
        uint64_t physical = offset < hole ? offset : offset - hole + hole_end;
        directories[i] = physical | leaf;
        if (i % 512 == 0) {
            pdpt[i / 512] = (WORKLOAD_DIRECTORIES + i / 512 * WORKLOAD_PAGE) | link;
        }
    }
}

void workload_install(const WorkloadFacts *facts, gboolean fill, uint8_t *ram, uint64_t ram_bytes,
                      uint64_t hole, uint64_t hole_end, uint64_t now)
{
    size_t code_bytes = (size_t)(workload_code_end - workload_code);
    uint64_t *words = (uint64_t *)(ram + WORKLOAD_BASE);

    g_assert(code_bytes <= WORKLOAD_STATES - WORKLOAD_CODE);
    put_page_tables(ram, ram_bytes, hole, hole_end);
    memcpy(ram + WORKLOAD_FACTS, facts, sizeof *facts);
    memcpy(ram + WORKLOAD_CODE, workload_code, code_bytes);
    for (unsigned vcpu = 0; vcpu < facts->n_vcpus; vcpu++) {
        WorkloadState *state = workload_state(ram, vcpu);
        state->next_q8 = now << 8;
        state->letter_tick = now;
    }
    for (uint64_t i = 0; fill && i < facts->pages * WORKLOAD_PAGE / sizeof *words; i++) {
        words[i] = workload_random(~facts->seed - i);
    }
}

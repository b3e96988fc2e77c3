#include "simulator/codec.h"
#include <string.h>

#define PAGE FERRY_WORKLOAD_PAGE
#define CACHE_DEFAULT (UINT64_C(64) << 20)
#define DELTA_PERMILLE 250u
/* As QEMU's cache: what was sent within so many syncs is not thrown out. */
#define YOUNG_SYNCS 2u

static const struct {
    const char *name;
    uint64_t page_ns; /* one core of a server, 4 KiB: 80 MB/s, 500 MB/s, 1.7 GB/s */
} codecs[FERRY_N_SIM_CODECS] = {
    [FERRY_SIM_CODEC_NONE] = {"none",   0    },
    [FERRY_SIM_CODEC_ZLIB] = {"zlib",   50000},
    [FERRY_SIM_CODEC_ZSTD] = {"zstd",   8000 },
    [FERRY_SIM_CODEC_XBZRLE] = {"xbzrle", 2400 },
};

const char *ferry_sim_codec_name(FerrySimCodecKind kind)
{
    return kind < FERRY_N_SIM_CODECS ? codecs[kind].name : "unknown";
}

gboolean ferry_sim_codec_parse(const char *name, FerrySimCodecKind *out_kind)
{
    for (unsigned i = 0; i < FERRY_N_SIM_CODECS; i++) {
        if (strcmp(name, codecs[i].name) == 0) {
            *out_kind = (FerrySimCodecKind)i;
            return TRUE;
        }
    }
    return FALSE;
}

uint64_t ferry_sim_codec_page_ns(FerrySimCodecKind kind)
{
    return kind < FERRY_N_SIM_CODECS ? codecs[kind].page_ns : 0;
}

void ferry_sim_packer_init(FerrySimPacker *p, const FerrySimCodec *how)
{
    *p = (FerrySimPacker){.how = how};
    if (how->kind == FERRY_SIM_CODEC_XBZRLE) {
        p->n_slots = MAX((how->cache_bytes ? how->cache_bytes : CACHE_DEFAULT) / PAGE, 1);
        p->n_slots = MIN(p->n_slots, FERRY_SIM_PAGES_MAX);
        p->page_of = g_new0(uint32_t, p->n_slots);
        p->sync_of = g_new0(uint32_t, p->n_slots);
    }
}

void ferry_sim_packer_clear(FerrySimPacker *p)
{
    g_free(p->page_of);
    g_free(p->sync_of);
    *p = (FerrySimPacker){0};
}

/* Whether the cache has what was sent of the page last; it has what is sent now, if there is room.
 */
static gboolean is_cached(FerrySimPacker *p, uint64_t page, unsigned sync)
{
    uint64_t slot = page % p->n_slots;
    uint32_t id = (uint32_t)page + 1;

    if (p->page_of[slot] == id) {
        p->sync_of[slot] = sync;
        return TRUE;
    }
    if (p->page_of[slot] == 0 || p->sync_of[slot] + YOUNG_SYNCS < sync) {
        p->page_of[slot] = id;
        p->sync_of[slot] = sync;
    }
    return FALSE;
}

uint64_t ferry_sim_packer_weigh(FerrySimPacker *p, uint64_t page, const FerrySimContent *content,
                                gboolean again, unsigned sync)
{
    uint64_t permille = p->how->wire_permille;

    if (content->plain == 0) {
        return 0;
    }
    switch (p->how->kind) {
    case FERRY_SIM_CODEC_NONE:
    case FERRY_N_SIM_CODECS:
        break;
    case FERRY_SIM_CODEC_ZLIB:
    case FERRY_SIM_CODEC_ZSTD:
        return content->packed ? content->packed
               : permille      ? MAX(content->plain * permille / 1000, 1)
                               : content->plain;
    case FERRY_SIM_CODEC_XBZRLE:
        /* It starts behind the first pass: what is sent for the first time is none of its. */
        if (again && is_cached(p, page, sync)) {
            return MAX(content->plain * (permille ? permille : DELTA_PERMILLE) / 1000, 1);
        }
        break;
    }
    return content->plain;
}

uint64_t ferry_sim_packer_page_ns(const FerrySimPacker *p)
{
    uint64_t ns = p->how->page_ns ? p->how->page_ns : ferry_sim_codec_page_ns(p->how->kind);

    return p->how->kind == FERRY_SIM_CODEC_NONE ? 0 : ns / MAX(p->how->threads, 1);
}

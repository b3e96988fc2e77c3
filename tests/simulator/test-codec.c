#include "simulator/codec.h"
#include <criterion/criterion.h>

static const FerrySimContent zero = {0}, unknown = {.plain = 4096},
                             half = {.plain = 4096, .packed = 2048};

static uint64_t weigh(const FerrySimCodec *how, const FerrySimContent *content)
{
    FerrySimPacker p;

    ferry_sim_packer_init(&p, how);
    uint64_t bytes = ferry_sim_packer_weigh(&p, 7, content, FALSE, 1);
    ferry_sim_packer_clear(&p);
    return bytes;
}

Test(codec, packs_what_is_known_to_pack)
{
    FerrySimCodec none = {0}, zstd = {.kind = FERRY_SIM_CODEC_ZSTD};
    FerrySimCodec guess = {.kind = FERRY_SIM_CODEC_ZLIB, .wire_permille = 300};

    cr_expect_eq(weigh(&none, &zero), 0);
    cr_expect_eq(weigh(&none, &half), 4096);
    cr_expect_eq(weigh(&zstd, &zero), 0);
    cr_expect_eq(weigh(&zstd, &half), 2048);
    cr_expect_eq(weigh(&zstd, &unknown), 4096);
    cr_expect_eq(weigh(&guess, &unknown), 4096 * 300 / 1000);
    cr_expect_eq(weigh(&guess, &half), 2048);
}

Test(codec, threads_share_the_work)
{
    FerrySimCodec zstd = {.kind = FERRY_SIM_CODEC_ZSTD, .page_ns = 9000, .threads = 3}, none = {0};
    FerrySimPacker p;

    ferry_sim_packer_init(&p, &zstd);
    cr_expect_eq(ferry_sim_packer_page_ns(&p), 3000);
    ferry_sim_packer_init(&p, &none);
    cr_expect_eq(ferry_sim_packer_page_ns(&p), 0);
}

Test(codec, a_difference_needs_the_page_in_the_cache)
{
    FerrySimCodec how = {.kind = FERRY_SIM_CODEC_XBZRLE, .cache_bytes = 4 * 4096};
    FerrySimPacker p;

    ferry_sim_packer_init(&p, &how);
    cr_expect_eq(ferry_sim_packer_weigh(&p, 1, &unknown, FALSE, 1), 4096);
    cr_expect_eq(ferry_sim_packer_weigh(&p, 1, &unknown, TRUE, 2), 4096, "now it has it");
    cr_expect_eq(ferry_sim_packer_weigh(&p, 1, &unknown, TRUE, 3), 1024);
    cr_expect_eq(ferry_sim_packer_weigh(&p, 5, &unknown, TRUE, 4), 4096, "the slot is taken");
    cr_expect_eq(ferry_sim_packer_weigh(&p, 1, &unknown, TRUE, 4), 1024, "and was kept");
    cr_expect_eq(ferry_sim_packer_weigh(&p, 5, &unknown, TRUE, 7), 4096, "what is old gives way");
    cr_expect_eq(ferry_sim_packer_weigh(&p, 5, &unknown, TRUE, 8), 1024);
    ferry_sim_packer_clear(&p);
}

Test(codec, names_go_both_ways)
{
    for (unsigned i = 0; i < FERRY_N_SIM_CODECS; i++) {
        FerrySimCodecKind kind;
        cr_assert(ferry_sim_codec_parse(ferry_sim_codec_name(i), &kind));
        cr_expect_eq(kind, i);
    }
    FerrySimCodecKind kind;
    cr_expect_not(ferry_sim_codec_parse("lz4", &kind));
}

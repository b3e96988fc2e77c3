#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "engine/parameters.h"

typedef struct {
    char name[40];
    uint64_t number;
    char text[40];
    gboolean running, accepted;
} Row;

ParameterizedTestParameters(parameters, keep_their_range)
{
    static Row rows[] = {
        {"max-bandwidth",              0,                       "",               FALSE, TRUE },
        {"max-bandwidth",              INT64_MAX,               "",               TRUE,  TRUE },
        {"max-bandwidth",              (uint64_t)INT64_MAX + 1, "",               FALSE, FALSE},
        {"downtime-limit",             0,                       "",               TRUE,  TRUE },
        {"downtime-limit",             2000000,                 "",               TRUE,  TRUE },
        {"downtime-limit",             2000001,                 "",               TRUE,  FALSE},
        {"avail-switchover-bandwidth", 125000000,               "",               TRUE,  TRUE },
        {"throttle-trigger-threshold", 0,                       "",               FALSE, FALSE},
        {"throttle-trigger-threshold", 1,                       "",               FALSE, TRUE },
        {"throttle-trigger-threshold", 100,                     "",               FALSE, TRUE },
        {"throttle-trigger-threshold", 101,                     "",               FALSE, FALSE},
        {"cpu-throttle-initial",       0,                       "",               FALSE, FALSE},
        {"cpu-throttle-initial",       1,                       "",               FALSE, TRUE },
        {"cpu-throttle-initial",       99,                      "",               TRUE,  TRUE },
        {"cpu-throttle-initial",       100,                     "",               FALSE, FALSE},
        {"cpu-throttle-increment",     0,                       "",               FALSE, FALSE},
        {"cpu-throttle-increment",     99,                      "",               FALSE, TRUE },
        {"max-cpu-throttle",           0,                       "",               FALSE, FALSE},
        {"max-cpu-throttle",           100,                     "",               FALSE, FALSE},
        {"x-ferry-io-timeout-ms",      99,                      "",               FALSE, FALSE},
        {"x-ferry-io-timeout-ms",      100,                     "",               FALSE, TRUE },
        {"x-ferry-io-timeout-ms",      1000,                    "",               TRUE,  FALSE},
        {"x-ferry-dirty-chunk",        256 << 10,               "",               FALSE, TRUE },
        {"x-ferry-dirty-chunk",        128 << 10,               "",               FALSE, FALSE},
        {"x-ferry-dirty-chunk",        384 << 10,               "",               FALSE, FALSE},
        {"x-ferry-dirty-chunk",        1 << 30,                 "",               FALSE, TRUE },
        {"cpu-throttle-tailslow",      1,                       "",               TRUE,  TRUE },
        {"cpu-throttle-tailslow",      2,                       "",               TRUE,  FALSE},
        {"x-ferry-policy",             0,                       "ferry",          FALSE, TRUE },
        {"x-ferry-policy",             0,                       "fixed-rounds=3", TRUE,  TRUE },
        {"x-ferry-policy",             0,                       "fixed-rounds=0", TRUE,  FALSE},
        {"x-ferry-on-stall",           0,                       "wait",           FALSE, TRUE },
        {"x-ferry-on-stall",           0,                       "pause",          TRUE,  TRUE },
        {"x-ferry-on-stall",           0,                       "throttle",       TRUE,  TRUE },
        {"x-ferry-on-stall",           0,                       "cancel",         TRUE,  TRUE },
        {"x-ferry-on-stall",           0,                       "retry",          FALSE, FALSE},
        {"x-ferry-timeout",            0,                       "",               TRUE,  TRUE },
        {"x-ferry-timeout",            2592000000,              "",               TRUE,  TRUE },
        {"x-ferry-timeout",            2592000001,              "",               TRUE,  FALSE},
        {"x-ferry-on-timeout",         0,                       "pause",          TRUE,  TRUE },
        {"x-ferry-on-timeout",         0,                       "cancel",         TRUE,  TRUE },
        {"x-ferry-on-timeout",         0,                       "throttle",       TRUE,  FALSE},
        {"x-ferry-compression",        0,                       "fixed",          FALSE, TRUE },
        {"x-ferry-compression",        0,                       "adaptive",       FALSE, TRUE },
        {"x-ferry-compression",        0,                       "adaptive",       TRUE,  FALSE},
        {"x-ferry-compression",        0,                       "best",           FALSE, FALSE},
        {"x-ferry-dirty-chunk",        0,                       "",               FALSE, TRUE },
        {"x-ferry-policy",             0,                       "none such",      FALSE, FALSE},
        {"x-ferry-record",             0,                       "/tmp/record",    FALSE, TRUE },
        {"x-ferry-fault",              0,                       "",               FALSE, TRUE },
        {"x-ferry-fault",              0,                       "cut,write,4096", FALSE, TRUE },
        {"x-ferry-fault",              0,                       "cut,write",      FALSE, FALSE},
        {"x-ferry-fault",              0,                       "cut,both,1",     FALSE, FALSE},
        {"x-ferry-fault",              0,                       "burn,read,1",    FALSE, FALSE},
        {"x-ferry-fault",              0,                       "flip,read,-1",   FALSE, FALSE},
        {"multifd-channels",           0,                       "",               FALSE, FALSE},
        {"multifd-channels",           1,                       "",               FALSE, TRUE },
        {"multifd-channels",           255,                     "",               FALSE, TRUE },
        {"multifd-channels",           256,                     "",               FALSE, FALSE},
        {"multifd-channels",           4,                       "",               TRUE,  FALSE},
        {"multifd-compression",        0,                       "none",           FALSE, TRUE },
        {"multifd-compression",        0,                       "zlib",           FALSE, TRUE },
        {"multifd-compression",        0,                       "zstd",           FALSE, TRUE },
        {"multifd-compression",        0,                       "zstd",           TRUE,  FALSE},
        {"multifd-compression",        0,                       "qpl",            FALSE, FALSE},
        {"multifd-compression",        0,                       "uadk",           FALSE, FALSE},
        {"multifd-compression",        0,                       "qatzip",         FALSE, FALSE},
        {"multifd-compression",        0,                       "lz4",            FALSE, FALSE},
        {"multifd-zlib-level",         0,                       "",               FALSE, TRUE },
        {"multifd-zlib-level",         9,                       "",               FALSE, TRUE },
        {"multifd-zlib-level",         10,                      "",               FALSE, FALSE},
        {"multifd-zstd-level",         0,                       "",               FALSE, TRUE },
        {"multifd-zstd-level",         20,                      "",               FALSE, TRUE },
        {"multifd-zstd-level",         21,                      "",               FALSE, FALSE},
        {"multifd-qatzip-level",       2,                       "",               FALSE, FALSE},
        {"zero-page-detection",        0,                       "none",           FALSE, TRUE },
        {"zero-page-detection",        0,                       "legacy",         FALSE, TRUE },
        {"zero-page-detection",        0,                       "multifd",        FALSE, TRUE },
        {"zero-page-detection",        0,                       "always",         FALSE, FALSE},
        {"xbzrle-cache-size",          4095,                    "",               FALSE, FALSE},
        {"xbzrle-cache-size",          4096,                    "",               FALSE, TRUE },
        {"xbzrle-cache-size",          5000000,                 "",               FALSE, FALSE},
        {"xbzrle-cache-size",          1ull << 40,              "",               FALSE, TRUE },
        {"compress-level",             9,                       "",               FALSE, TRUE },
        {"compress-level",             10,                      "",               FALSE, FALSE},
        {"compress-threads",           4,                       "",               FALSE, FALSE},
        {"tls-creds",                  0,                       "",               FALSE, TRUE },
        {"tls-creds",                  0,                       "tls0",           FALSE, FALSE},
        {"no-such-parameter",          0,                       "",               FALSE, FALSE},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, parameters, keep_their_range)
{
    g_autoptr(GError) error = NULL;
    FerrySettings settings, before;
    gboolean accepted;

    ferry_settings_init(&settings);
    before = settings;
    accepted = ferry_settings_set_parameter(&settings, row->name, row->number, row->text,
                                            row->running, &error);
    cr_expect_eq(accepted, row->accepted, "%s %" G_GUINT64_FORMAT " '%s'", row->name, row->number,
                 row->text);
    if (!accepted) {
        cr_assert(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED));
        cr_expect_neq(strstr(error->message, row->name), NULL, "unnamed: %s", error->message);
        cr_expect_eq(memcmp(&before, &settings, sizeof settings), 0, "%s changed", row->name);
    }
}

static FerryParameter get(const FerrySettings *settings, const char *name)
{
    FerryParameter p;

    for (unsigned i = 0; ferry_settings_nth_parameter(settings, i, &p); i++) {
        if (strcmp(p.name, name) == 0) {
            return p;
        }
    }
    cr_assert_fail("%s is not listed", name);
    return (FerryParameter){0};
}

Test(parameters, what_is_set_is_listed_and_becomes_a_limit)
{
    FerrySettings settings;
    FerryLimits limits;

    ferry_settings_init(&settings);
    cr_assert(ferry_settings_set_parameter(&settings, "downtime-limit", 7, NULL, TRUE, NULL));
    cr_assert(ferry_settings_set_parameter(&settings, "max-bandwidth", 9, NULL, TRUE, NULL));
    cr_assert(ferry_settings_set_capability(&settings, "auto-converge", TRUE, NULL));
    cr_assert(ferry_settings_set_parameter(&settings, "x-ferry-record", 0, "/tmp/r", FALSE, NULL));
    cr_assert(
        ferry_settings_set_parameter(&settings, "x-ferry-policy", 0, "fixed-rounds=4", TRUE, NULL));
    cr_assert(ferry_settings_set_parameter(&settings, "x-ferry-on-stall", 0, "pause", TRUE, NULL));
    cr_assert(ferry_settings_set_parameter(&settings, "x-ferry-timeout", 1500, NULL, TRUE, NULL));
    cr_assert(
        ferry_settings_set_parameter(&settings, "x-ferry-on-timeout", 0, "pause", TRUE, NULL));
    ferry_settings_get_limits(&settings, &limits);
    cr_expect_eq(limits.downtime_limit_ns, 7000000);
    cr_expect(limits.policy.ops == &ferry_policy_fixed_rounds && limits.policy.argument == 4);
    cr_expect_eq(limits.on_stall, FERRY_ON_STALL_PAUSE);
    cr_expect_eq(limits.timeout.timeout_ns, 1500000000);
    cr_expect(limits.timeout.pause);
    cr_expect_eq(limits.max_bandwidth, 9);
    cr_expect(limits.auto_converge);
    cr_expect_eq(get(&settings, "downtime-limit").number, 7);
    cr_expect_eq(get(&settings, "max-bandwidth").number, 9);
    cr_expect_str_eq(get(&settings, "x-ferry-record").text, "/tmp/r");
}

Test(parameters, defaults_are_those_of_the_engine)
{
    FerryLimits expected = FERRY_LIMITS_DEFAULT, limits;
    FerrySettings settings;

    ferry_settings_init(&settings);
    ferry_settings_get_limits(&settings, &limits);
    cr_expect_eq(limits.max_bandwidth, expected.max_bandwidth);
    cr_expect_eq(limits.downtime_limit_ns, expected.downtime_limit_ns);
    cr_expect_eq(limits.avail_switchover_bandwidth, expected.avail_switchover_bandwidth);
    cr_expect_eq(limits.auto_converge, expected.auto_converge);
    cr_expect_eq(limits.cpu_throttle_initial, expected.cpu_throttle_initial);
    cr_expect_eq(limits.cpu_throttle_increment, expected.cpu_throttle_increment);
    cr_expect_eq(limits.max_cpu_throttle, expected.max_cpu_throttle);
    cr_expect_eq(limits.throttle_trigger_threshold, expected.throttle_trigger_threshold);
    cr_expect(limits.policy.ops == &ferry_policy_ferry);
    cr_expect_eq(limits.on_stall, expected.on_stall);
    cr_expect_eq(limits.timeout.timeout_ns, expected.timeout.timeout_ns);
    cr_expect_not(limits.timeout.pause);
}

Test(parameters, the_highest_throttle_is_not_below_the_first)
{
    g_autoptr(GError) error = NULL;
    FerrySettings settings;

    ferry_settings_init(&settings);
    cr_assert(ferry_settings_check(&settings, NULL));
    cr_assert(ferry_settings_set_parameter(&settings, "max-cpu-throttle", 10, NULL, TRUE, NULL));
    cr_assert_not(ferry_settings_check(&settings, &error));
    cr_assert(ferry_settings_set_parameter(&settings, "cpu-throttle-initial", 5, NULL, TRUE, NULL));
    cr_assert(ferry_settings_check(&settings, NULL));
}

Test(parameters, a_policy_that_foresees_nothing_only_waits)
{
    g_autoptr(GError) error = NULL;
    FerrySettings settings;

    ferry_settings_init(&settings);
    cr_assert(ferry_settings_set_parameter(&settings, "x-ferry-on-stall", 0, "cancel", TRUE, NULL));
    cr_assert(ferry_settings_check(&settings, NULL));
    cr_assert(
        ferry_settings_set_parameter(&settings, "x-ferry-policy", 0, "fixed-rounds=4", TRUE, NULL));
    cr_assert_not(ferry_settings_check(&settings, &error));
    cr_expect(strstr(error->message, "x-ferry-on-stall") && strstr(error->message, "fixed-rounds"),
              "%s", error->message);
}

Test(parameters, a_text_too_long_is_refused)
{
    g_autofree char *text = g_strnfill(FERRY_SETTING_TEXT_MAX, 'x');
    FerrySettings settings;

    ferry_settings_init(&settings);
    cr_expect_not(ferry_settings_set_parameter(&settings, "x-ferry-record", 0, text, FALSE, NULL));
    text[FERRY_SETTING_TEXT_MAX - 1] = '\0';
    cr_expect(ferry_settings_set_parameter(&settings, "x-ferry-record", 0, text, FALSE, NULL));
}

typedef struct {
    char name[32];
    gboolean on, accepted;
} CapabilityRow;

ParameterizedTestParameters(capabilities, not_built_yet_are_refused_by_name)
{
    static CapabilityRow rows[] = {
        {"events",                  TRUE,  TRUE },
        {"auto-converge",           TRUE,  TRUE },
        {"pause-before-switchover", TRUE,  TRUE },
        {"return-path",             FALSE, TRUE },
        {"x-ferry-verify",          TRUE,  TRUE },
        {"multifd",                 FALSE, TRUE },
        {"multifd",                 TRUE,  TRUE },
        {"xbzrle",                  TRUE,  TRUE },
        {"compress",                TRUE,  TRUE },
        {"mapped-ram",              TRUE,  TRUE },
        {"validate-uuid",           TRUE,  TRUE },
        {"switchover-ack",          TRUE,  TRUE },
        {"postcopy-ram",            TRUE,  FALSE},
        {"rdma-pin-all",            TRUE,  FALSE},
        {"zero-copy-send",          TRUE,  FALSE},
        {"no-such-capability",      TRUE,  FALSE},
        {"no-such-capability",      FALSE, FALSE},
    };
    return cr_make_param_array(CapabilityRow, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(CapabilityRow *row, capabilities, not_built_yet_are_refused_by_name)
{
    g_autoptr(GError) error = NULL;
    FerrySettings settings;
    gboolean accepted, on;
    const char *name;

    ferry_settings_init(&settings);
    accepted = ferry_settings_set_capability(&settings, row->name, row->on, &error);
    cr_expect_eq(accepted, row->accepted, "%s", row->name);
    if (!accepted) {
        cr_expect_neq(strstr(error->message, row->name), NULL, "unnamed: %s", error->message);
        return;
    }
    for (unsigned i = 0; ferry_settings_nth_capability(&settings, i, &name, &on); i++) {
        if (strcmp(name, row->name) == 0) {
            cr_expect_eq(on, row->on, "%s", name);
            return;
        }
    }
    cr_assert_fail("%s is not listed", row->name);
}

Test(capabilities, only_the_return_path_is_on_by_itself)
{
    FerrySettings settings;
    const char *name;
    gboolean on;

    ferry_settings_init(&settings);
    for (unsigned i = 0; ferry_settings_nth_capability(&settings, i, &name, &on); i++) {
        cr_expect_eq(on, strcmp(name, "return-path") == 0, "%s", name);
    }
    cr_expect_not(settings.return_path_asked);
}

typedef struct {
    char on[3][20];
    char refusal[32]; /* "": they go together */
} TogetherRow;

ParameterizedTestParameters(capabilities, that_exclude_each_other)
{
    static TogetherRow rows[] = {
        {{"multifd", "xbzrle"},                          "xbzrle"  },
        {{"multifd", "compress"},                        "compress"},
        {{"mapped-ram", "xbzrle"},                       "xbzrle"  },
        {{"mapped-ram", "compress"},                     "compress"},
        {{"mapped-ram", "multifd"},                      ""        },
        {{"xbzrle", "compress"},                         ""        },
        {{"switchover-ack", "validate-uuid", "multifd"}, ""        },
    };
    return cr_make_param_array(TogetherRow, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(TogetherRow *row, capabilities, that_exclude_each_other)
{
    g_autoptr(GError) error = NULL;
    FerrySettings settings;
    gboolean together;

    ferry_settings_init(&settings);
    for (unsigned i = 0; i < G_N_ELEMENTS(row->on) && row->on[i][0] != '\0'; i++) {
        cr_assert(ferry_settings_set_capability(&settings, row->on[i], TRUE, NULL));
    }
    together = ferry_settings_check_capabilities(&settings, &error);
    cr_assert_eq(together, row->refusal[0] == '\0', "%s and %s", row->on[0], row->on[1]);
    if (!together) {
        cr_expect_neq(strstr(error->message, row->refusal), NULL, "unnamed: %s", error->message);
    }
}

Test(capabilities, an_acknowledgement_needs_a_way_back)
{
    FerrySettings settings;

    ferry_settings_init(&settings);
    cr_assert(ferry_settings_set_capability(&settings, "switchover-ack", TRUE, NULL));
    cr_expect(ferry_settings_check_capabilities(&settings, NULL));
    cr_assert(ferry_settings_set_capability(&settings, "return-path", FALSE, NULL));
    cr_expect_not(ferry_settings_check_capabilities(&settings, NULL));
}

typedef struct {
    char uri[40];
    gboolean mapped_ram, multifd;
    char message[64]; /* "": accepted */
} Medium;
ParameterizedTestParameters(capabilities, media)
{
    static Medium rows[] = {
        {"tcp:h:1",     FALSE, TRUE,  ""                                  },
        {"unix:/s",     FALSE, TRUE,  ""                                  },
        {"exec:true",   FALSE, FALSE, ""                                  },
        {"file:/f",     FALSE, FALSE, ""                                  },
        {"file:/f",     TRUE,  FALSE, ""                                  },
        {"file:/f",     TRUE,  TRUE,  ""                                  },
        {"exec:true",   FALSE, TRUE,  "'multifd' requires a tcp: or unix:"},
        {"fd:3",        FALSE, TRUE,  "'multifd' requires a tcp: or unix:"},
        {"file:/f",     FALSE, TRUE,  "'multifd' requires a tcp: or unix:"},
        {"tcp:h:1",     TRUE,  FALSE, "'mapped-ram' requires a file:"     },
        {"unix:/s",     TRUE,  TRUE,  "'mapped-ram' requires a file:"     },
        {"exec:cat >f", TRUE,  FALSE, "'mapped-ram' requires a file:"     },
        {"fd:3",        TRUE,  FALSE, "'mapped-ram' requires a file:"     },
    };
    return cr_make_param_array(Medium, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Medium *row, capabilities, media)
{
    g_auto(FerryAddress) address = {0};
    g_autoptr(GError) error = NULL;
    FerrySettings settings;
    gboolean good;

    ferry_settings_init(&settings);
    settings.mapped_ram = row->mapped_ram;
    settings.multifd = row->multifd;
    cr_assert(ferry_address_parse(row->uri, &address, NULL), "%s", row->uri);
    good = ferry_settings_check_address(&settings, &address, &error);
    cr_expect_eq(good, row->message[0] == '\0', "%s", row->uri);
    cr_expect(good || strstr(error->message, row->message), "%s: %s", row->uri,
              error ? error->message : "");
}

Test(parameters, a_choice_is_listed_by_its_word)
{
    FerrySettings settings;

    ferry_settings_init(&settings);
    cr_expect_str_eq(get(&settings, "multifd-compression").text, "none");
    cr_expect_str_eq(get(&settings, "zero-page-detection").text, "multifd");
    cr_assert(
        ferry_settings_set_parameter(&settings, "multifd-compression", 0, "zstd", FALSE, NULL));
    cr_assert(
        ferry_settings_set_parameter(&settings, "zero-page-detection", 0, "none", FALSE, NULL));
    cr_expect_str_eq(get(&settings, "multifd-compression").text, "zstd");
    cr_expect_str_eq(get(&settings, "zero-page-detection").text, "none");
    cr_expect_eq(settings.multifd_compression, FERRY_MULTIFD_ZSTD);
    cr_expect_eq(settings.zero_pages, FERRY_ZERO_PAGES_NONE);
}

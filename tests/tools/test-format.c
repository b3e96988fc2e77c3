#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tools/format.h"

typedef struct {
    char text[32];
    gboolean accepted;
    uint64_t value;
} Row;

ParameterizedTestParameters(format, sizes)
{
    static Row rows[] = {
        {"0",                    TRUE,  0          },
        {"4096",                 TRUE,  4096       },
        {"4096B",                TRUE,  4096       },
        {"64K",                  TRUE,  64 << 10   },
        {"512M",                 TRUE,  512 << 20  },
        {"512m",                 TRUE,  512 << 20  },
        {"512MiB",               TRUE,  512 << 20  },
        {"1.5G",                 TRUE,  1536u << 20},
        {"2T",                   TRUE,  2ull << 40 },
        {"0.1K",                 TRUE,  102        },
        {"9223372036854775807",  TRUE,  G_MAXINT64 },
        {"9223372036854775808",  FALSE, 0          },
        {"18446744073709551616", FALSE, 0          },
        {"8388608T",             FALSE, 0          },
        {"",                     FALSE, 0          },
        {"M",                    FALSE, 0          },
        {"-1",                   FALSE, 0          },
        {"+1",                   FALSE, 0          },
        {" 1",                   FALSE, 0          },
        {"1 M",                  FALSE, 0          },
        {"1.",                   FALSE, 0          },
        {"1.5",                  FALSE, 0          },
        {"512MB",                FALSE, 0          },
        {"0x10",                 FALSE, 0          },
        {"1Gbit/s",              FALSE, 0          },
        {"nan",                  FALSE, 0          },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, format, sizes)
{
    g_autoptr(GError) error = NULL;
    uint64_t value = 0;

    cr_expect_eq(ferry_parse_size(row->text, &value, &error), row->accepted, "%s", row->text);
    cr_expect_eq(value, row->value, "%s: %" G_GUINT64_FORMAT, row->text, value);
    cr_expect_eq(error == NULL, row->accepted, "%s", row->text);
}

ParameterizedTestParameters(format, rates)
{
    static Row rows[] = {
        {"0",                         TRUE,  0        },
        {"500M",                      TRUE,  500 << 20},
        {"500M/s",                    TRUE,  500 << 20},
        {"500MiB/s",                  TRUE,  500 << 20},
        {"1Gbit/s",                   TRUE,  125000000},
        {"2.5Gbit/s",                 TRUE,  312500000},
        {"800Mbit/s",                 TRUE,  100000000},
        {"100kbit/s",                 TRUE,  12500    },
        {"9bit/s",                    TRUE,  1        },
        {"18446744073709551616bit/s", FALSE, 0        },
        {"1Gbit",                     FALSE, 0        },
        {"1Gibit/s",                  FALSE, 0        },
        {"/s",                        FALSE, 0        },
        {"fast",                      FALSE, 0        },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, format, rates)
{
    uint64_t value = 0;

    cr_expect_eq(ferry_parse_rate(row->text, &value, NULL), row->accepted, "%s", row->text);
    cr_expect_eq(value, row->value, "%s: %" G_GUINT64_FORMAT, row->text, value);
}

ParameterizedTestParameters(format, times)
{
    static Row rows[] = {
        {"300",   TRUE,  300 },
        {"300ms", TRUE,  300 },
        {"2s",    TRUE,  2000},
        {"0.03s", TRUE,  30  },
        {"1.5s",  TRUE,  1500},
        {"1min",  FALSE, 0   },
        {"0.5",   FALSE, 0   },
        {"s",     FALSE, 0   },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, format, times)
{
    uint64_t value = 0;

    cr_expect_eq(ferry_parse_ms(row->text, &value, NULL), row->accepted, "%s", row->text);
    cr_expect_eq(value, row->value, "%s: %" G_GUINT64_FORMAT, row->text, value);
}

ParameterizedTestParameters(format, fine_times)
{
    static Row rows[] = {
        {"300",   TRUE,  300000000   },
        {"0.2",   TRUE,  200000      },
        {"200us", TRUE,  200000      },
        {"7ns",   TRUE,  7           },
        {"1.5s",  TRUE,  1500000000  },
        {"10min", TRUE,  600000000000},
        {"",      FALSE, 0           },
        {"ms",    FALSE, 0           },
        {"-1",    FALSE, 0           },
        {"1h",    FALSE, 0           },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, format, fine_times)
{
    uint64_t value = 0;

    cr_expect_eq(ferry_parse_ns(row->text, &value, NULL), row->accepted, "%s", row->text);
    cr_expect_eq(value, row->value, "%s: %" G_GUINT64_FORMAT, row->text, value);
}

typedef struct {
    uint64_t bytes;
    char text[32];
} Shown;

ParameterizedTestParameters(format, bytes_are_shown_with_their_unit)
{
    static Shown rows[] = {
        {0,             "0 B"       },
        {1023,          "1023 B"    },
        {1024,          "1.0 KiB"   },
        {1048575,       "1.0 MiB"   },
        {256 << 20,     "256.0 MiB" },
        {5ull << 40,    "5.0 TiB"   },
        {5000ull << 40, "5000.0 TiB"},
    };
    return cr_make_param_array(Shown, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Shown *row, format, bytes_are_shown_with_their_unit)
{
    g_autofree char *text = ferry_format_bytes(row->bytes);

    cr_expect_str_eq(text, row->text);
}

Test(format, times_and_rates_are_shown_with_their_unit)
{
    g_autofree char *ms = ferry_format_ms(12.44);
    g_autofree char *s = ferry_format_ms(3210);
    g_autofree char *rate = ferry_format_bandwidth_words(64 << 20);

    cr_expect_str_eq(ms, "12.4 ms");
    cr_expect_str_eq(s, "3.21 s");
    cr_expect_str_eq(rate, "64.0 MiB/s (537 Mbit/s)");
}

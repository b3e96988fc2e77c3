/* Headers that are absurd are refused, with words for what is wrong. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "trace/header.h"

typedef struct {
    char text[160], what[60];
} Row;

#define BLOCK "{\"name\": \"r\", \"pages\": 1}"
#define HEAD(x) "{\"page_bytes\": 4096, \"method\": \"m\", " x "}"

ParameterizedTestParameters(header, json)
{
    static Row rows[] = {
        {HEAD("\"blocks\": [" BLOCK "]"),                                              ""                            },
        {HEAD("\"blocks\": []"),                                                       ""                            },
        {HEAD("\"blocks\": [], \"host\": null"),                                       "host: not a string"          },
        {HEAD("\"blocks\": {}"),                                                       "blocks: not an array"        },
        {HEAD("\"blocks\": [1]"),                                                      "block 0: not an object"      },
        {HEAD("\"blocks\": [{\"pages\": 1}]"),                                         "block 0: no name"            },
        {HEAD("\"blocks\": [{\"name\": \"r\"}]"),                                      "block 0: no name or no pages"},
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 1.0}]"),                      "pages: not an integer"       },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": \"1\"}]"),                    "pages: not an integer"       },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": -1}]"),                       "pages: not an integer"       },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 1099511627777}]"),            "pages: not an"               },
        {HEAD("\"blocks\": [" BLOCK ", {\"name\": \"r\", \"pages\": 1099511627776}]"), "2^40"                        },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 99999999999999999999}]"),     "JSON, byte"                  },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 9223372036854775808}]"),      "JSON, byte"                  },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 010}]"),                      "JSON, byte"                  },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 0x10}]"),                     "JSON, byte"                  },
        {HEAD("\"blocks\": [{\"name\": \"r\", \"pages\": 1, \"page_bytes\": 5000}]"),
         "power of two"                                                                                              },
        {HEAD("\"blocks\": [], \"seed\": -1"),                                         "seed: not an integer"        },
        {HEAD("\"blocks\": [], \"n_vcpu\": 4294967296"),                               "n_vcpu: not an integer"      },
        {HEAD("\"blocks\": [], \"host\": \"\\ud800\""),                                "JSON"                        },
        {HEAD("\"blocks\": [], \"host\": \"\xff\""),                                   "not UTF-8"                   },
        {HEAD("\"blocks\": [], \"x\": \"a\nb\""),                                      "JSON, byte"                  },
        {HEAD("\"blocks\": [] /* */"),                                                 "JSON, byte"                  },
        {HEAD("\"blocks\": []]"),                                                      "unbalanced"                  },
        {HEAD("\"blocks\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),              "nested"                      },
        {HEAD("\"blocks\": [], \"x\": \"\\"),                                          "JSON"                        },
        {HEAD("\"x\": []"),                                                            "blocks"                      },
        {"{\"page_bytes\": 4096, \"blocks\": []}",                                     "no method"                   },
        {"{\"page_bytes\": 4095, \"method\": \"m\", \"blocks\": []}",                  "page_bytes"                  },
        {"{\"page_bytes\": 256, \"method\": \"m\", \"blocks\": []}",                   "page_bytes"                  },
        {"{\"page_bytes\": 2147483648, \"method\": \"m\", \"blocks\": []}",            "page_bytes"                  },
        {"{\"method\": \"m\", \"blocks\": []}",                                        "page_bytes"                  },
        {"[]",                                                                         "not an object"               },
        {"",                                                                           "JSON"                        },
        {"true",                                                                       "not an object"               },
        {" ",                                                                          "JSON"                        },
        {"x = {}",                                                                     "JSON"                        },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, header, json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryTraceHeader) h =
        ferry_trace_header_from_json(row->text, strlen(row->text), &error);

    cr_assert_eq(h != NULL, row->what[0] == '\0', "%s", row->text);
    if (!h) {
        cr_assert(error && error->domain == FERRY_TRACE_ERROR);
        cr_assert(strstr(error->message, row->what), "%s: %s", row->text, error->message);
    }
}

Test(header, comes_back)
{
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();
    FerryTraceBlock block = {.name = g_strdup("\"tab\t, path \xc3\xa4"),
                             .pages = 7,
                             .page_bytes = 2u << 20,
                             .backing = g_strdup("2m"),
                             .gpa = UINT64_C(1) << 32};

    h->page_bytes = 65536;
    h->method = g_strdup("kvm-ring");
    h->interval_ns = 1;
    h->start_wall_ns = UINT64_C(1700000000000000000);
    h->start_monotonic_ns = 3;
    h->seed = G_MAXINT64;
    h->n_vcpu = 5;
    h->host = g_strdup("h");
    h->guest = g_strdup("g");
    h->tool = g_strdup("t");
    h->workload = g_strdup("w\\");
    h->licence = g_strdup("l");
    h->provenance = g_strdup("p\n");
    ferry_trace_header_add(h, "pc.ram", 3);
    g_array_append_val(h->blocks, block);
    cr_assert(ferry_trace_header_check(h, NULL));

    g_autofree char *text = ferry_trace_header_to_json(h);
    g_autoptr(FerryTraceHeader) again = ferry_trace_header_from_json(text, strlen(text), NULL);
    cr_assert(again);
    g_autofree char *text_again = ferry_trace_header_to_json(again);
    cr_assert_str_eq(text, text_again);
    cr_assert_eq(ferry_trace_header_pages(again), 10);
    const FerryTraceBlock *blocks = (const FerryTraceBlock *)(const void *)again->blocks->data;
    cr_assert_eq(blocks[0].gpa, UINT64_MAX);
    cr_assert_null(blocks[0].backing);
    cr_assert_str_eq(blocks[1].name, block.name);
    cr_assert(blocks[1].gpa == block.gpa && blocks[1].page_bytes == block.page_bytes);
    cr_assert_str_eq(again->provenance, "p\n");
    cr_assert_eq(again->start_wall_ns, h->start_wall_ns);
    h->seed = UINT64_MAX;
    cr_assert(!ferry_trace_header_check(h, NULL));
}

/* A path may be any bytes; what is written is text all the same. */
Test(header, names_that_are_no_text)
{
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();

    h->method = g_strdup("pagemap-scan");
    ferry_trace_header_add(h, "/dir/\xff\xfe", 3);
    g_autofree char *text = ferry_trace_header_to_json(h);
    g_autoptr(FerryTraceHeader) again = ferry_trace_header_from_json(text, strlen(text), NULL);
    cr_assert(again);
    cr_assert(g_str_has_prefix(g_array_index(again->blocks, FerryTraceBlock, 0).name, "/dir/"));
}

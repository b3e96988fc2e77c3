#include "protocol/description.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/stream.h"

Test(description, is_written_as_qemu_writes_opaque_devices)
{
    static const FerryDescribedDevice devices[] = {
        {"timer",    0, 24},
        {"a\"b\\\n", 7, 0 },
    };
    size_t length;
    g_autofree char *text = ferry_description_write(4096, devices, 2, &length);

    cr_expect_str_eq(
        text, "{\"page_size\": 4096, \"devices\": [{\"name\": \"timer\", \"instance_id\": 0, "
              "\"size\": 24, \"fields\": [{\"name\": \"data\", \"size\": 24, \"type\": "
              "\"buffer\"}]}, {\"name\": \"a\\\"b\\\\\\u000a\", \"instance_id\": 7, \"size\": 0, "
              "\"fields\": [{\"name\": \"data\", \"size\": 0, \"type\": \"buffer\"}]}]}");
    cr_expect_eq(length, strlen(text));
}

Test(description, reads_back_what_it_wrote)
{
    static const FerryDescribedDevice devices[] = {
        {"timer",                0,          24        },
        {"0000:00:01.1/\"ide\"", UINT32_MAX, UINT32_MAX},
        {"f\xc3\xa9",            1,          0         },
    };
    size_t length;
    g_autofree char *text = ferry_description_write(4096, devices, 3, &length);
    g_autoptr(FerryDescription) d = ferry_description_parse(text, length, NULL);

    cr_assert_not_null(d);
    cr_assert_eq(ferry_description_get_n_devices(d), 3);
    for (size_t i = 0; i < 3; i++) {
        const FerryDescribedDevice *got = &ferry_description_get_devices(d)[i];

        cr_expect_str_eq(got->idstr, devices[i].idstr);
        cr_expect_eq(got->instance_id, devices[i].instance_id);
        cr_expect_eq(got->body_bytes, devices[i].body_bytes);
    }
}

/* size * array_len, structs by their own size, subsections with their headers, nested. */
Test(description, adds_up_fields_and_subsections)
{
    static const char text[] =
        "{\"configuration\": {\"vmsd_name\": \"configuration\", \"version\": 1}, "
        "\"page_size\": 4096, \"devices\": [{\"name\": \"x\", \"instance_id\": 3, "
        "\"vmsd_name\": \"x\", \"version\": 2, \"fields\": ["
        "{\"name\": \"a\", \"type\": \"uint32\", \"size\": 4}, "
        "{\"name\": \"b\", \"array_len\": 10, \"type\": \"uint16\", \"size\": 2}, "
        "{\"name\": \"c\", \"index\": 0, \"type\": \"struct\", \"struct\": {\"fields\": "
        "[{\"size\": 99}]}, \"size\": 5}], "
        "\"subsections\": [{\"vmsd_name\": \"x/one\", \"version\": 1, \"fields\": [{\"size\": 1}], "
        "\"subsections\": [{\"vmsd_name\": \"x/one/two\", \"version\": 1, \"fields\": []}]}]}]}";
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryDescription) d = ferry_description_parse(text, sizeof text - 1, &error);

    cr_assert_not_null(d, "%s", error ? error->message : "");
    cr_expect_eq(ferry_description_get_devices(d)[0].body_bytes,
                 4 + 20 + 5 + (1 + 1 + 5 + 4 + 1) + (1 + 1 + 9 + 4));
}

typedef struct {
    char what[40];
    char text[160];
    char message[32];
} Row;

#define DEVICE "{\"devices\": [{\"name\": \"x\", \"instance_id\": 0, \"fields\": ["
ParameterizedTestParameters(description, refuses)
{
    static Row rows[] = {
        {"empty",                     "",                                                                "not a JSON"      },
        {"no object",                 "[1]",                                                             "not a JSON"      },
        {"cut",                       "{\"devices\": [",                                                 "not a JSON"      },
        {"not JSON (M15)",            "{\"devices\": }",                                                 ""                },
        {"closes too often",          "{}}",                                                             "unbalanced"      },
        {"a comment that hides",      "{/*\"*/}",                                                        "not JSON"        },
        {"no devices",                "{\"page_size\": 4096}",                                           "no list"         },
        {"devices no list",           "{\"devices\": 5}",                                                "no list"         },
        {"device no object",          "{\"devices\": [5]}",                                              "a device without"},
        {"device without name",       "{\"devices\": [{\"instance_id\": 0}]}",                           "a device without"},
        {"name no string",            "{\"devices\": [{\"name\": 5, \"instance_id\": 0}]}",
         "a device without"                                                                                                },
        {"negative instance",         "{\"devices\": [{\"name\": \"x\", \"instance_id\": -1}]}",
         "a device without"                                                                                                },
        {"instance too large",        "{\"devices\": [{\"name\": \"x\", \"instance_id\": 4294967296}]}",
         "a device without"                                                                                                },
        {"empty name",                "{\"devices\": [{\"name\": \"\", \"instance_id\": 0}]}",           "not text"        },
        {"name escaped into no text", "{\"devices\": [{\"name\": \"a\\615\", \"instance_id\": 0}]}",
         "not text"                                                                                                        },
        {"no fields",                 "{\"devices\": [{\"name\": \"x\", \"instance_id\": 0}]}",          "without fields"  },
        {"field without size",        DEVICE "{}]}]}",                                                   "without a size"  },
        {"negative size",             DEVICE "{\"size\": -1}]}]}",                                       "without a size"  },
        {"size no integer",           DEVICE "{\"size\": 1.5}]}]}",                                      "without a size"  },
        {"array_len no integer",      DEVICE "{\"size\": 1, \"array_len\": \"2\"}]}]}",                  "bad array_len"   },
        {"product overflows",         DEVICE "{\"size\": 9223372036854775807, \"array_len\": 3}]}]}",
         "overflow"                                                                                                        },
        {"sum overflows",
         DEVICE
         "{\"size\": 9223372036854775807}, {\"size\": 9223372036854775807}, {\"size\": 2}]}]}",          "overflow"        },
        {"subsection without a name", DEVICE "], \"subsections\": [{\"fields\": []}]}]}",
         "without a name"                                                                                                  },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, description, refuses)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *own = g_memdup2(row->text, MAX(strlen(row->text), 1)); /* without NUL */

    cr_assert_null(ferry_description_parse(own, strlen(row->text), &error), "%s", row->what);
    cr_expect_eq(error->domain, FERRY_PROTOCOL_ERROR);
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
}

/* M15: neither nesting nor the number of values reaches the parser. */
Test(description, bounds_what_the_parser_sees)
{
    g_autoptr(GError) deep_error = NULL, many_error = NULL;
    g_autoptr(GString) deep = g_string_new("{\"a\": ");
    g_autoptr(GString) many = g_string_new("{\"a\": [");

    for (int i = 0; i < 1000000; i++) {
        g_string_append_c(deep, '[');
        g_string_append(many, "0,");
    }
    g_string_append_c(deep, '}');
    g_string_append(many, "0]}");
    cr_expect_null(ferry_description_parse(deep->str, deep->len, &deep_error));
    cr_expect(g_error_matches(deep_error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT));
    cr_expect_null(ferry_description_parse(many->str, many->len, &many_error));
    cr_expect(g_error_matches(many_error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT));
}

Test(description, free_of_nothing_does_nothing) { ferry_description_free(NULL); }

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "engine/qmp-framer.h"

/* What comes out of @bytes, fed @step at a time: messages in brackets <>, faults as !. */
static char *frames(const char *bytes, gsize n, gsize step)
{
    GString *out = g_string_new(NULL);
    FerryQmpFramer framer;

    ferry_qmp_framer_init(&framer);
    for (gsize at = 0; at < n;) {
        gsize used;
        switch (ferry_qmp_framer_push(&framer, bytes + at, MIN(step, n - at), &used)) {
        case FERRY_QMP_MORE:
            break;
        case FERRY_QMP_MESSAGE:
            g_string_append_printf(out, "<%s>", framer.message->str);
            break;
        case FERRY_QMP_BAD:
            cr_assert_neq(framer.why, NULL);
            g_string_append_c(out, '!');
            break;
        }
        cr_assert_gt(used, 0);
        at += used;
    }
    ferry_qmp_framer_clear(&framer);
    return g_string_free(out, FALSE);
}

typedef struct {
    char bytes[64], expected[64];
} Row;

ParameterizedTestParameters(qmp_framer, finds_messages)
{
    static Row rows[] = {
        {"{}",                     "<{}>"                    },
        {"{}{}",                   "<{}><{}>"                },
        {" \r\n{\"a\": 1}\n\t[2]", "<{\"a\": 1}><[2]>"       },
        {"{\"a\": {\"b\": [{}]}}", "<{\"a\": {\"b\": [{}]}}>"},
        {"{\"a\": \"}]\\\"{\"}",   "<{\"a\": \"}]\\\"{\"}>"  },
        {"{\"a\\\\\": 1}",         "<{\"a\\\\\": 1}>"        },
        {"{'a': 'b\"c'}",          "<{\"a\": \"b\\\"c\"}>"   },
        {"{'a': 'b\\'c'}",         "<{\"a\": \"b'c\"}>"      },
        {"garbage{}",              "!<{}>"                   },
        {"} ] 12 \"a\"{}",         "!<{}>"                   },
        {"{}}{}",                  "<{}>!<{}>"               },
        {"{\"a\": ]{}",            "!<{}>"                   },
        {"[}{}",                   "!<{}>"                   },
        {"{\"half\xff{}",          "!<{}>"                   },
        {"{\"half\": \xff{}",      "!<{}>"                   },
        {"{\"half\n{}",            "!<{}>"                   },
        {"{\"half\": \x01{}",      "!<{}>"                   },
        {"{\"a\": \"\xc3\xa4\"}",  "<{\"a\": \"\xc3\xa4\"}>" },
        {"{\"open\": {",           ""                        },
        {"",                       ""                        },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, qmp_framer, finds_messages)
{
    gsize n = strlen(row->bytes);

    for (gsize step = 1; step <= MAX(n, 1); step++) {
        g_autofree char *out = frames(row->bytes, n, step);
        cr_expect_str_eq(out, row->expected, "%s by %zu", row->bytes, step);
    }
}

Test(qmp_framer, too_deep_is_refused_once_and_passed_over)
{
    for (gsize depth = FERRY_QMP_DEPTH_MAX - 1; depth <= FERRY_QMP_DEPTH_MAX + 2000;
         depth += 1000) {
        g_autofree char *open = g_strnfill(depth, '[');
        g_autofree char *close = g_strnfill(depth, ']');
        g_autofree char *text = g_strconcat(open, close, "{}", NULL);
        g_autofree char *out = frames(text, strlen(text), 100);
        if (depth > FERRY_QMP_DEPTH_MAX) {
            cr_expect_str_eq(out, "!<{}>");
        } else {
            cr_expect_eq(out[0], '<');
        }
    }
}

Test(qmp_framer, too_long_is_refused_once_and_not_kept)
{
    g_autofree char *filler = g_strnfill(3 * FERRY_QMP_MESSAGE_MAX, 'x');
    g_autofree char *text = g_strconcat("{\"", filler, "\": {}}{}", NULL);
    gsize n = strlen(text), at = 0, used;
    unsigned bad = 0, good = 0;
    FerryQmpFramer framer;

    ferry_qmp_framer_init(&framer);
    for (; at < n; at += used) {
        FerryQmpFrame frame = ferry_qmp_framer_push(&framer, text + at, MIN(4096, n - at), &used);
        bad += frame == FERRY_QMP_BAD;
        good += frame == FERRY_QMP_MESSAGE;
        cr_assert_leq(framer.message->len, FERRY_QMP_MESSAGE_MAX);
    }
    ferry_qmp_framer_clear(&framer);
    cr_expect_eq(bad, 1);
    cr_expect_eq(good, 1);
}

/* Any bytes: it consumes them all, answers within bounds, and finds a message after a 0xff. */
Test(qmp_framer, survives_anything)
{
    static const char alphabet[] = "{}[]\"'\\,: \n\x01\xff"
                                   "a1";
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (unsigned round = 0; round < 2000; round++) {
        g_autoptr(GString) text = g_string_new(NULL);
        g_autofree char *out = NULL;
        for (unsigned n = g_rand_int_range(rand, 0, 60); n > 0; n--) {
            g_string_append_c(text,
                              alphabet[g_rand_int_range(rand, 0, (gint32)sizeof alphabet - 1)]);
        }
        g_string_append(text, "\xff{\"last\": 1}");
        out = frames(text->str, text->len, (gsize)g_rand_int_range(rand, 1, 20));
        cr_expect(g_str_has_suffix(out, "<{\"last\": 1}>"), "%s", text->str);
    }
}

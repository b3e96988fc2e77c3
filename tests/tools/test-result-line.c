#include <criterion/criterion.h>
#include <math.h>

#include "tools/result-line.h"

Test(result_line, members_in_their_order)
{
    const char *const words[] = {"a", "b\"c", NULL};
    FerryResultLine line;

    ferry_result_line_begin(&line, "run");
    ferry_result_line_texts(&line, "command", words);
    ferry_result_line_open(&line, "downtime", '{');
    ferry_result_line_ms(&line, "pause_ms", 1500000);
    ferry_result_line_count(&line, "pages", 7);
    ferry_result_line_close(&line, '}');
    ferry_result_line_number(&line, "ratio", 2);
    g_autofree char *text = ferry_result_line_end(&line);
    cr_expect_str_eq(text, "{\"type\":\"run\",\"command\":[\"a\",\"b\\\"c\"],\"downtime\":"
                           "{\"pause_ms\":1.5,\"pages\":7},\"ratio\":2}\n");
}

Test(result_line, what_is_not_known_is_absent)
{
    FerryResultLine line;

    ferry_result_line_begin(&line, "run");
    ferry_result_line_text(&line, "error", NULL);
    ferry_result_line_count(&line, "rounds", FERRY_RESULT_UNKNOWN);
    ferry_result_line_ms(&line, "total_ms", FERRY_RESULT_UNKNOWN);
    ferry_result_line_number(&line, "a", NAN);
    ferry_result_line_number(&line, "b", INFINITY);
    g_autofree char *text = ferry_result_line_end(&line);
    cr_expect_str_eq(text, "{\"type\":\"run\"}\n");
}

Test(result_line, numbers_look_the_same_everywhere)
{
    const double values[] = {0, -0.0001, 0.1, 1.0005, 100, 1234567.25, 1e15};
    FerryResultLine line;

    ferry_result_line_begin(&line, "x");
    ferry_result_line_open(&line, "n", '[');
    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        ferry_result_line_number(&line, NULL, values[i]);
    }
    ferry_result_line_close(&line, ']');
    g_autofree char *text = ferry_result_line_end(&line);
    cr_expect_str_eq(text, "{\"type\":\"x\",\"n\":[0,0,0.1,1,100,1234567.25,1000000000000000]}\n");
}

Test(result_line, text_from_files_cannot_break_a_line)
{
    FerryResultLine line;

    ferry_result_line_begin(&line, "x");
    ferry_result_line_text(&line, "t", "\"\\\n\x01\xff");
    g_autofree char *text = ferry_result_line_end(&line);
    cr_expect_str_eq(text, "{\"type\":\"x\",\"t\":\"\\\"\\\\\\u000a\\u0001\xef\xbf\xbd\"}\n");
}

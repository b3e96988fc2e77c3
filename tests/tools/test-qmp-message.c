#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tools/qmp-client.h"

typedef struct {
    char text[48];
    size_t length;
} Row;

ParameterizedTestParameters(qmp_message, ends_with_its_outermost_brace)
{
    static Row rows[] = {
        {"",                         0 },
        {"\r\n",                     0 },
        {"{",                        0 },
        {"{}",                       2 },
        {"{}{}",                     2 },
        {" \r\n{\"a\": 1}\r\n",      11},
        {"{\"a\": {\"b\": [{}]}} {", 18},
        {"{\"a\": {}",               0 },
        {"{\"}\": \"{\"}",           10},
        {"{\"\\\"}\": 1}",           10},
        {"{\"\\\\\": 1}",            9 },
        {"{\"a",                     0 },
        {"{\"a\\",                   0 },
        {"} {}",                     4 },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, qmp_message, ends_with_its_outermost_brace)
{
    cr_expect_eq(ferry_qmp_message_length(row->text, strlen(row->text)), row->length, "%s",
                 row->text);
}

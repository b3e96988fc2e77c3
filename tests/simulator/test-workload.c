#include "simulator/workload.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define RAM (256u << 20)

typedef struct {
    char text[60];
    unsigned n_groups;
    uint64_t pages0, pages1;
    double writes0, writes1;
    unsigned scattered;
} Good;

ParameterizedTestParameters(workload, parses)
{
    static Good rows[] = {
        {"uniform,size=64M,rate=1000",                    2,  16384, 49152, 1000, 0,   0 },
        {"uniform,rate=1",                                2,  32768, 32768, 1,    0,   0 },
        {"uniform,size=256M,rate=5,seed=3,fill=random",   1,  65536, 0,     5,    0,   0 },
        {"hot-cold,size=40M,hot=4096,rate=1000,share=75", 3,  1,     10239, 750,  250, 0 },
        {"hot-cold,size=40M,rate=1000",                   3,  1024,  9216,  900,  100, 0 },
        {"hot-cold,size=4M,hot=4M,rate=10",               2,  1024,  64512, 10,   0,   0 },
        {"zipf,size=4095K,rate=110",                      12, 1,     2,     10,   10,  11},
        {"sweep,size=8K,rate=7",                          2,  2,     65534, 7,    0,   0 },
        {"idle",                                          2,  32768, 32768, 1,    0,   0 },
    };
    return cr_make_param_array(Good, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Good *row, workload, parses)
{
    FerryWorkload w;
    const char *why = NULL;

    cr_assert(ferry_workload_parse(row->text, RAM, &w, &why), "%s: %s", row->text, why);
    cr_expect_eq(ferry_workload_pages(&w), RAM / 4096, "%s: all of memory", row->text);
    cr_expect_eq(w.n_groups, row->n_groups, "%s: %u groups", row->text, w.n_groups);
    cr_expect_eq(w.groups[0].pages, row->pages0, "%s", row->text);
    cr_expect_eq(w.groups[1].pages, row->pages1, "%s", row->text);
    cr_expect_float_eq(w.groups[0].writes_per_second, row->writes0, 1e-9, "%s", row->text);
    cr_expect_float_eq(w.groups[1].writes_per_second, row->writes1, 1e-9, "%s", row->text);
    cr_expect_eq(w.scattered, row->scattered, "%s", row->text);
}

typedef struct {
    char text[60];
} Bad;

ParameterizedTestParameters(workload, refuses)
{
    static Bad rows[] = {
        {""},
        {"unifor"},
        {"uniform"},
        {"uniform,"},
        {"uniform,rate"},
        {"uniform,rate="},
        {"uniform,rate=1x"},
        {"uniform,rate=-1"},
        {"uniform,rate=99999999999999999999999"},
        {"uniform,rate=17179869184G"},
        {"uniform,rate=1,size=257M"},
        {"uniform,rate=1,speed=3"},
        {"hot-cold,rate=1,size=1M,hot=2M"},
        {"hot-cold,rate=1,share=101"},
        {"zipf,rate=0"},
    };
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bad *row, workload, refuses)
{
    FerryWorkload w;
    const char *why = NULL;

    cr_expect_not(ferry_workload_parse(row->text, RAM, &w, &why), "%s", row->text);
    cr_expect(why && *why, "%s", row->text);
}

Test(workload, what_is_written_saturates)
{
    FerryWorkload w = {
        .n_groups = 3,
        .groups = {{.pages = 1000, .writes_per_second = 1000},
                   {.pages = 500, .writes_per_second = 100, .sweep = TRUE},
                   {.pages = 99}}
    };

    cr_expect_float_eq(ferry_workload_written(&w, 1), 1000 * 0.6321205588 + 100, 1e-3);
    cr_expect_float_eq(ferry_workload_written(&w, 1000), 1500, 1e-3);
    cr_expect_eq(ferry_workload_written(&w, 0), 0);
}

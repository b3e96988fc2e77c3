#include "simulator/models.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)

Test(models, each_is_built_and_says_its_defaults)
{
    for (unsigned i = 0; ferry_model_nth(i); i++) {
        const FerryModel *m = ferry_model_nth(i);
        g_autoptr(GError) error = NULL;
        FerryWorkload a, b;
        gboolean needs_rate = strcmp(m->keys, "rate=") == 0;
        g_autofree char *text =
            g_strdup_printf("%s,%s%s", m->name, m->keys, needs_rate ? "1000" : "zero=0");
        g_autofree char *other = g_strdup_printf("%s%s", m->name, needs_rate ? ",rate=1000" : "");
        if (!needs_rate && *m->keys) {
            g_free(text);
            text = g_strdup_printf("%s,%s", m->name, m->keys);
        }
        cr_assert(ferry_model_parse(text, 64 * GIB, &a, &error), "%s", error->message);
        cr_assert(ferry_model_parse(other, 64 * GIB, &b, &error), "%s", error->message);
        cr_expect_eq(memcmp(&a, &b, sizeof a), 0, "%s: defaults are what it says", m->name);
        cr_expect_eq(ferry_workload_pages(&a), 64 * GIB / 4096, "%s: all of memory", m->name);
        for (unsigned j = 0; j < a.n_groups; j++) {
            cr_expect(!a.groups[j].sweep || j >= a.scattered, "%s", m->name);
        }
        /* A small guest too. */
        cr_expect(ferry_model_parse(other, GIB / 8, &b, &error), "%s", m->name);
    }
}

typedef struct {
    char text[60];
    double seconds, mb_least, mb_most;
} Published;

/* What was measured of them: see docs/workloads.md. */
ParameterizedTestParameters(models, write_as_much_as_was_published)
{
    static Published rows[] = {
        {"idle-linux",        1,   0.2,  5   },
        {"k8s-node",          1,   70,   90  },
        {"k8s-node",          20,  400,  800 },
        {"postgres-4",        1,   20,   30  },
        {"postgres-4",        24,  280,  340 },
        {"postgres-16",       1,   110,  135 },
        {"postgres-16",       24,  1070, 1220},
        {"postgres-readonly", 1.5, 205,  240 },
        {"java-warehouse",    1,   265,  290 },
        {"memtouch",          3,   5400, 5700},
        {"page-writer",       0.1, 150,  170 },
        {"mm-dirty",          1,   520,  530 },
    };
    return cr_make_param_array(Published, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Published *row, models, write_as_much_as_was_published)
{
    FerryWorkload w;

    cr_assert(ferry_model_parse(row->text, 8 * GIB, &w, NULL));
    double mb = ferry_workload_written(&w, row->seconds) * 4096 / 1e6;
    cr_expect(mb >= row->mb_least && mb <= row->mb_most, "%s: %.0f MB in %g s", row->text, mb,
              row->seconds);
}

typedef struct {
    char text[60], says[40];
} Bad;

ParameterizedTestParameters(models, refuses)
{
    static Bad rows[] = {
        {"",                          "known are uniform" },
        {"postgres",                  "postgres-readonly" },
        {"redis,speed=3",             "'speed=3'"         },
        {"redis,size",                "'size'"            },
        {"redis,size=",               "'size='"           },
        {"redis,size=9G",             "larger"            },
        {"redis,rate=1000000001",     "range"             },
        {"redis,burst=-1",            "range"             },
        {"idle-linux,size=1M,hot=2M", "hot is larger"     },
        {"mm-dirty,pattern=randomly", "'pattern=randomly'"},
        {"nfv,hot=17G",               "larger"            },
        {"redis,,",                   "''"                },
        {"uniform",                   "a rate is needed"  },
        {"guestperf-stress,vcpus=33", "range"             },
        {"k8s-node,swing=1001",       "range"             },
    };
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bad *row, models, refuses)
{
    g_autoptr(GError) error = NULL;
    FerryWorkload w;

    cr_assert_not(ferry_model_parse(row->text, 8 * GIB, &w, &error), "%s", row->text);
    cr_expect(strstr(error->message, row->says), "%s: %s", row->text, error->message);
}

Test(models, mm_dirty_has_the_knobs_of_its_namesake)
{
    FerryWorkload w;

    cr_assert(ferry_model_parse("mm-dirty,size=500,rate=100,pattern=once", 8 * GIB, &w, NULL));
    cr_expect_eq(w.groups[0].pages, 128000);
    cr_expect_float_eq(w.groups[0].writes_per_second, 25600, 1e-6);
    cr_expect(w.groups[0].sweep && w.groups[0].once);
    cr_assert(ferry_model_parse("mm-dirty,size=1G,pattern=random", 8 * GIB, &w, NULL));
    cr_expect_eq(w.groups[0].pages, 262144);
    cr_expect_not(w.groups[0].sweep);
}

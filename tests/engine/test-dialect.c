/* What a destination of a given version with a given machine type is to be sent. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/dialect.h"
#include "engine/error.h"

typedef struct {
    char machine[24], version[12]; /* "": not known */
    gboolean flush_per_round, switchover_start, compress_page;
} Known;

ParameterizedTestParameters(dialect, known)
{
    static Known rows[] = {
  /* the machine type decides, on every binary that has it */
        {"pc-i440fx-7.2",        "7.2",     FALSE, FALSE, TRUE },
        {"pc-i440fx-7.2",        "7.2.22",  FALSE, FALSE, TRUE },
        {"pc-i440fx-7.2",        "8.1",     FALSE, FALSE, TRUE },
        {"pc-i440fx-7.2",        "9.0.4",   FALSE, FALSE, TRUE },
        {"pc-i440fx-7.2",        "9.1",     FALSE, FALSE, FALSE},
        {"pc-i440fx-7.2",        "10.0.13", FALSE, FALSE, FALSE},
        {"pc-i440fx-7.2",        "11.1",    FALSE, FALSE, FALSE},
        {"pc-q35-8.0",           "8.0",     FALSE, FALSE, TRUE },
        {"pc-q35-8.0",           "10.0",    FALSE, FALSE, FALSE},
        {"pc-q35-8.1",           "8.1",     TRUE,  FALSE, TRUE },
        {"pc-q35-8.1",           "8.2.10",  TRUE,  FALSE, TRUE },
        {"virt-9.0",             "9.0",     TRUE,  FALSE, TRUE },
        {"virt-9.2",             "9.2",     TRUE,  FALSE, FALSE},
        {"virt-9.2",             "11.0",    TRUE,  FALSE, FALSE},
        {"pc-i440fx-10.0",       "10.0.13", TRUE,  TRUE,  FALSE},
        {"pc-i440fx-10.0",       "11.1",    TRUE,  TRUE,  FALSE},
        {"s390-ccw-virtio-10.2", "10.2",    TRUE,  TRUE,  FALSE},
        {"pc-i440fx-2.4",        "7.2",     FALSE, FALSE, TRUE },
 /* without a version of its own it is the binary */
        {"microvm",              "7.2",     FALSE, FALSE, TRUE },
        {"microvm",              "8.0",     FALSE, FALSE, TRUE },
        {"microvm",              "8.1",     TRUE,  FALSE, TRUE },
        {"microvm",              "9.2",     TRUE,  FALSE, FALSE},
        {"microvm",              "10.0",    TRUE,  TRUE,  FALSE},
        {"versatilepb",          "10.0",    TRUE,  TRUE,  FALSE},
        {"xlnx-zcu102",          "7.2",     FALSE, FALSE, TRUE },
        {"q35",                  "11.1",    TRUE,  TRUE,  FALSE},
 /* where the binary is not known it is at least as new, and no record is risked that a new
  * one has lost */
        {"pc-i440fx-7.2",        "",        FALSE, FALSE, FALSE},
        {"pc-i440fx-8.1",        "",        TRUE,  FALSE, FALSE},
        {"pc-i440fx-9.2",        "",        TRUE,  FALSE, FALSE},
        {"pc-i440fx-10.0",       "",        TRUE,  TRUE,  FALSE},
    };
    return cr_make_param_array(Known, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Known *row, dialect, known)
{
    FerryDialect d;
    GError *error = NULL;

    cr_assert(ferry_dialect_for(row->machine, row->version[0] ? row->version : NULL, &d, &error),
              "%s", error ? error->message : "");
    cr_expect_eq(d.flush_per_round, row->flush_per_round);
    cr_expect_eq(d.switchover_start, row->switchover_start);
    cr_expect_eq(d.compress_page, row->compress_page);
    cr_expect(!d.zero_in_packets, "memory that is not fresh would keep what it had");
}

typedef struct {
    char machine[24], version[12], says[48];
} Unknown;

ParameterizedTestParameters(dialect, unknown)
{
    static Unknown rows[] = {
        {"microvm",          "",       "has no version"           },
        {"pc-i440fx-7.2",    "7.1",    "QEMU 7.1 cannot run"      },
        {"pc-i440fx-10.0",   "7.2",    "QEMU 7.2 cannot run"      },
        {"microvm",          "2.3",    "QEMU 2.3 cannot run"      },
        {"pc-i440fx-2.3",    "7.2",    "before 2.4"               },
        {"pc-i440fx-2.3",    "",       "before 2.4"               },
        {"pc-q35-rhel9.2.0", "10.0",   "not one of QEMU's own"    },
        {"pc-i440fx-jammy",  "",       "not one of QEMU's own"    },
        {"virt-rhel8.6.0",   "9.0",    "not one of QEMU's own"    },
        {"pc-i440fx-7.2",    "seven",  "'seven' is not a version" },
        {"pc-i440fx-7.2",    "7",      "'7' is not a version"     },
        {"pc-i440fx-7.2",    "7.",     "'7.' is not a version"    },
        {"pc-i440fx-7.2",    "7.2rc1", "'7.2rc1' is not a version"},
        {"pc-i440fx-7.2",    " 7.2",   "' 7.2' is not a version"  },
        {"pc-i440fx-7.2",    "-7.2",   "'-7.2' is not a version"  },
        {"pc-i440fx-7.2",    "1000.2", "'1000.2' is not a version"},
        {"pc-i440fx-7.2.1",  "7.2",    "not one of QEMU's own"    },
    };
    return cr_make_param_array(Unknown, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Unknown *row, dialect, unknown)
{
    FerryDialect d = {.switchover_start = 7};
    GError *error = NULL;

    cr_assert(!ferry_dialect_for(row->machine, row->version[0] ? row->version : NULL, &d, &error));
    cr_expect(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED));
    cr_expect(strstr(error->message, row->says), "%s", error->message);
    cr_expect_eq(d.switchover_start, 7, "it is written only on success");
    g_error_free(error);
}

Test(dialect, between_ferrys_everything_is_understood)
{
    cr_expect(ferry_dialect_ferry.flush_per_round && ferry_dialect_ferry.zero_in_packets &&
              ferry_dialect_ferry.switchover_start && ferry_dialect_ferry.compress_page);
}

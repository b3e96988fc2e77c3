#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "dirtylog/maps.h"

typedef struct {
    char line[160];
    int good;
    uint64_t start, end;
    int writable, executable, shared, memory;
    char name[64];
} Row;

ParameterizedTestParameters(maps, line)
{
    static Row rows[] = {
        {"55d0c0de5000-55d0c0e06000 rw-p 00000000 00:00 0                          [heap]\n", 1,
         0x55d0c0de5000,                                                                                     0x55d0c0e06000, 1, 0, 0, 1, "[heap]"},
        {"7f00-8000 rw-p 00000000 00:00 0 \n",                                                1, 0x7f00,     0x8000,         1, 0, 0, 1, ""      },
        {"7f00-8000 r-xp 00001000 fe:01 1234   /usr/lib/a b.so\n",                            1, 0x7f00,     0x8000,         0, 1, 0, 0,
         "/usr/lib/a b.so"                                                                                                                       },
        {"7f00-8000 rw-s 00000000 00:01 99 /memfd:ram (deleted)\n",                           1, 0x7f00,     0x8000,         1, 0, 1, 1,
         "/memfd:ram (deleted)"                                                                                                                  },
        {"7f00-8000 rw-s 00000000 00:0f 7 anon_inode:kvm-vcpu:0\n",                           1, 0x7f00,     0x8000,         1, 0, 1, 0,
         "anon_inode:kvm-vcpu:0"                                                                                                                 },
        {"7f00-8000 rw-s 00000000 00:05 7 /dev/dri/card0\n",                                  1, 0x7f00,     0x8000,         1, 0, 1, 0,
         "/dev/dri/card0"                                                                                                                        },
        {"7f00-8000 rw-s 00000000 00:05 7 /dev/shm/x\n",                                      1, 0x7f00,     0x8000,         1, 0, 1, 1,
         "/dev/shm/x"                                                                                                                            },
        {"7fff0000-7fff8000 rw-p 00000000 00:00 0 [vvar]\n",                                  1, 0x7fff0000, 0x7fff8000,     1, 0, 0, 0,
         "[vvar]"                                                                                                                                },
        {"8000-7f00 rw-p 00000000 00:00 0 \n",                                                0, 0,          0,              0, 0, 0, 0, ""      },
        {"8000-8000 rw-p 00000000 00:00 0 \n",                                                0, 0,          0,              0, 0, 0, 0, ""      },
        {"-8000 rw-p\n",                                                                      0, 0,          0,              0, 0, 0, 0, ""      },
        {"7f00 rw-p\n",                                                                       0, 0,          0,              0, 0, 0, 0, ""      },
        {"7f00-8000 rw\n",                                                                    0, 0,          0,              0, 0, 0, 0, ""      },
        {"10000000000000000-20000000000000000 rw-p 0 0:0 0\n",                                0, 0,          0,              0, 0, 0, 0, ""      },
        {"7f00-8000 rw-p 00000000 00:00 0",                                                   0, 0,          0,              0, 0, 0, 0, ""      },
        {"",                                                                                  0, 0,          0,              0, 0, 0, 0, ""      },
    };

    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, maps, line)
{
    const char *at = row->line;
    FerryMapping m = {.end = 77};

    cr_assert_eq(ferry_maps_next(&at, &m), row->good, "%s", row->line);
    if (!row->good) {
        cr_expect_eq(at, row->line);
        cr_expect_eq(m.end, 77);
        return;
    }
    cr_expect_eq(m.start, row->start);
    cr_expect_eq(m.end, row->end);
    cr_expect_eq(m.writable, row->writable);
    cr_expect_eq(m.executable, row->executable);
    cr_expect_eq(m.shared, row->shared);
    cr_expect_eq(m.name_bytes, strlen(row->name));
    cr_expect(memcmp(m.name, row->name, m.name_bytes) == 0, "%s", row->line);
    cr_expect_eq(ferry_maps_is_memory(&m), row->memory, "%s", row->line);
    cr_expect(!ferry_maps_next(&at, &m));
}

Test(maps, lines_follow_each_other)
{
    const char *at = "1000-2000 rw-p 00000000 00:00 0 a\n3000-4000 r--p 00000000 00:00 0 \n";
    FerryMapping m;

    cr_assert(ferry_maps_next(&at, &m) && m.start == 0x1000 && m.name[0] == 'a');
    cr_assert(ferry_maps_next(&at, &m) && m.start == 0x3000 && m.name_bytes == 0);
    cr_assert(!ferry_maps_next(&at, &m));
}

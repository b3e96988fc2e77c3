#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tools/record-qemu.h"

/* 64 MiB of its own, twice 32 MiB, a file of 64 MiB, a gigabyte that is no RAM, and what is none.
 */
static const char maps[] =
    "10000000-14000000 rw-p 00000000 00:00 0 \n"
    "20000000-22000000 rw-p 00000000 00:00 0 \n"
    "30000000-32000000 rw-p 00000000 00:00 0 \n"
    "40000000-44000000 rw-s 00000000 00:10 7 /dev/hugepages/qemu_back_mem.Xy (deleted)\n"
    "80000000-c0000000 r--p 00000000 00:00 0 \n"
    "d0000000-d9000000 rw-p 00000000 00:00 0 [heap]\n";

typedef struct {
    char arguments[240]; /* with spaces between them */
    unsigned n;
    char names[3][20];
    uint64_t starts[3];
} Row;

ParameterizedTestParameters(record_qemu, blocks)
{
    static Row rows[] = {
        {"q -m 64",                                                                                 1, {"pc.ram"}, {0x10000000}},
        {"q -m 64M -display none",                                                                  1, {"pc.ram"}, {0x10000000}},
        {"q -m size=65536k,slots=2,maxmem=1G",                                                      1, {"pc.ram"}, {0x10000000}},
        {"q --m 0.0625G",                                                                           1, {"pc.ram"}, {0x10000000}},
        {"q -m 64 -mem-path /dev/hugepages",                                                        1, {"pc.ram"}, {0x40000000}},
        {"q -m 64 -machine q35,memory-backend=a -object memory-backend-ram,id=a,size=64M",
         1,                                                                                            {"a"},
         {0x10000000}                                                                                                          },
        {"q -object memory-backend-file,size=64M,id=b,mem-path=/dev/hugepages -M memory-backend=b",
         1,                                                                                            {"b"},
         {0x40000000}                                                                                                          },
        {"q -m 64 -object memory-backend-ram,id=n0,size=32M -object memory-backend-ram,id=n1,size="
         "33554432 -numa node,memdev=n0 -numa node,memdev=n1",                             2,
         {"n0", "n1"},
         {0x20000000, 0x30000000}                                                                                              },
        {"q -object {\"qom-type\":\"memory-backend-ram\",\"id\":\"r\",\"size\":33554432} -machine "
         "pc,memory-backend=r",                                                            1,
         {"r"},
         {0x20000000}                                                                                                          },
        {"q -object {\"qom-type\":\"rng-random\",\"id\":\"r\"} -m 64",                              1, {"pc.ram"}, {0x10000000}},
 /* Nothing that fits: the largest. */
        {"q",                                                                                       1, {"pc.ram"}, {0xd0000000}},
        {"q -m 100G",                                                                               1, {"pc.ram"}, {0xd0000000}},
        {"q -m",                                                                                    1, {"pc.ram"}, {0xd0000000}},
        {"q -m nonsense",                                                                           1, {"pc.ram"}, {0xd0000000}},
        {"q -object {{{ -object [] -object {} -object {\"qom-type\":[1],\"size\":{}}",
         1,                                                                                            {"pc.ram"},
         {0xd0000000}                                                                                                          },
        {"q -object memory-backend-ram,id=x,size=99999999999999999999G -machine memory-backend=x",
         1,                                                                                            {"pc.ram"},
         {0xd0000000}                                                                                                          },
        {"",                                                                                        1, {"pc.ram"}, {0xd0000000}},
    };

    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, record_qemu, blocks)
{
    FerryRecordRange found[FERRY_RECORD_QEMU_BLOCKS];
    char arguments[sizeof row->arguments + 1] = {0};
    gsize bytes = strlen(row->arguments) + 1;

    for (gsize i = 0; i < bytes; i++) {
        arguments[i] = row->arguments[i] == ' ' ? '\0' : row->arguments[i];
    }
    cr_assert_eq(ferry_record_qemu_blocks(arguments, bytes, maps, found), row->n, "%s",
                 row->arguments);
    for (unsigned i = 0; i < row->n; i++) {
        cr_expect_str_eq(found[i].name, row->names[i], "%s", row->arguments);
        cr_expect_eq(found[i].start, row->starts[i], "%s", row->arguments);
    }
}

Test(record_qemu, a_process_without_memory_has_no_ram)
{
    FerryRecordRange found[FERRY_RECORD_QEMU_BLOCKS];

    cr_assert_eq(ferry_record_qemu_blocks("q", 2, "", found), 0);
}

#include "tools/vm/options.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "tools/vm/error.h"

static gboolean parse(const char *line, Options *options, GError **error)
{
    g_auto(GStrv) argv = g_strsplit(line, " ", -1);

    return options_parse((int)g_strv_length(argv), argv, options, error);
}

typedef struct {
    char line[160];
    char words[80]; /* in the error; empty: accepted */
} Row;

ParameterizedTestParameters(options, are_accepted_or_refused_by_name)
{
    static Row rows[] = {
        {"vm -workload uniform",                                                         ""                          },
        {"vm --workload uniform --m 1G",                                                 ""                          },
        {"vm -m 256 -workload zipf,size=64M,rate=1000",                                  ""                          },
        {"vm -m size=64M -smp cpus=4 -workload idle",                                    ""                          },
        {"vm -workload hot-cold,size=16M,hot=1M,share=80,seed=7,fill=random",            ""                          },
        {"vm -accel kvm,dirty-ring-size=4096 -workload sweep",                           ""                          },
        {"vm -machine pc,accel=kvm -workload sweep",                                     ""                          },
        {"vm -enable-kvm -cpu host -workload sweep",                                     ""                          },
        {"vm -incoming defer -qmp unix:/q,server=on,wait=off",                           ""                          },
        {"vm -incoming tcp:0:4444 -qmp unix:/q,wait=off,server",                         ""                          },
        {"vm -incoming unix:/s -qmp unix:/q,server,nowait",                              ""                          },
        {"vm -boot-sector b -serial file:/s -S -nodefaults -no-user-config",             ""                          },
        {"vm -boot-sector b -display none -vga none -net none -monitor none -nographic", ""                          },
        {"vm -boot-sector b -name n -uuid 01234567-89ab-cdef-0123-456789abcdef",         ""                          },
        {"vm -accel process -incoming defer",                                            ""                          },
        {"vm -help",                                                                     ""                          },
        {"vm --version",                                                                 ""                          },

        {"vm",                                                                           "nothing to run"            },
        {"vm -S",                                                                        "nothing to run"            },
        {"vm -boot-sector b -workload idle",                                             "-boot-sector and -workload"},
        {"vm -boot-sector b -accel process",                                             "-accel kvm"                },
        {"vm -no-such-option",                                                           "-no-such-option"           },
        {"vm stray",                                                                     "stray"                     },
        {"vm -workload idle -m",                                                         "-m: a value is missing"    },
        {"vm -workload idle -m 12X",                                                     "12X"                       },
        {"vm -workload idle -m 0",                                                       "1M"                        },
        {"vm -workload idle -m 18446744073709551616G",                                   "no size"                   },
        {"vm -workload idle -m 64M,slots=2",                                             "slots"                     },
        {"vm -workload idle -smp 5",                                                     "1 to 4"                    },
        {"vm -workload idle -smp 0",                                                     "1 to 4"                    },
        {"vm -workload idle -accel tcg",                                                 "tcg"                       },
        {"vm -workload idle -accel kvm,thread=single",                                   "thread=single"             },
        {"vm -workload idle -accel kvm,dirty-ring-size=1000",                            "power of two"              },
        {"vm -workload idle -accel process,dirty-ring-size=4096",                        "dirty-ring-size"           },
        {"vm -workload idle -machine pc,usb=on",                                         "usb=on"                    },
        {"vm -workload idle -serial pty",                                                "pty"                       },
        {"vm -workload idle -qmp stdio",                                                 "stdio"                     },
        {"vm -workload idle -qmp unix:/q,server=on,wait=on",                             "wait=on"                   },
        {"vm -workload idle -qmp unix:/q,server=on",                                     "wait=on"                   },
        {"vm -workload idle -qmp unix:/q,wait=off",                                      "server=off"                },
        {"vm -workload idle -qmp unix:/q,server=on,wait=off,reconnect=1",                "reconnect=1"               },
        {"vm -workload idle -display gtk",                                               "gtk"                       },
        {"vm -workload idle -cpu qemu64",                                                "qemu64"                    },
        {"vm -workload idle -uuid no",                                                   "no UUID"                   },
        {"vm -workload idle -drive file=x",                                              "-drive"                    },
        {"vm -workload busy",                                                            "busy"                      },
        {"vm -workload uniform,speed=3",                                                 "speed"                     },
        {"vm -workload uniform,size",                                                    "key=value"                 },
        {"vm -workload uniform,size=x",                                                  "size"                      },
        {"vm -workload uniform,rate=-1",                                                 "rate"                      },
        {"vm -workload hot-cold,share=101",                                              "share"                     },
        {"vm -workload uniform,fill=ones",                                               "fill"                      },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, options, are_accepted_or_refused_by_name)
{
    g_autoptr(GError) error = NULL;
    g_auto(Options) options = {0};
    gboolean accepted = parse(row->line, &options, &error);

    cr_expect_eq(accepted, row->words[0] == '\0', "%s: %s", row->line,
                 error == NULL ? "accepted" : error->message);
    if (!accepted && row->words[0] != '\0') {
        cr_expect(g_error_matches(error, VM_ERROR, VM_ERROR_USAGE), "%s", row->line);
        cr_expect(strstr(error->message, row->words) != NULL, "%s: %s", row->line, error->message);
    }
}

Test(options, mean_what_qemu_means)
{
    g_auto(Options) o = {0};

    cr_assert(parse("vm -m 256 -smp 2 -accel kvm,dirty-ring-size=2048 -mem-path /m -serial stdio "
                    "-qmp unix:/q,server=on,wait=off -incoming tcp:h:1 -S -machine type=virt "
                    "-uuid 00112233-4455-6677-8899-aAbBcCdDeEfF",
                    &o, NULL));
    cr_expect_eq(o.ram_bytes, 256u << 20);
    cr_expect_eq(o.n_vcpus, 2);
    cr_expect_eq(o.accel, ACCEL_KVM);
    cr_expect_eq(o.dirty_ring_entries, 2048);
    cr_expect_str_eq(o.mem_path, "/m");
    cr_expect_eq(o.serial, SERIAL_STDIO);
    cr_expect_str_eq(o.qmp_path, "/q");
    cr_expect_str_eq(o.incoming, "tcp:h:1");
    cr_expect(o.start_paused);
    cr_expect_str_eq(o.machine, "virt");
    cr_expect(o.has_uuid);
    for (unsigned i = 0; i < 16; i++) {
        cr_expect_eq(o.uuid[i], i * 0x11);
    }
}

Test(options, nographic_moves_the_serial_line_unless_it_is_told_where)
{
    g_auto(Options) alone = {0}, told = {0};

    cr_assert(parse("vm -workload idle -nographic", &alone, NULL));
    cr_expect_eq(alone.serial, SERIAL_STDIO);
    cr_assert(parse("vm -workload idle -nographic -serial none", &told, NULL));
    cr_expect_eq(told.serial, SERIAL_NONE);
}

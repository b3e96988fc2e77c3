#include "transport/address.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "transport/channel.h"

typedef struct {
    char uri[64], text[48], back[64];
    FerryAddressType type;
    unsigned port;
    int fd;
    uint64_t offset;
} Good;

ParameterizedTestParameters(address, is_understood)
{
    static Good rows[] = {
        {"tcp:127.0.0.1:4444",                 "127.0.0.1",           "",                          FERRY_ADDRESS_TCP,  4444,  -1,         0        },
        {"tcp:host-1.example_x:0",             "host-1.example_x",    "",                          FERRY_ADDRESS_TCP,  0,     -1,         0        },
        {"tcp:0:65535",                        "0",                   "",                          FERRY_ADDRESS_TCP,  65535, -1,         0        },
        {"tcp::4444",                          "",                    "",                          FERRY_ADDRESS_TCP,  4444,  -1,         0        },
        {"tcp:[::1]:4444",                     "::1",                 "",                          FERRY_ADDRESS_TCP,  4444,  -1,         0        },
        {"tcp:[fe80::1%eth0]:1",               "fe80::1%eth0",        "",                          FERRY_ADDRESS_TCP,  1,     -1,         0        },
        {"tcp:[::ffff:1.2.3.4]:1",             "::ffff:1.2.3.4",      "",                          FERRY_ADDRESS_TCP,  1,     -1,         0        },
        {"tcp:[127.0.0.1]:1",                  "127.0.0.1",           "tcp:127.0.0.1:1",           FERRY_ADDRESS_TCP,  1,     -1,         0        },
        {"unix:/run/a b,c:d",                  "/run/a b,c:d",        "",                          FERRY_ADDRESS_UNIX, 0,     -1,         0        },
        {"unix:relative",                      "relative",            "",                          FERRY_ADDRESS_UNIX, 0,     -1,         0        },
        {"fd:0",                               "",                    "",                          FERRY_ADDRESS_FD,   0,     0,          0        },
        {"fd:2147483647",                      "",                    "",                          FERRY_ADDRESS_FD,   0,     2147483647, 0        },
        {"exec:cat <&0 | gzip >x:y",           "cat <&0 | gzip >x:y", "",                          FERRY_ADDRESS_EXEC, 0,     -1,         0        },
        {"file:/a",                            "/a",                  "",                          FERRY_ADDRESS_FILE, 0,     -1,         0        },
        {"file:/a,offset=0",                   "/a",                  "file:/a",                   FERRY_ADDRESS_FILE, 0,     -1,         0        },
        {"file:/a,offset=4096",                "/a",                  "",                          FERRY_ADDRESS_FILE, 0,     -1,         4096     },
        {"file:/a,offset=4k",                  "/a",                  "file:/a,offset=4096",       FERRY_ADDRESS_FILE, 0,     -1,         4096     },
        {"file:/a,offset=0x1000",              "/a",                  "file:/a,offset=4096",       FERRY_ADDRESS_FILE, 0,     -1,         4096     },
        {"file:/a,offset=3G",                  "/a",                  "file:/a,offset=3221225472", FERRY_ADDRESS_FILE, 0,     -1,
         UINT64_C(3) << 30                                                                                                                         },
        {"file:/a,offset=7B",                  "/a",                  "file:/a,offset=7",          FERRY_ADDRESS_FILE, 0,     -1,         7        },
        {"file:/a,offset=9223372036854775807", "/a",                  "",                          FERRY_ADDRESS_FILE, 0,     -1,         INT64_MAX},
        {"file:/a,offset=1,offset=0",          "/a,offset=1",         "",                          FERRY_ADDRESS_FILE, 0,     -1,         0        },
        {"file:/a,b",                          "/a,b",                "",                          FERRY_ADDRESS_FILE, 0,     -1,         0        },
    };
    return cr_make_param_array(Good, rows, G_N_ELEMENTS(rows));
}

/* An empty back means: the URI itself comes back. */
ParameterizedTest(Good *row, address, is_understood)
{
    g_auto(FerryAddress) address = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *back = NULL;

    cr_assert(ferry_address_parse(row->uri, &address, &error), "%s", error ? error->message : "");
    cr_expect_eq(address.type, row->type);
    cr_expect_eq(address.port, row->port);
    cr_expect_eq(address.fd, row->fd);
    cr_expect_eq(address.offset, row->offset);
    if (row->type == FERRY_ADDRESS_FD) {
        cr_expect_null(address.text);
    } else {
        cr_expect_str_eq(address.text, row->text);
    }
    back = ferry_address_to_uri(&address);
    cr_expect_str_eq(back, row->back[0] ? row->back : row->uri);
}

typedef struct {
    char uri[48];
    unsigned column;
} Bad;

ParameterizedTestParameters(address, is_refused_at_the_column)
{
    static Bad rows[] = {
        {"",                                    1 },
        {"tcp",                                 4 },
        {"http:x",                              1 },
        {"TCP:x:1",                             1 },
        {"tcp:",                                5 },
        {"tcp:host",                            9 },
        {"tcp:host:",                           10},
        {"tcp:host:x",                          10},
        {"tcp:host:12x",                        12},
        {"tcp:host:65536",                      10},
        {"tcp:host:99999999999999999999999",    10},
        {"tcp:host: 1",                         10},
        {"tcp:host:+1",                         10},
        {"tcp:ho st:1",                         7 },
        {"tcp:::1:4444",                        5 },
        {"tcp:[::1:4444",                       14},
        {"tcp:[]:1",                            6 },
        {"tcp:[::1]",                           10},
        {"tcp:[::1]4444",                       10},
        {"tcp:[::g g]:1",                       9 },
        {"unix:",                               6 },
        {"exec:",                               6 },
        {"fd:",                                 4 },
        {"fd:-1",                               4 },
        {"fd:x",                                4 },
        {"fd:1x",                               5 },
        {"fd:2147483648",                       4 },
        {"file:",                               6 },
        {"file:,offset=1",                      6 },
        {"file:/a,offset=",                     16},
        {"file:/a,offset=-1",                   16},
        {"file:/a,offset=1x",                   16},
        {"file:/a,offset=0x",                   16},
        {"file:/a,offset=1kk",                  16},
        {"file:/a,offset=8E",                   16},
        {"file:/a,offset=9223372036854775808",  16},
        {"file:/a,offset=99999999999999999999", 16},
    };
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bad *row, address, is_refused_at_the_column)
{
    FerryAddress address;
    g_autoptr(GError) error = NULL;
    g_autofree char *column = g_strdup_printf("column %u:", row->column);

    cr_assert_not(ferry_address_parse(row->uri, &address, &error), "%s", row->uri);
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS));
    cr_expect_not_null(strstr(error->message, column), "%s", error->message);
    cr_expect_not_null(strstr(error->message, "known forms"), "%s", error->message);
}

Test(address, of_a_medium_that_is_not_spoken_is_refused_by_name)
{
    FerryAddress address;
    g_autoptr(GError) rdma = NULL;
    g_autoptr(GError) vsock = NULL;

    cr_assert_not(ferry_address_parse("rdma:host:1", &address, &rdma));
    cr_expect(g_error_matches(rdma, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED));
    cr_expect_not_null(strstr(rdma->message, "rdma"));
    cr_assert_not(ferry_address_parse("vsock:3:1", &address, &vsock));
    cr_expect(g_error_matches(vsock, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED));
    cr_expect_not_null(strstr(vsock->message, "vsock"));
}

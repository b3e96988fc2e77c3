/* One row per way in which a peer can lie, named for its rule. Each must be refused with the right
 * code and a message that names the thing, however the bytes come. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/decoder.h"
#include "tests/protocol/sample.h"

typedef struct {
    char what[56];
    char words[192]; /* sample_assemble() */
    int code;
    char message[64];
} Row;

#define BAD FERRY_PROTOCOL_ERROR_MALFORMED
#define NOT FERRY_PROTOCOL_ERROR_UNSUPPORTED

/* A configuration with one subsection, behind the machine's name. */
#define SUB "H C 05 "
#define BITS "\"configuration/target-page-bits 00000001 "
#define UUID "\"configuration/uuid 00000001 000102030405060708090a0b0c0d0e0f "
#define CAPS "\"configuration/capabilities 00000001 "

ParameterizedTestParameters(hostile, header)
{
    static Row rows[] = {
        {"M01 multifd hello",                    "11223344 00000001",                              FERRY_PROTOCOL_ERROR_MAGIC, "byte 0: not a mig"                 },
        {"M01 text",                             "=GET/",                                          FERRY_PROTOCOL_ERROR_MAGIC, "0x4745542f"                        },
        {"M02 version 2",                        "5145564d 00000002",                              NOT,                        "stream version 2"                  },
        {"M02 version 0",                        "5145564d 00000000",                              NOT,                        "stream version 0"                  },
        {"M02 version 4",                        "5145564d 00000004",                              NOT,                        "stream version 4"                  },
        {"M02 version 2^32-1",                   "5145564d ffffffff",                              NOT,                        "stream version 4294967295"         },
        {"M03 configuration missing",            "H S L E F",                                      BAD,                        "byte 8: configuration is missing"  },
        {"M03 configuration twice",              "H C C",                                          BAD,                        "byte 26: configuration twice"      },
        {"M03 configuration after sections",     "H C S L E F C",                                  BAD,                        "configuration twice"               },
        {"M04 machine name of length 0",         "H 0700000000 00",                                BAD,                        "machine name has length 0"         },
        {"M04 machine name of 256",              "H 0700000100 00",                                BAD,                        "machine name has length 256"       },
        {"M04 machine name of 2^31",             "H 0780000000 00",                                BAD,                        "has length 2147483648"             },
        {"M04 machine name of 2^32-1",           "H 07ffffffff 00",                                BAD,                        "has length 4294967295"             },
        {"M04 machine name with NUL",            "H 0700000003 610062 00",                         BAD,                        "machine name is not text"          },
        {"M05 2^32-1 capabilities",              SUB CAPS "ffffffff",                              BAD,                        "4294967295 capabilities"           },
        {"M05 nine capabilities",                SUB CAPS "00000009",                              BAD,                        "9 capabilities"                    },
        {"M05 unknown capability",               SUB CAPS "00000001 \"sesame",                     NOT,                        "capability 'sesame'"               },
        {"M05 nameless capability",              SUB CAPS "00000001 00",                           BAD,                        "capability's name"                 },
        {"M05 capability twice",                 SUB CAPS "00000002 \"mapped-ram \"mapped-ram",    NOT,                        "mapped-ram"                        },
        {"x-ignore-shared",                      SUB CAPS "00000001 \"x-ignore-shared",            NOT,                        "'x-ignore-shared'"                 },
        {"mapped-ram",                           SUB CAPS "00000001 \"mapped-ram",                 NOT,                        "here: such a stream must be a file"},
        {"M05 no capabilities, twice",           SUB CAPS "00000000 05 " CAPS "00000000",          BAD,
         "capabilities twice"                                                                                                                                      },
        {"M06 target-page-bits 0",               SUB BITS "00000000",                              BAD,                        "byte 26: configuration: target-pa" },
        {"M06 target-page-bits 9",               SUB BITS "00000009",                              BAD,                        "target-page-bits is 9"             },
        {"M06 target-page-bits 17",              SUB BITS "00000011",                              BAD,                        "target-page-bits is 17"            },
        {"M06 target-page-bits 63",              SUB BITS "0000003f",                              BAD,                        "target-page-bits is 63"            },
        {"M06 uuid cut short eats what follows", SUB "\"configuration/uuid 00000001 0001 S L E F",
         BAD,                                                                                                                  "end of stream, but"                },
        {"M07 unknown subsection",               SUB "\"configuration/x 00000001",                 BAD,                        "'configuration/x'"                 },
        {"M07 another device's",                 SUB "\"timer/x 00000001 00",                      BAD,                        "unknown subsection 'timer/x'"      },
        {"M07 nameless subsection",              SUB "00 00000001",                                BAD,                        "subsection's name is not text"     },
        {"M07 page bits twice",                  SUB BITS "0000000c 05 " BITS "0000000c",          BAD,                        "page-bits twice"                   },
        {"M07 uuid twice",                       SUB UUID "05 " UUID,                              BAD,                        "uuid twice"                        },
        {"M12 newer subsection",                 SUB "\"configuration/uuid 00000002",              NOT,                        "has version 2"                     },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTestParameters(hostile, sections)
{
    static Row rows[] = {
        {"M08 section type 09",           "H C 09",                                              BAD,                            "byte 26: unknown section type 0x09"       },
        {"M08 section type 7d",           "H C S L E F 7d",                                      BAD,                            "unknown section type 0x7d"                },
        {"M08 section type 7f",           "H C 7f",                                              BAD,                            "unknown section type 0x7f"                },
        {"M08 section type ff",           "H C S L E F X E F ff",                                BAD,                            "unknown section type 0xff"                },
        {"M08 subsection as section",     "H C S L E F 05",                                      BAD,                            "0x05 where a section must begin"          },
        {"M08 description as section",    "H C 06",                                              BAD,                            "0x06 where a section must begin"          },
        {"M08 footer as section",         "H C F",                                               BAD,                            "0x7e where a section must begin"          },
        {"M09 PART before START",         "H C R",                                               BAD,                            "PART section 2 before the START of ram"   },
        {"M09 END before START",          "H C X",                                               BAD,                            "END section 2 before the START of ram"    },
        {"M09 END twice",                 "H C S L E F X E F X",                                 BAD,                            "END section 2 after the END of ram"       },
        {"M09 PART after END",            "H C S L E F X E F R",                                 BAD,                            "PART section 2 after the END"             },
        {"M09 START twice",               "H C S L E F S",                                       BAD,                            "ram section: a second START"              },
        {"M09 START after END",           "H C S L E F X E F S",                                 BAD,                            "ram section: a second START"              },
        {"M10 PART of another section",   "H C S L E F 0200000007",                              BAD,                            "PART section 7"                           },
        {"M10 END of another section",    "H C S L E F 0300000000",                              BAD,                            "END section 0"                            },
        {"M10 id 0 before any START",     "H C 0200000000",                                      BAD,                            "PART section 0 before"                    },
        {"M11 START without name",        "H C 0100000002 00 0000000000000004",                  BAD,                            "not text"                                 },
        {"M11 START not UTF-8",           "H C 0100000002 01ff 0000000000000004",                BAD,                            "not text"                                 },
        {"M11 FULL without name",         "H C 0400000002 00 0000000000000004",                  BAD,                            "not text"                                 },
        {"M11 FULL not UTF-8",            "H C 0400000002 02c328 0000000000000004",              BAD,                            "not text"                                 },
        {"M11 name cut",                  "H C 0100000002 0372",                                 FERRY_PROTOCOL_ERROR_TRUNCATED, "ended inside"                             },
        {"M12 ram version 5",             "H C 0100000002 0372616d 0000000000000005",            NOT,                            "version 5"                                },
        {"M12 ram version 3",             "H C 0100000002 0372616d 0000000000000003",            NOT,                            "version 3"                                },
        {"M12 ram instance 1",            "H C 0100000002 0372616d 0000000100000004",            NOT,                            "instance 1"                               },
        {"dirty-bitmap",                  "H C 0100000002 \"dirty-bitmap 0000000000000001",      NOT,
         "dirty bitmaps is not supported (section 'dirty-bitmap')"                                                                                                          },
        {"block migration",               "H C 0100000002 \"block 0000000000000001",             NOT,
         "block migration is not supported (section 'block')"                                                                                                               },
        {"vfio",                          "H C 0100000002 \"0000:00:02.0/vfio 0000000000000001", NOT,
         "VFIO devices is not supported (section '0000:00:02.0/vfio')"                                                                                                      },
        {"M13 no footer",                 "H C S L E R",                                         BAD,                            "footer expected for section 2, found 0x02"},
        {"M13 wrong id",                  "H C S L E 7e00000003",                                BAD,                            "found 0x7e for 3"                         },
        {"M13 no footer after END",       "H C S L E F X E 00 06 00000000",                      BAD,                            "found 0x00"                               },
        {"M14 end mark before ram",       "H C N",                                               BAD,                            "the ram section has not begun"            },
        {"M14 end mark in open ram",      "H C S L E F N",                                       BAD,                            "the ram section has not ended"            },
        {"M14 no end mark",               "H C S L E F X E F",                                   FERRY_PROTOCOL_ERROR_TRUNCATED, "no end mark"                              },
        {"M14 devices without end mark",  "H C S L E F X E F D",                                 FERRY_PROTOCOL_ERROR_TRUNCATED,
         "device state"                                                                                                                                                     },
        {"end mark, then no description", "H C S L E F X E F 00 04",                             BAD,                            "0x04 where the desc"                      },
        {"bytes after the end",           "H C S L E F X E F N N",                               BAD,                            "bytes after the end"                      },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTestParameters(hostile, ram)
{
    static Row rows[] = {
        {"M16 total 0",                        "H C S 0000000000000004",                                           BAD, "total is 0"                           },
        {"M16 START without list",             "H C S E F",                                                        BAD, "START has no block list"              },
        {"M16 more than the total",            "H C S 0000000000000404 \"a 0000000000000800",                      BAD,
         "'a': length 2048, but only 1024"                                                                                                                     },
        {"M16 sum above the total",
         "H C S 0000000000000804 \"a 0000000000000400 \"b "
         "0000000000000800",                                                                                       BAD, "block 'b': length 2048, but only 1024"},
        {"M16 sum wraps",                      "H C S 0000000000000404 \"a fffffffffffffc00",                      BAD, "but only 1024"                        },
        {"M16 sum below the total",            "H C S 0000000000000804 \"a 0000000000000400 E F",                  BAD,
         "name is empty"                                                                                                                                       },
        {"M17 block without name",             "H C S 0000000000000404 00 0000000000000400",                       BAD, "is empty"                             },
        {"M17 block name with newline",        "H C S 0000000000000404 010a 0000000000000400",                     BAD,
         "not text"                                                                                                                                            },
        {"M17 duplicate",                      "H C S 0000000000000804 \"a 0000000000000400 \"a 0000000000000400", BAD,
         "block 'a' is listed twice"                                                                                                                           },
        {"M17 duplicate, other length",
         "H C S 0000000000000c04 \"a 0000000000000400 \"a "
         "0000000000000800",                                                                                       BAD, "block 'a' is listed twice"            },
        {"M18 block length 0",                 "H C S 0000000000000404 \"a 0000000000000000",                      BAD, "length 0 is"                          },
        {"M18 not a page multiple",            "H C S 0000000000000404 \"a 0000000000000401",                      BAD, "1025"                                 },
        {"M18 block length 2^63",              "H C S 0000000000000404 \"a 8000000000000000",                      BAD, "but only"                             },
        {"M19 second list in START",           "H C S L L",                                                        BAD, "for the second time"                  },
        {"M19 second list after pages",        "H C S L E F R B L",                                                BAD, "for the second time"                  },
        {"M17 page of an unknown block",       "H C S L E F R 0000000000000008 \"vga",                             BAD,
         "block 'vga' is not in the list"                                                                                                                      },
        {"M17 page of a nameless block",       "H C S L E F R 0000000000000008 00",                                BAD, "is empty"                             },
        {"page before the list",               "H C S 0000000000000008 \"pc.ram",                                  BAD, "not in the list"                      },
        {"M20 page at the block's end",        "H C S L E F R B 0000000000001028",                                 BAD,
         "block 'pc.ram': page at 0x1000 is outside its 0x1000 bytes"                                                                                          },
        {"M20 zero page at the end",           "H C S L E F R B 0000000000001022 00",                              BAD, "page at 0x1000"                       },
        {"M20 named page at the end",          "H C S L E F R 0000000000001008 \"pc.ram",                          BAD, "at 0x1000"                            },
        {"M20 other block's length",           "H C S L E F R B 0000000000000408 \"pc.bios",                       BAD,
         "block 'pc.bios': page at 0x400"                                                                                                                      },
        {"M21 page at 2^64-1024",              "H C S L E F R B fffffffffffffc28",                                 BAD, "0xfffffffffffffc00"                   },
        {"M22 first page continues",           "H C S L E F R 0000000000000028",                                   BAD, "none was named"                       },
        {"M22 first zero page continues",      "H C S L E F R Z",                                                  BAD, "none was named"                       },
        {"M22 continues after the list",       "H C S L Q",                                                        BAD, "none was named"                       },
        {"M23 no flag",                        "H C S L E F R 0000000000000000",                                   BAD, "flags 0x0"                            },
        {"M23 continue alone",                 "H C S L E F R B 0000000000000020",                                 BAD, "flags 0x20"                           },
        {"M23 page and zero",                  "H C S L E F R B 000000000000002a",                                 BAD, "flags 0x2a"                           },
        {"M23 obsolete full",                  "H C S L E F R B 0000000000000001",                                 BAD, "flags 0x1"                            },
        {"M23 end, continued",                 "H C S L E F R B 0000000000000030",                                 BAD, "flags 0x30"                           },
        {"end with an offset",                 "H C S L E F R B 0000000000000410",                                 BAD, "offset 0x400"                         },
        {"M24 fill byte",                      "H C S L E F R B 0000000000000422 01",                              BAD, "'pc.ram': zero page at 0x4"           },
        {"M24 fill byte, named",               "H C S L E F R 0000000000000402 \"pc.ram ff",                       BAD, "with 0xff"                            },
        {"M28 xbzrle encoding 0",              "H C S L E F R B 0000000000000460 00 0001",                         BAD,
         "block 'pc.ram': xbzrle page at 0x400 has encoding 0x00"                                                                                              },
        {"M28 xbzrle encoding 2",              "H C S L E F R 0000000000000440 \"pc.ram 02 0001",                  BAD,
         "encoding 0x02 (only"                                                                                                                                 },
        {"M28 xbzrle of length 0",             "H C S L E F R B 0000000000000460 01 0000",                         BAD,
         "xbzrle page at 0x400 has 0 bytes"                                                                                                                    },
        {"M28 xbzrle longer than a page",      "H C S L E F R B 0000000000000460 01 0401",                         BAD,
         "xbzrle page at 0x400 has 1025 bytes"                                                                                                                 },
        {"M28 xbzrle of 65535",                "H C S L E F R B 0000000000000460 01 ffff",                         BAD, "has 65535 bytes"                      },
        {"M28 xbzrle outside its block",       "H C S L E F R B 0000000000001060 01 0001 00",                      BAD,
         "page at 0x1000 is outside"                                                                                                                           },
        {"M28 xbzrle continues nothing",       "H C S L E F R 0000000000000060 01 0001 00",                        BAD,
         "none was named"                                                                                                                                      },
        {"compressed of length 0",             "H C S L E F R B 0000000000000520 00000000",                        BAD,
         "block 'pc.ram': compressed page at 0x400 has 0 bytes"                                                                                                },
        {"compressed, one byte too long",      "H C S L E F R B 0000000000000520 00000501",                        BAD,
         "compressed page at 0x400 has 1281 bytes"                                                                                                             },
        {"compressed of 2^32-1",               "H C S L E F R 0000000000000100 \"pc.ram ffffffff",                 BAD,
         "has 4294967295 bytes"                                                                                                                                },
        {"compressed, unknown block",          "H C S L E F R 0000000000000100 \"vga 00000001",                    BAD,
         "block 'vga' is not in the list"                                                                                                                      },
        {"M23 xbzrle and compressed",          "H C S L E F R B 0000000000000140",                                 BAD, "flags 0x140"                          },
        {"M23 page and xbzrle",                "H C S L E F R B 0000000000000048",                                 BAD, "flags 0x48"                           },
        {"M23 flush, continued",               "H C S L E F R B 0000000000000220",                                 BAD, "flags 0x220"                          },
        {"rdma",                               "H C S L 0000000000000080",                                         NOT, "RDMA is not supported (a hook)"       },
        {"mapped list without the capability",
         "H C S 0000000000000404 \"a 0000000000000400 00000001 E F R E F X E F N",                                 BAD,
         "flags 0x0"                                                                                                                                           },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

#define RAM "H C S L E F X E F "
#define TEXT "00 06 00000038 ={\"devices\":[{\"name\":\"dev\",\"instance_id\":0,\"fields\":[]}]}"
#define DEV "04000000050364657600000000 00000001 "
ParameterizedTestParameters(hostile, devices)
{
    static Row rows[] = {
        {"M15 description of 4 GiB",         RAM "D 00 06 ffffffff",                   FERRY_PROTOCOL_ERROR_TRUNCATED,
         "description"                                                                                                                                              },
        {"M15 description that is no JSON",  RAM "D 00 06 00000003 =abc",
         FERRY_PROTOCOL_ERROR_TRUNCATED,                                                                               "description: not a JSON object"             },
        {"M48 description of other devices", RAM "D 00 06 0000000e ={\"devices\":[]}",
         FERRY_PROTOCOL_ERROR_TRUNCATED,                                                                               "lists other sections"                       },
        {"M48 footer missing",               RAM DEV "0102 " TEXT,                     BAD,
         "device section 'dev': its footer is missing"                                                                                                              },
        {"M48 footer of another",            RAM DEV "0102 7e00000006 " TEXT,          BAD,
         "device section 'dev': its footer is missing"                                                                                                              },
        {"M48 garbage behind a section",     RAM DEV "7e00000005 01 " TEXT,            BAD,                            "footer is missing"                          },
        {"M48 footer missing, empty text",   RAM DEV "0102 N",                         FERRY_PROTOCOL_ERROR_TRUNCATED,
         "description"                                                                                                                                              },
        {"M49 device twice",                 RAM "D D N",                              BAD,                            "device section 'dev' instance 0 comes twice"},
        {"M49 device early and late",        "H C D S L E F X E F D N",                BAD,                            "comes twice"                                },
        {"M50 command 0",                    "H C 0800000000",                         BAD,                            "byte 26: command 0 is invalid"              },
        {"M50 command 12",                   "H C 08000c0000",                         BAD,                            "command 12 is unknown"                      },
        {"M50 command 65535",                "H C 08ffff0000",                         BAD,                            "command 65535 is unknown"                   },
        {"M50 ping of length 0",             "H C O 0800020000",                       BAD,                            "command ping has length 0"                  },
        {"M50 ping of length 65535",         "H C O 080002ffff",                       BAD,                            "command ping has length 65535"              },
        {"M50 open of length 4",             "H C 0800010004",                         BAD,                            "open-return-path has length 4"              },
        {"M50 switchover-start of 1",        "H C 08000b0001",                         BAD,                            "switchover-start has length 1"              },
        {"M51 packaged",                     "H C O 080007000400000000",               NOT,                            "postcopy is not supported"                  },
        {"M52 advise",                       "H C O 0800030010",                       NOT,                            "(command postcopy-advise)"                  },
        {"M52 listen",                       "H C O 0800040000",                       NOT,                            "(command postcopy-listen)"                  },
        {"M52 run",                          "H C O 0800050000",                       NOT,                            "(command postcopy-run)"                     },
        {"M52 discard",                      "H C S L E F 0800060003",                 NOT,                            "(command postcopy-ram-discard)"             },
        {"M52 resume",                       "H C 0800090000",                         NOT,                            "(command postcopy-resume)"                  },
        {"M52 recv-bitmap",                  "H C 08000a0001",                         NOT,                            "(command recv-bitmap)"                      },
        {"M52 colo",                         "H C 0800080000",                         NOT,                            "colo is not supported (command enable-colo)"},
        {"M53 ping before the return path",  "H C P",                                  BAD,                            "ping before open-return-path"               },
        {"M53 the same among devices",       RAM "P D P N",                            BAD,                            "ping before open-return-path"               },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

static void expect_refusal(const Row *row)
{
    static const FerryDecoderOptions options = {.page_bits = SAMPLE_PAGE_BITS};
    g_autoptr(GByteArray) wire = sample_assemble(row->words, SAMPLE_PAGE_BITS);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    g_autofree char *whole = sample_events(wire->data, wire->len, &options, 0, 0);
    g_autofree char *bytes = sample_events(wire->data, wire->len, &options, 1, 0);
    g_autoptr(GError) error = NULL;
    FerryStreamEvent ev;
    FerryDecode answer;

    ferry_decoder_push(decoder, wire->data, wire->len);
    while ((answer = ferry_decoder_step(decoder, &ev, &error)) == FERRY_DECODE_EVENT) {
    }
    if (answer == FERRY_DECODE_MORE) {
        cr_assert_not(ferry_decoder_finish(decoder, &error), "%s: accepted", row->what);
        cr_expect_eq(row->code, FERRY_PROTOCOL_ERROR_TRUNCATED, "%s: only a cut", row->what);
    }
    cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, row->code), "%s: code %d, %s", row->what,
              error->code, error->message);
    cr_expect(strstr(error->message, row->message), "%s: %s", row->what, error->message);
    cr_expect_str_eq(bytes, whole, "%s", row->what);
}

ParameterizedTest(Row *row, hostile, header) { expect_refusal(row); }

ParameterizedTest(Row *row, hostile, sections) { expect_refusal(row); }

ParameterizedTest(Row *row, hostile, ram) { expect_refusal(row); }

ParameterizedTest(Row *row, hostile, devices) { expect_refusal(row); }

/* What looks odd and is right. */
typedef struct {
    char what[56];
    char words[192];
} Right;
ParameterizedTestParameters(hostile, accepts)
{
    static Right rows[] = {
        {"M53 return path opened twice",            "H C O O P S L E F X E F N"                            },
        {"M13 any section id",                      "H C 01ffffffff 0372616d 0000000000000004 L E 7effffffff 03ffffffff "
                               "E 7effffffff N"                              },
        {"M06 page bits of Arm",                    "H C 05 " BITS "0000000a S L E F X E F N"              },
        {"M05 no capability listed",                "H C 05 " CAPS "00000000 S L E F X E F N"              },
        {"empty section",                           "H C S L E F R E F R E F X E F N"                      },
        {"pages in START",                          "H C S L B Q E F X E F N"                              },
        {"device id as ram's",                      RAM "0400000002 03646576 0000000000000001 7e00000002 N"},
        {"command between the devices and the end", "H C O S L E F X E F D P N"                            },
        {"xbzrle and compressed pages",
         "H C S L E F R B 0000000000000460 01 0003 000107 "
         "0000000000000100 \"pc.bios 00000002 789c 0000000000000120 00000001 78 E F X E F N"               },
        {"a delta as long as its page",
         "H C S L E F R 0000000000000040 \"pc.ram 01 0400 @476 E F X E F N"                                },
        {"packed longer than its page",
         "H C S L E F R 0000000000000100 \"pc.ram 00000500 @577 E F X E F N"                               },
        {"flush without multifd",                   "H C S L 0000000000000200 E F X E F N"                 },
    };
    return cr_make_param_array(Right, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Right *row, hostile, accepts)
{
    static const FerryDecoderOptions options = {.page_bits = SAMPLE_PAGE_BITS};
    g_autoptr(GByteArray) wire = sample_assemble(row->words, SAMPLE_PAGE_BITS);
    g_autofree char *whole = sample_events(wire->data, wire->len, &options, 0, 0);
    g_autofree char *bytes = sample_events(wire->data, wire->len, &options, 1, 0);

    cr_expect(g_str_has_suffix(whole, "\nend\n"), "%s: %s", row->what, whole);
    cr_expect_str_eq(bytes, whole, "%s", row->what);
}

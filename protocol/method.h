/* How the pages of a migration are compressed. */
#pragma once

/* The value is the method's bits in the flags of a multifd packet (QEMU). */
typedef enum {
    FERRY_MULTIFD_NONE = 0x00,
    FERRY_MULTIFD_ZLIB = 0x02,
    FERRY_MULTIFD_ZSTD = 0x04,
    FERRY_MULTIFD_QPL = 0x08,
    FERRY_MULTIFD_UADK = 0x10,
    FERRY_MULTIFD_QATZIP = 0x20,
} FerryMultifdMethod;

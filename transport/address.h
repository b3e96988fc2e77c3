/* QEMU's migration URIs, parsed. Pure.
 *
 *   tcp:HOST:PORT  tcp:[V6]:PORT  unix:PATH  fd:N  exec:COMMAND  file:PATH[,offset=N]
 *
 * An empty HOST or 0 means any address when listening and the loopback when connecting. rdma: and
 * vsock: are recognised and refused by name. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef enum {
    FERRY_ADDRESS_TCP,
    FERRY_ADDRESS_UNIX,
    FERRY_ADDRESS_FD,
    FERRY_ADDRESS_EXEC,
    FERRY_ADDRESS_FILE,
} FerryAddressType;

typedef struct {
    FerryAddressType type;
    char *text; /* TCP: host without brackets, UNIX and FILE: path, EXEC: command, FD: NULL */
    uint16_t port;
    int fd;
    uint64_t offset; /* FILE; suffixes as in the URI are already applied */
} FerryAddress;

/* FERRY_TRANSPORT_ERROR_ADDRESS says which column is wrong and which forms are known. */
gboolean ferry_address_parse(const char *uri, FerryAddress *out_address, GError **error);
void ferry_address_clear(FerryAddress *address);
/* Back to a URI; free with g_free. */
char *ferry_address_to_uri(const FerryAddress *address);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryAddress, ferry_address_clear)

G_END_DECLS

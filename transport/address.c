#include "transport/address.h"

#include <errno.h>
#include <string.h>

#include "transport/channel.h"

#define FORMS                                                                                      \
    "known forms: tcp:HOST:PORT, tcp:[IPV6]:PORT, unix:PATH, fd:N, exec:COMMAND, "                 \
    "file:PATH[,offset=N]"
#define OFFSET ",offset="

/* @at is where in @uri it goes wrong. */
static gboolean bad(const char *uri, const char *at, const char *what, GError **error)
{
    g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                "address '%s', column %zu: %s (%s)", uri, (size_t)(at - uri) + 1, what, FORMS);
    return FALSE;
}

/* Decimal digits and nothing else, at most @max. NULL, or the first character that is wrong. */
static const char *parse_digits(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;

    for (; g_ascii_isdigit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (max - digit) / 10) {
            return text;
        }
        value = value * 10 + digit;
    }
    if (p == text || *p != '\0') {
        return p;
    }
    *out = value;
    return NULL;
}

/* @host up to @end, which is the colon before the port. */
static gboolean finish_tcp(const char *uri, const char *host, const char *end, const char *colon,
                           FerryAddress *address, GError **error)
{
    uint64_t port = 0;
    const char *wrong = parse_digits(colon + 1, G_MAXUINT16, &port);

    if (wrong != NULL) {
        return bad(uri, wrong, "a port from 0 to 65535 goes here", error);
    }
    address->text = g_strndup(host, (gsize)(end - host));
    address->port = (uint16_t)port;
    return TRUE;
}

static gboolean parse_tcp(const char *uri, const char *rest, FerryAddress *address, GError **error)
{
    gboolean bracket = *rest == '[';
    const char *host = rest + bracket;
    const char *end = host;

    address->type = FERRY_ADDRESS_TCP;
    while (g_ascii_isalnum(*end) || (*end != '\0' && strchr("-._", *end)) ||
           (bracket && (*end == ':' || *end == '%'))) {
        end++;
    }
    if (bracket) {
        if (*end != ']' || end == host) {
            return bad(uri, end, "an IPv6 address and then ']' go here", error);
        }
        if (end[1] != ':') {
            return bad(uri, end + 1, "':' and a port go here", error);
        }
        return finish_tcp(uri, host, end, end + 1, address, error);
    }
    if (*end != ':') {
        return bad(uri, end, *end == '\0' ? "':' and a port go here" : "not part of a host name",
                   error);
    }
    if (strchr(end + 1, ':') != NULL) {
        return bad(uri, host, "an IPv6 address is written in brackets", error);
    }
    return finish_tcp(uri, host, end, end, address, error);
}

static gboolean parse_text(const char *uri, const char *rest, FerryAddressType type,
                           FerryAddress *address, GError **error)
{
    if (*rest == '\0') {
        return bad(uri, rest,
                   type == FERRY_ADDRESS_EXEC ? "a command goes here" : "a path goes here", error);
    }
    address->type = type;
    address->text = g_strdup(rest);
    return TRUE;
}

static gboolean parse_fd(const char *uri, const char *rest, FerryAddress *address, GError **error)
{
    uint64_t fd = 0;
    const char *wrong = parse_digits(rest, G_MAXINT, &fd);

    if (wrong != NULL) {
        return bad(uri, wrong, "the number of a file descriptor goes here", error);
    }
    address->type = FERRY_ADDRESS_FD;
    address->fd = (int)fd;
    return TRUE;
}

/* Bytes, decimal or 0x..., and one of QEMU's suffixes. A file offset, so it must fit an off_t. */
static gboolean parse_offset(const char *text, uint64_t *out)
{
    static const char suffixes[] = "BKMGTPE";
    gboolean hex = g_ascii_strncasecmp(text, "0x", 2) == 0;
    char *end;
    guint64 value;
    unsigned shift = 0;

    if (!g_ascii_isdigit(*text)) {
        return FALSE;
    }
    errno = 0;
    value = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (errno != 0 || end == text || (hex && end == text + 1)) {
        return FALSE;
    }
    if (*end != '\0') {
        const char *suffix = strchr(suffixes, g_ascii_toupper(*end));
        if (suffix == NULL || end[1] != '\0') {
            return FALSE;
        }
        shift = 10 * (unsigned)(suffix - suffixes);
    }
    if (value > ((uint64_t)G_MAXINT64 >> shift)) {
        return FALSE;
    }
    *out = value << shift;
    return TRUE;
}

static gboolean parse_file(const char *uri, const char *rest, FerryAddress *address, GError **error)
{
    const char *option = g_strrstr(rest, OFFSET);
    g_autofree char *path = option ? g_strndup(rest, (gsize)(option - rest)) : g_strdup(rest);

    if (*path == '\0') {
        return bad(uri, rest, "a path goes here", error);
    }
    if (option != NULL && !parse_offset(option + strlen(OFFSET), &address->offset)) {
        return bad(uri, option + strlen(OFFSET),
                   "a number of bytes goes here, with B, K, M, G, T, P or E behind it or not",
                   error);
    }
    address->type = FERRY_ADDRESS_FILE;
    address->text = g_steal_pointer(&path);
    return TRUE;
}

static gboolean refuse(const char *scheme, GError **error)
{
    g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                "%s addresses are not supported (%s)", scheme, FORMS);
    return FALSE;
}

gboolean ferry_address_parse(const char *uri, FerryAddress *out_address, GError **error)
{
    FerryAddress address = {.fd = -1};
    const char *colon = strchr(uri, ':');
    g_autofree char *scheme = colon ? g_strndup(uri, (gsize)(colon - uri)) : NULL;
    gboolean good;

    if (scheme == NULL) {
        return bad(uri, uri + strlen(uri), "':' is missing", error);
    }
    if (g_str_equal(scheme, "tcp")) {
        good = parse_tcp(uri, colon + 1, &address, error);
    } else if (g_str_equal(scheme, "unix")) {
        good = parse_text(uri, colon + 1, FERRY_ADDRESS_UNIX, &address, error);
    } else if (g_str_equal(scheme, "fd")) {
        good = parse_fd(uri, colon + 1, &address, error);
    } else if (g_str_equal(scheme, "exec")) {
        good = parse_text(uri, colon + 1, FERRY_ADDRESS_EXEC, &address, error);
    } else if (g_str_equal(scheme, "file")) {
        good = parse_file(uri, colon + 1, &address, error);
    } else if (g_str_equal(scheme, "rdma") || g_str_equal(scheme, "vsock")) {
        good = refuse(scheme, error);
    } else {
        good = bad(uri, uri, "unknown kind of address", error);
    }
    if (good) {
        *out_address = address;
    }
    return good;
}

void ferry_address_clear(FerryAddress *address) { g_clear_pointer(&address->text, g_free); }

char *ferry_address_to_uri(const FerryAddress *address)
{
    switch (address->type) {
    case FERRY_ADDRESS_TCP:
        return g_strdup_printf(strpbrk(address->text, ":%") ? "tcp:[%s]:%u" : "tcp:%s:%u",
                               address->text, address->port);
    case FERRY_ADDRESS_UNIX:
        return g_strdup_printf("unix:%s", address->text);
    case FERRY_ADDRESS_FD:
        return g_strdup_printf("fd:%d", address->fd);
    case FERRY_ADDRESS_EXEC:
        return g_strdup_printf("exec:%s", address->text);
    case FERRY_ADDRESS_FILE:
        if (address->offset == 0 && g_strrstr(address->text, OFFSET) == NULL) {
            return g_strdup_printf("file:%s", address->text);
        }
        return g_strdup_printf("file:%s" OFFSET "%" G_GUINT64_FORMAT, address->text,
                               address->offset);
    }
    g_assert_not_reached();
}

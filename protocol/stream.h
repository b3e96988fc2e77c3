/* The skeleton of the main channel: file header, configuration, section headers and footers,
 * commands, end of stream, description. Layouts follow QEMU's migration stream version 3.
 *
 *   header | CONFIGURATION | [COMMAND...] | START ram | PART ram... | END ram | FULL... | EOF |
 *   DESCRIPTION
 *
 * Encoders write to the caller's buffer, return the length, and cannot fail. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_STREAM_MAGIC 0x5145564du /* "QEVM" */
#define FERRY_STREAM_VERSION 3u
#define FERRY_IDSTR_MAX 255 /* a name's length is one byte */

#define FERRY_PROTOCOL_ERROR (ferry_protocol_error_quark())
GQuark ferry_protocol_error_quark(void);
/* Each stands for something a caller does differently. */
typedef enum {
    FERRY_PROTOCOL_ERROR_MAGIC,       /* not a migration stream at all */
    FERRY_PROTOCOL_ERROR_MALFORMED,   /* breaks the format */
    FERRY_PROTOCOL_ERROR_UNSUPPORTED, /* right, but something we do not speak: named */
    FERRY_PROTOCOL_ERROR_TRUNCATED,   /* ended inside something */
    FERRY_PROTOCOL_ERROR_LIMIT,       /* larger than the caller allows */
} FerryProtocolError;

typedef enum {
    FERRY_SECTION_EOF = 0x00,
    FERRY_SECTION_START = 0x01,
    FERRY_SECTION_PART = 0x02,
    FERRY_SECTION_END = 0x03,
    FERRY_SECTION_FULL = 0x04,
    FERRY_SECTION_SUBSECTION = 0x05,
    FERRY_SECTION_DESCRIPTION = 0x06,
    FERRY_SECTION_CONFIGURATION = 0x07,
    FERRY_SECTION_COMMAND = 0x08,
    FERRY_SECTION_FOOTER = 0x7e,
} FerrySectionType;

typedef struct {
    FerrySectionType type; /* START, PART, END or FULL */
    uint32_t section_id;
    const char *idstr; /* START and FULL only, borrowed */
    uint32_t instance_id, version_id;
} FerrySectionHeader;

/* The subsections a configuration may have, in QEMU's order. */
#define FERRY_CONFIGURATION_PAGE_BITS "configuration/target-page-bits"
#define FERRY_CONFIGURATION_CAPABILITIES "configuration/capabilities"
#define FERRY_CONFIGURATION_UUID "configuration/uuid"

#define FERRY_MACHINE_MAX 255
#define FERRY_CAPABILITIES_MAX 8
typedef struct {
    char machine[FERRY_MACHINE_MAX + 1];
    unsigned page_bits; /* 0: subsection absent */
    unsigned n_capabilities;
    char capabilities[FERRY_CAPABILITIES_MAX][32];
    gboolean has_uuid;
    uint8_t uuid[16];
} FerryConfiguration;

typedef enum {
    FERRY_COMMAND_INVALID = 0,
    FERRY_COMMAND_OPEN_RETURN_PATH = 1,
    FERRY_COMMAND_PING = 2,
    FERRY_COMMAND_POSTCOPY_ADVISE = 3,
    FERRY_COMMAND_POSTCOPY_LISTEN = 4,
    FERRY_COMMAND_POSTCOPY_RUN = 5,
    FERRY_COMMAND_POSTCOPY_RAM_DISCARD = 6,
    FERRY_COMMAND_PACKAGED = 7,
    FERRY_COMMAND_ENABLE_COLO = 8,
    FERRY_COMMAND_POSTCOPY_RESUME = 9,
    FERRY_COMMAND_RECV_BITMAP = 10,
    FERRY_COMMAND_SWITCHOVER_START = 11,
} FerryCommandId;

typedef struct {
    FerryCommandId id;
    uint16_t length;
    const uint8_t *payload; /* borrowed */
} FerryCommand;

#define FERRY_STREAM_HEADER_SIZE 8
#define FERRY_SECTION_HEADER_MAX (1 + 4 + 1 + FERRY_IDSTR_MAX + 4 + 4)
#define FERRY_SECTION_FOOTER_SIZE 5
#define FERRY_CONFIGURATION_MAX 1024
#define FERRY_COMMAND_HEADER_SIZE 5
#define FERRY_DESCRIPTION_HEADER_SIZE 6 /* EOF byte, type byte, be32 length */

size_t ferry_stream_header_encode(uint8_t out[static FERRY_STREAM_HEADER_SIZE]);
size_t ferry_configuration_encode(const FerryConfiguration *c,
                                  uint8_t out[static FERRY_CONFIGURATION_MAX]);
size_t ferry_section_header_encode(const FerrySectionHeader *h,
                                   uint8_t out[static FERRY_SECTION_HEADER_MAX]);
size_t ferry_section_footer_encode(uint32_t section_id,
                                   uint8_t out[static FERRY_SECTION_FOOTER_SIZE]);
/* Header and payload; @out has room for FERRY_COMMAND_HEADER_SIZE + c->length. */
size_t ferry_command_encode(const FerryCommand *c, uint8_t *out);
size_t ferry_ping_encode(uint32_t value, uint8_t out[static FERRY_COMMAND_HEADER_SIZE + 4]);
/* EOF byte and the header of the description; @length bytes of JSON follow. */
size_t ferry_end_encode(uint32_t length, uint8_t out[static FERRY_DESCRIPTION_HEADER_SIZE]);

/* "ping", "packaged", ... for messages; "unknown" otherwise. */
const char *ferry_command_name(unsigned id);

/* Whether a name from a peer is fit for a message: UTF-8, not empty, no control characters. */
gboolean ferry_name_valid(const uint8_t *name, size_t n);

G_END_DECLS

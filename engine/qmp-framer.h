/* Finds JSON values in a stream of bytes that may be cut anywhere and may be garbage. Pure.
 *
 * Single-quoted strings, which QEMU takes too, come out double-quoted. A control character or a
 * byte 0xff where JSON has none throws away what came before it: clients use that to start over. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

#define FERRY_QMP_DEPTH_MAX 64          /* levels of brackets */
#define FERRY_QMP_MESSAGE_MAX (1 << 20) /* bytes */

typedef enum {
    FERRY_QMP_MORE,    /* everything was consumed */
    FERRY_QMP_MESSAGE, /* framer->message is one object or list, brackets balanced */
    FERRY_QMP_BAD,     /* framer->why; go on with the rest */
} FerryQmpFrame;

typedef struct {
    GString *message;
    const char *why;
    char open[FERRY_QMP_DEPTH_MAX]; /* which brackets */
    gsize depth;
    char quote;         /* inside a string: how it began; else 0 */
    gboolean escaped;   /* the byte before was a backslash */
    gboolean skipping;  /* garbage between messages, already complained about */
    const char *refuse; /* inside a message that is too much to take: why */
} FerryQmpFramer;

void ferry_qmp_framer_init(FerryQmpFramer *framer);
void ferry_qmp_framer_clear(FerryQmpFramer *framer);
/* Consumes *out_used of @n bytes, up to the end of one message or fault. */
FerryQmpFrame ferry_qmp_framer_push(FerryQmpFramer *framer, const char *bytes, gsize n,
                                    gsize *out_used);

G_END_DECLS

/* The JSON description at the end of the main channel. A loader throws it away; its use is that it
 * tells how long each device section's body was, which nothing else on the channel does. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    const char *idstr;
    uint32_t instance_id;
    uint64_t body_bytes;
} FerryDescribedDevice;

/* The text for @n device sections in stream order (early ones first), each as one opaque buffer, as
 * QEMU describes its old-style handlers. Free with g_free(); *out_length is without the NUL. */
char *ferry_description_write(unsigned page_size, const FerryDescribedDevice *devices, size_t n,
                              size_t *out_length);

typedef struct FerryDescription FerryDescription;
/* @text is hostile. Refused (FERRY_PROTOCOL_ERROR): what is not such a JSON object, what is nested
 * deeper, longer or has more values than any real description, sizes that overflow. */
FerryDescription *ferry_description_parse(const char *text, size_t length, GError **error);
size_t ferry_description_get_n_devices(const FerryDescription *description);
/* Borrowed from @description; in stream order. */
const FerryDescribedDevice *ferry_description_get_devices(const FerryDescription *description);
void ferry_description_free(FerryDescription *description);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDescription, ferry_description_free)

G_END_DECLS

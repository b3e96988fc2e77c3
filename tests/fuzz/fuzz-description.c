/* The JSON description. What is accepted, written and read again, is the same. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "protocol/description.h"
#include "protocol/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *own = g_memdup2(data, MAX(size, 1)); /* exactly as long: no NUL to lean on */
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryDescription) first = ferry_description_parse(own, size, &error);
    g_autoptr(FerryDescription) second = NULL;
    g_autofree char *text = NULL;
    const FerryDescribedDevice *a, *b;
    size_t n, length;

    if (!first) {
        g_assert(error->domain == FERRY_PROTOCOL_ERROR);
        return 0;
    }
    n = ferry_description_get_n_devices(first);
    a = ferry_description_get_devices(first);
    for (size_t i = 0; i < n; i++) {
        if (a[i].body_bytes > G_MAXINT64) {
            return 0; /* a sum, not a number that JSON can hold */
        }
    }
    text = ferry_description_write(4096, a, n, &length);
    second = ferry_description_parse(text, length, &error);
    if (!second) {
        /* Ours has more values for each device than the shortest that is accepted. */
        g_assert(g_error_matches(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT));
        return 0;
    }
    g_assert(ferry_description_get_n_devices(second) == n);
    b = ferry_description_get_devices(second);
    for (size_t i = 0; i < n; i++) {
        g_assert(strcmp(a[i].idstr, b[i].idstr) == 0);
        g_assert(a[i].instance_id == b[i].instance_id && a[i].body_bytes == b[i].body_bytes);
    }
    return 0;
}

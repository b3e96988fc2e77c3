/* A migration URI. What is accepted, written and parsed again, is the same. */
#include "tests/fuzz/fuzz.h"
#include "transport/address.h"
#include "transport/transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *uri = g_strndup((const char *)data, size);
    g_auto(FerryAddress) first = {0}, second = {0};
    g_autofree char *again = NULL;
    g_autoptr(GError) error = NULL;

    if (!ferry_address_parse(uri, &first, &error)) {
        g_assert(error->domain == FERRY_TRANSPORT_ERROR);
        return 0;
    }
    again = ferry_address_to_uri(&first);
    g_assert(ferry_address_parse(again, &second, NULL));
    g_assert(first.type == second.type && first.port == second.port && first.fd == second.fd &&
             first.offset == second.offset && g_strcmp0(first.text, second.text) == 0);
    return 0;
}

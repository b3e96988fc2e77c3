/* What must hold between settings, and of a test aid's text. */
#include <string.h>
#include "engine/parameters.h"

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error != NULL) {
        *error =
            g_error_new_valist(FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, format, arguments);
    }
    va_end(arguments);
    return FALSE;
}

static gboolean clash(gboolean both, const char *one, const char *other, GError **error)
{
    return both ? refuse(error, "%s is not compatible with %s", one, other) : TRUE;
}

gboolean ferry_settings_check_capabilities(const FerrySettings *s, GError **error)
{
    if (s->switchover_ack && !s->return_path) {
        return refuse(error, "Capability 'switchover-ack' requires capability 'return-path'");
    }
    return clash(s->multifd && s->xbzrle, "Multifd", "xbzrle", error) &&
           clash(s->multifd && s->compress, "Multifd", "compress", error) &&
           clash(s->mapped_ram && s->xbzrle, "Mapped-ram", "xbzrle", error) &&
           clash(s->mapped_ram && s->compress, "Mapped-ram", "compress", error);
}

gboolean ferry_settings_check_address(const FerrySettings *s, const FerryAddress *address,
                                      GError **error)
{
    gboolean is_file = address->type == FERRY_ADDRESS_FILE;
    gboolean is_socket = address->type == FERRY_ADDRESS_TCP || address->type == FERRY_ADDRESS_UNIX;

    if (s->mapped_ram && !is_file) {
        return refuse(error, "Capability 'mapped-ram' requires a file: address: its pages have "
                             "fixed places");
    }
    if (s->multifd && !s->mapped_ram && !is_socket) {
        return refuse(error, "Capability 'multifd' requires a tcp: or unix: address: it makes "
                             "several connections");
    }
    return TRUE;
}

/* Whether the policy learns how often pages are written, so that it can tell a stall. */
static gboolean foresees(const FerrySettings *settings)
{
    FerryPolicy policy;
    const char *why;

    return ferry_policy_parse(settings->policy, &policy, &why) &&
           (policy.ops == &ferry_policy_ferry || policy.ops->watches);
}

gboolean ferry_settings_check(const FerrySettings *settings, GError **error)
{
    if (settings->max_cpu_throttle < settings->cpu_throttle_initial) {
        return refuse(error,
                      "Parameter 'max-cpu-throttle' expects an integer in the range of "
                      "cpu-throttle-initial (%" G_GUINT64_FORMAT ") to 99",
                      settings->cpu_throttle_initial);
    }
    if (settings->on_stall != FERRY_ON_STALL_WAIT && !foresees(settings)) {
        return refuse(error,
                      "Parameter 'x-ferry-on-stall': only policy 'ferry' foresees a stall, with "
                      "'%s' it is 'wait'",
                      settings->policy);
    }
    return TRUE;
}

gboolean ferry_fault_parse(const char *text, FerryFault *out_fault, GError **error)
{
    static const char *const kinds[] = {[FERRY_FAULT_CUT] = "cut",
                                        [FERRY_FAULT_STALL] = "stall",
                                        [FERRY_FAULT_FLIP] = "flip",
                                        [FERRY_FAULT_BLACK_HOLE] = "black-hole",
                                        [FERRY_FAULT_SHORT] = "short"};
    g_auto(GStrv) parts = g_strsplit(text, ",", 4);
    guint64 position;

    if (g_strv_length(parts) == 3 &&
        (strcmp(parts[1], "read") == 0 || strcmp(parts[1], "write") == 0) &&
        g_ascii_string_to_unsigned(parts[2], 10, 0, INT64_MAX, &position, NULL)) {
        for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
            if (strcmp(parts[0], kinds[i]) == 0) {
                *out_fault = (FerryFault){
                    .kind = (FerryFaultKind)i, .on_read = *parts[1] == 'r', .position = position};
                return TRUE;
            }
        }
    }
    return refuse(error,
                  "Parameter 'x-ferry-fault' expects "
                  "cut|stall|black-hole|flip|short,read|write,POSITION, not '%s'",
                  text);
}

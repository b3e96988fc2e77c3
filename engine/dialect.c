#include "engine/dialect.h"
#include <string.h>
#include "engine/error.h"

const FerryDialect ferry_dialect_ferry = {.flush_per_round = TRUE,
                                          .zero_in_packets = TRUE,
                                          .switchover_start = TRUE,
                                          .compress_page = TRUE};

/* Of QEMU, as one number: 10.2 is 1002. */
typedef unsigned Version;
#define VERSION(major, minor) ((major)*100u + (minor))
#define VERSION_NONE 0u
#define VERSION_OLDEST VERSION(2, 4) /* before: no configuration, no footers */

/* "10.0" or, with @any_more, "10.0.13": two numbers and points. 0: it is not like that. */
static Version parse(const char *text, gboolean any_more)
{
    char *end;

    if (!g_ascii_isdigit(text[0])) {
        return VERSION_NONE;
    }
    guint64 major = g_ascii_strtoull(text, &end, 10);
    if (major == 0 || major > 999 || *end != '.' || !g_ascii_isdigit(end[1])) {
        return VERSION_NONE;
    }
    guint64 minor = g_ascii_strtoull(end + 1, &end, 10);
    while (any_more && *end == '.' && g_ascii_isdigit(end[1])) {
        (void)g_ascii_strtoull(end + 1, &end, 10);
    }
    return minor > 99 || *end ? VERSION_NONE : VERSION((unsigned)major, (unsigned)minor);
}

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, text);
    return FALSE;
}

/* Families whose members carry a version. Another name stands for the binary's own behaviour; a
 * member with another suffix is a distributor's, and what it stands for is theirs to say. */
static gboolean machine_version(const char *machine, Version *out_version, GError **error)
{
    static const char *const families[] = {"pc-i440fx-",       "pc-q35-", "virt-", "pseries-",
                                           "s390-ccw-virtio-", "pc-",     "xenfv-"};
    const char *dash = strrchr(machine, '-');

    *out_version = dash ? parse(dash + 1, FALSE) : VERSION_NONE;
    if (*out_version != VERSION_NONE) {
        return TRUE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        if (g_str_has_prefix(machine, families[i])) {
            return refuse(error,
                          "machine type '%s' is not one of QEMU's own: what its migration stream "
                          "is like must be asked of the destination",
                          machine);
        }
    }
    return TRUE;
}

gboolean ferry_dialect_for(const char *machine, const char *version, FerryDialect *out_dialect,
                           GError **error)
{
    Version binary = version ? parse(version, TRUE) : VERSION_NONE, type;

    if (version && binary == VERSION_NONE) {
        return refuse(error, "'%s' is not a version of QEMU: \"7.2\", \"10.0.13\"", version);
    }
    if (!machine_version(machine, &type, error)) {
        return FALSE;
    }
    if (type == VERSION_NONE && binary == VERSION_NONE) {
        return refuse(error,
                      "machine type '%s' has no version: the destination's must be said or asked",
                      machine);
    }
    if (type != VERSION_NONE && type < VERSION_OLDEST) {
        return refuse(error,
                      "machine type '%s': streams of machine types before 2.4 are not spoken",
                      machine);
    }
    if (binary != VERSION_NONE && binary < MAX(type, VERSION_OLDEST)) {
        return refuse(error, "QEMU %s cannot run machine type '%s'", version, machine);
    }
    /* What a machine type says holds on every binary that has it; without one it is the binary. */
    Version decides = type != VERSION_NONE ? type : binary;
    *out_dialect = (FerryDialect){
        .flush_per_round = decides >= VERSION(8, 1),
        /* Any destination takes ZERO records. One of 9.0 or later only notes the zero pages of a
         * packet that it meets first: memory that is not fresh keeps what it had. */
        .zero_in_packets = FALSE,
        .switchover_start = decides >= VERSION(10, 0),
        .compress_page = binary != VERSION_NONE && binary <= VERSION(9, 0),
    };
    return TRUE;
}

#include "engine/handover.h"
#include "engine/error.h"

gboolean ferry_handover_record(const char *path, const char *side, const char *state,
                               const char *machine, const char *channel, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *text = NULL;

    if (!path) {
        return TRUE;
    }
    text = g_strdup_printf("ferry-handover 1\nside %s\nstate %s\nmachine %s\nchannel %s\n", side,
                           state, machine, channel);
    if (!g_file_set_contents_full(path, text, -1,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, &cause)) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST, "handover record '%s': %s",
                    path, cause->message);
        return FALSE;
    }
    return TRUE;
}

/* The handover record: what a side has promised about the guest, kept where a crash does not reach
 * it, so that an operator who finds one side in doubt can read the truth on the other.
 *
 *   ferry-handover 1
 *   side source
 *   state released          or: aborted, owned
 *   machine ferry-vm-1
 *   channel tcp:10.0.0.2:4444 */
#pragma once
#include <glib.h>

/* Replaces @path in one step and waits until it is on the disk. Does nothing when @path is NULL. */
gboolean ferry_handover_record(const char *path, const char *side, const char *state,
                               const char *machine, const char *channel, GError **error);

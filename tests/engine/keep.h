/* A guest that is received by hand: what a destination would say to a capture, said by a test. */
#pragma once
#include "engine/capture.h"
#include "engine/guest-private.h"

#define KEEP_PAGES 40u      /* of "pc.ram" */
#define KEEP_SMALL_PAGES 3u /* of "/rom@etc/x" */
#define KEEP_MACHINE "pc-i440fx-7.2"
#define KEEP_DESCRIPTION "{\"devices\": []}"

/* The stranger's callbacks, which must be there. */
const FerryStrangerOps *keep_ops(FerryCapture *c, void **out_self);
/* Configuration and blocks. FALSE with the first error. */
gboolean keep_begin(FerryCapture *c, GError **error);
/* Pages 0, 2 and the last one of pc.ram get content, and the first of the small block. */
void keep_fill(FerryCapture *c);
/* Early "early" 7 before the blocks came, see keep_early; then "cpu" 0, "timer" 1, globalstate with
 * @run_state (NULL: none) in the middle. */
gboolean keep_devices(FerryCapture *c, const char *run_state, GError **error);
gboolean keep_device(FerryCapture *c, const char *idstr, uint32_t instance, const void *body,
                     size_t length, gboolean early, GError **error);
gboolean keep_complete(FerryCapture *c, GError **error);
/* All of the above; the capture must be fresh. */
void keep_whole(FerryCapture *c, const char *run_state);
void keep_discard(FerryCapture *c);
/* A directory that is taken away with all in it; g_free. */
char *keep_directory(void);
void keep_directory_remove(char *path);
/* Names in a directory, hidden ones too, as "a b c"; g_free. */
char *keep_list(const char *path);

/* The link between the demo's two guests: passes bytes on, from source to destination no faster
 * than it is told, and holds back no more than a few hundred KiB. So the engine meets what a real
 * slow link shows it: full sockets, not a limit of its own. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct FerryDemoLink FerryDemoLink;
/* Waits for one connection, TCP on the loopback or, when @socket_path is not NULL, on that path;
 * then connects to @to, where the destination listens. */
FerryDemoLink *ferry_demo_link_new(const char *socket_path, const char *to,
                                   uint64_t bytes_per_second, GError **error);
const char *ferry_demo_link_uri(const FerryDemoLink *link);
/* Cuts what is still connected. */
void ferry_demo_link_free(FerryDemoLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDemoLink, ferry_demo_link_free)

G_END_DECLS

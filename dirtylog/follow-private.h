/* The two halves of dirtylog/follow.h: who asks, and the process that traces. */
#pragma once
#include "dirtylog/follow.h"

G_BEGIN_DECLS

/* Events one way, a byte to go on the other way; a descriptor may travel with a message. */
gboolean ferry_follow_send(int socket, const void *message, gsize bytes, int fd);
/* FALSE: the other side is gone. *@out_fd is -1 if none came. */
gboolean ferry_follow_receive(int socket, void *message, gsize bytes, int *out_fd);
/* The tracing process: until all have ended, or the other end of @socket is closed. */
void ferry_follow_trace(int socket, char *const *command) G_GNUC_NORETURN;

G_END_DECLS

/* For channels that wrap another channel. A wrapper's self owns the inner channel and frees it in
 * close; it moves bytes with the pass functions, so that errors get one prefix and bytes are
 * counted once, at the outermost channel. */
#pragma once
#include "transport/channel.h"

G_BEGIN_DECLS

struct FerryChannel {
    const FerryChannelOps *ops;
    void *self;
    char *description;
    FerryChannel *inner;                /* whom to ask about the medium; NULL at the bottom */
    uint64_t bytes_written, bytes_read; /* atomic */
};

/* Takes @self, which owns @inner. */
FerryChannel *ferry_channel_wrap(FerryChannel *inner, const FerryChannelOps *ops, void *self);
/* As the ops of the same name; a member that @inner lacks is answered as channel.h says. */
gssize ferry_channel_pass_readv(FerryChannel *inner, const struct iovec *iov, int n,
                                uint64_t deadline_ns, GError **error);
gssize ferry_channel_pass_writev(FerryChannel *inner, const struct iovec *iov, int n,
                                 uint64_t deadline_ns, GError **error);
int ferry_channel_pass_readable(FerryChannel *inner, uint64_t deadline_ns, GError **error);
gboolean ferry_channel_pass_shutdown_write(FerryChannel *inner, GError **error);

/* @a + @b, or FERRY_NO_DEADLINE where that is later than time can be. */
uint64_t ferry_deadline_add(uint64_t a_ns, uint64_t b_ns);

G_END_DECLS

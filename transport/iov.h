/* Arithmetic on iovecs. Pure. */
#pragma once
#include <glib.h>
#include <sys/uio.h>

G_BEGIN_DECLS

/* Elements of a part that fits on the stack: half a MiB of 4 KiB pages. */
#define FERRY_IOV_PART 128

/* Bytes in all; saturates at G_MAXSSIZE, which is all one call can move. */
size_t ferry_iov_bytes(const struct iovec *iov, int n);
/* Copies the elements that hold at most @max bytes from byte @skip on into @out, the first and the
 * last cut to fit; empty ones are dropped. Returns how many there are, at most @out_n. */
int ferry_iov_cut(const struct iovec *iov, int n, size_t skip, size_t max, struct iovec *out,
                  int out_n);

G_END_DECLS

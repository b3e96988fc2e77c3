#include "transport/iov.h"

size_t ferry_iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;

    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > (size_t)G_MAXSSIZE - bytes) {
            return G_MAXSSIZE;
        }
        bytes += iov[i].iov_len;
    }
    return bytes;
}

int ferry_iov_cut(const struct iovec *iov, int n, size_t skip, size_t max, struct iovec *out,
                  int out_n)
{
    int used = 0;

    for (int i = 0; i < n && used < out_n && max > 0; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[used].iov_base = (char *)iov[i].iov_base + skip;
        out[used].iov_len = MIN(iov[i].iov_len - skip, max);
        max -= out[used].iov_len;
        skip = 0;
        used++;
    }
    return used;
}

/* KVM_RESET_DIRTY_RINGS on a thread of its own.
 *
 * From Linux 6.16 on the call ends early when its thread has something to do on the way out of the
 * kernel: a signal that is not blocked, io_uring's task work, a stop, a debugger, a freezer. What
 * it gathered last is then counted as reset, yet has not been protected: writes to those pages are
 * never logged again. So nobody's thread makes the call but one that takes no signals and owns no
 * io_uring, and which notices the rest. Not for other rooms. */
#pragma once
#include <glib.h>
#include <stdint.h>

typedef struct FerryKvmReset FerryKvmReset;
/* Borrows @vm_fd. */
FerryKvmReset *ferry_kvm_reset_new(int vm_fd, GError **error);
/* Protects the pages of the @n entries that were handed back. Any thread, one at a time.
 * @out_cut_short: perhaps not all of them, and nobody knows which. */
gboolean ferry_kvm_reset(FerryKvmReset *reset, uint32_t n, gboolean *out_cut_short, GError **error);
void ferry_kvm_reset_free(FerryKvmReset *reset);

/* Model-specific registers, one at a time. */
#pragma once
#include "tools/vm/vm.h"

G_BEGIN_DECLS

gboolean msr_get(int vcpu_fd, uint32_t index, uint64_t *out);
gboolean msr_set(int vcpu_fd, uint32_t index, uint64_t value);
/* Fills vm->msrs: those that make up a vCPU's state on this host. */
gboolean msrs_find(Vm *vm, GError **error);

G_END_DECLS

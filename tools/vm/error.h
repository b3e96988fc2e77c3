/* What ferry-vm can fail with. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

#define VM_ERROR (vm_error_quark())
GQuark vm_error_quark(void);
typedef enum {
    VM_ERROR_USAGE, /* the command line is wrong: exit status 2 */
    VM_ERROR_HOST,  /* this machine or its kernel cannot do it */
    VM_ERROR_STATE, /* a device section that this machine could not have saved */
} VmError;

G_END_DECLS

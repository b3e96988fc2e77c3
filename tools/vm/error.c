#include "tools/vm/error.h"

G_DEFINE_QUARK(vm - error, vm_error)

/* For the programs that run real machines: exit status 0 passed, 1 failed, 77 cannot run here. */
#pragma once
#include <stdlib.h>
#include "tools/vm/vm.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            g_printerr("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
/* @error is NULL, or the test ends with its message. */
#define CHECK_OK(condition, error)                                                                 \
    do {                                                                                           \
        gboolean ok_ = (condition) != 0;                                                           \
        if (!ok_) {                                                                                \
            g_printerr("%s:%d: %s: %s\n", __FILE__, __LINE__, #condition,                          \
                       (error) == NULL ? "no error set" : (error)->message);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A machine from a command line, words separated by spaces. Ends the test with 77 when the line
 * says -accel kvm and there is no /dev/kvm. */
Vm *support_vm(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Writes of all vCPUs. */
uint64_t support_writes(const Vm *vm);
/* Lets the machine run until it has done @n more writes. */
void support_run(Vm *vm, uint64_t n);
/* Waits until a running machine has done @n more writes. */
void support_wait(const Vm *vm, uint64_t n);
/* Every page of the working set holds what the counters say. The machine stands still. */
void support_check_pages(const Vm *vm);
VmDevice support_device(const Vm *vm, guint i);
/* Its section now. */
GByteArray *support_save(const VmDevice *device);
/* Memory and every device section of @from, which stands still, into @to, which never ran. */
void support_move(Vm *from, Vm *to);

/* The guest program's code; see workload-guest.c. */
#pragma once
#include <stdint.h>

/* The first byte, which is the entry, and the one behind the last. Only copied, never called here.
 */
extern const uint8_t *const workload_code, *const workload_code_end;

/* A guest without a hypervisor: threads that write memory and mark what they wrote, a register per
 * thread as device state. Everything a migration asks of a guest, and nothing else. */
#pragma once
#include "engine/ferry.h"

#define COUNTING_THREADS 2

typedef struct CountingGuest CountingGuest;
/* Memory: "ram" of @pages 4 KiB pages and "rom" of 3. Each thread writes a random page, then notes
 * in its register that it did; @rate: writes per ms and thread, 0 = as fast as it goes. Paused. */
CountingGuest *counting_guest_new(uint64_t pages, unsigned rate, uint64_t seed);
FerryGuest *counting_guest_describe(CountingGuest *g); /* owned by @g */
void counting_guest_run(CountingGuest *g);
/* Running: returns once every thread has written something. */
void counting_guest_await_writes(CountingGuest *g);
gboolean counting_guest_is_running(CountingGuest *g);
/* Paused: all registers together. It never goes back. */
uint64_t counting_guest_count(CountingGuest *g);
uint64_t counting_guest_hash(CountingGuest *g);
/* Paused: the newest write of each thread is in memory, none is from the future. */
gboolean counting_guest_is_whole(CountingGuest *g);
unsigned counting_guest_throttle(CountingGuest *g); /* as last asked for */
gboolean counting_guest_is_zero(CountingGuest *g);
/* The next calls fail. */
void counting_guest_fail_save(CountingGuest *g, gboolean fail);
void counting_guest_fail_load(CountingGuest *g, gboolean fail);
/* Stops and frees. */
void counting_guest_free(CountingGuest *g);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CountingGuest, counting_guest_free)

/* Ferry: live migration of guests, for embedders. The one header to include.
 *
 *   FerryGuest *guest = ferry_guest_new("my-machine-1", &ops, vm);
 *   ferry_memory_add(ferry_guest_memory(guest), "ram", host, length, &error);
 *   ferry_guest_set_dirty_log(guest, ferry_dirty_log_kvm_bitmap_new(...));
 *   ferry_guest_add_device(guest, "cpu", 0, 1, &cpu_ops, vm, &error);
 *   ferry_migration_start(ferry_migration_new(guest, NULL, NULL), "tcp:host:4444", &error);
 *
 * docs/embedding.md walks through a whole one. */
#pragma once
#include "dirtylog/bitmap.h"
#include "dirtylog/dirtylog.h"
#include "engine/destination.h"
#include "engine/dialect.h"
#include "engine/error.h"
#include "engine/guest.h"
#include "engine/memory.h"
#include "engine/migration.h"
#include "engine/precopy/machine.h"
#include "engine/precopy/policy.h"
#include "engine/progress.h"
#include "engine/qmp.h"
#include "engine/source.h"
#include "transport/address.h"
#include "transport/channel.h"
#include "transport/transport.h"

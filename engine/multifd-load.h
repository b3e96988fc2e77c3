/* The multifd channels of a destination, whose hellos were taken: a thread of its own reads each
 * one's packets and puts their pages. All calls are the destination's thread's.
 *
 *   new -> start (the block list is known) -> barrier... -> end (no page may come) -> stop
 *
 * At SYNC a channel's thread waits; barrier() waits for all of them and lets them go on. A packet
 * is judged whole before its first byte is put. */
#pragma once
#include "engine/ram-load.h"
#include "protocol/method.h"
#include "transport/channel.h"

G_BEGIN_DECLS

typedef struct {
    FerryChannel *const *channels; /* the array is copied, the channels are taken */
    unsigned n;
    FerryRamLoader *ram; /* borrowed */
    /* Of all the channels and of main. It is raised when a channel fails, so that main's wait ends
     * with the others'. */
    FerryInterrupt *interrupt;
    gboolean any_method; /* what the first packet has; else method and nothing else */
    FerryMultifdMethod method;
    uint64_t timeout_ns; /* the longest silence inside a packet, and of all while main waits */
} FerryMultifdLoadOptions;

typedef struct {
    uint64_t packets, normal_pages, zero_pages;
    uint64_t coded_pages, coded_bytes; /* of packets with a method */
    uint64_t bytes;                    /* on all channels, everything included */
} FerryMultifdLoaded;

typedef struct FerryMultifdLoader FerryMultifdLoader;
FerryMultifdLoader *ferry_multifd_loader_new(const FerryMultifdLoadOptions *options);
/* @page_bits: of the source's pages. */
gboolean ferry_multifd_loader_start(FerryMultifdLoader *loader, unsigned page_bits, GError **error);
/* Everything that was sent in front of this barrier is put. Errors name the channel. */
gboolean ferry_multifd_loader_barrier(FerryMultifdLoader *loader, GError **error);
/* No page may come from here on, and none behind the last barrier has. */
gboolean ferry_multifd_loader_end(FerryMultifdLoader *loader, GError **error);
/* FALSE with the first error of a channel. */
gboolean ferry_multifd_loader_check(FerryMultifdLoader *loader, GError **error);
/* Waits until the source has closed its channels, @patience_ns at most, then closes them, and ends
 * the threads. Guest memory is not touched afterwards. */
void ferry_multifd_loader_stop(FerryMultifdLoader *loader, uint64_t patience_ns);
FerryMultifdLoaded ferry_multifd_loader_counts(const FerryMultifdLoader *loader);
/* Stops as well. */
void ferry_multifd_loader_free(FerryMultifdLoader *loader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryMultifdLoader, ferry_multifd_loader_free)

G_END_DECLS

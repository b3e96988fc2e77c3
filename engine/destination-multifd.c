/* Multifd as the main channel sees it: where main waits for the others. QEMU up to 8.0 waits at
 * each end of a section of ram, later ones at each FLUSH record, of which the START section has one
 * or more. */
#include "engine/destination-private.h"

#define LAST_PACKETS_NS 5000000000ull /* for a stock source to close its channels by itself */

FerryMultifdLoader *ferry_destination_multifd_new(const FerryDestination *d)
{
    FerryMultifdLoadOptions options = {
        .channels = d->options.multifd,
        .n = d->options.n_multifd,
        .ram = d->ram,
        .interrupt = d->interrupt,
        .any_method = d->options.any_method,
        .method = d->options.multifd_method,
        .timeout_ns = d->timeout_ns,
    };
    return d->options.n_multifd ? ferry_multifd_loader_new(&options) : NULL;
}

gboolean ferry_destination_take_flush(FerryDestination *d, GError **error)
{
    if (!d->multifd) { /* QEMU 8.1.0 sends it without multifd as well */
        return TRUE;
    }
    if (d->barriers == BARRIER_AT_SECTIONS) {
        return ferry_destination_fail(error, "a multifd FLUSH from a source whose START section "
                                             "had none");
    }
    d->barriers = BARRIER_AT_FLUSH;
    return ferry_multifd_loader_barrier(d->multifd, error);
}

gboolean ferry_destination_take_section_end(FerryDestination *d, FerrySectionType section,
                                            GError **error)
{
    if (!d->multifd) {
        return TRUE;
    }
    if (d->barriers == BARRIER_UNKNOWN) {
        d->barriers = BARRIER_AT_SECTIONS;
    }
    if (d->barriers == BARRIER_AT_SECTIONS && !ferry_multifd_loader_barrier(d->multifd, error)) {
        return FALSE;
    }
    return section != FERRY_SECTION_END || ferry_multifd_loader_end(d->multifd, error);
}

void ferry_destination_multifd_finish(FerryDestination *d)
{
    if (d->multifd) { /* QEMU up to 8.2 may have one more packet to write, which must not fail */
        ferry_multifd_loader_stop(d->multifd, d->is_ferry ? 0 : LAST_PACKETS_NS);
    }
}

void ferry_destination_multifd_give_up(FerryDestination *d, GError **happened)
{
    GError *theirs = NULL;

    if (!d->multifd) {
        return;
    }
    /* What main noticed is then only that its wait was ended, or that the source is gone. */
    if ((*happened)->domain == FERRY_TRANSPORT_ERROR &&
        !ferry_multifd_loader_check(d->multifd, &theirs)) {
        g_clear_error(happened);
        *happened = theirs;
    }
    ferry_multifd_loader_stop(d->multifd, 0);
}

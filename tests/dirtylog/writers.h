/* Threads that write guest memory beside the vCPUs, in the same way as the guest's random program:
 * an ever increasing number into their own word of hot pages and, now and then, of any page. */
#pragma once
#include "tests/dirtylog/guest.h"

typedef enum {
    WRITER_USER,    /* stores */
    WRITER_DISCARD, /* stores, and sometimes gives a page back with MADV_DONTNEED */
    WRITER_KERNEL,  /* the kernel stores for it: read() */
    WRITER_MARKS,   /* stores, then calls ferry_mark_dirty() */
} WriterKind;

typedef struct Writers Writers;
/* One thread for each of @kinds; thread i writes word @first_word + i. Paused at first. Borrows
 * everything; @marks may be NULL without WRITER_MARKS. */
Writers *writers_new(void *memory, GuestControl *control, FerryDirtyMarks *marks,
                     unsigned first_word, const WriterKind *kinds, unsigned n_writers);
void writers_run(Writers *writers);
/* Returns when all have done their last write (and mark). */
void writers_pause(Writers *writers);
void writers_free(Writers *writers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Writers, writers_free)

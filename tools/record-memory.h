/* The memories of one or several processes, as one trace numbers their pages. */
#pragma once
#include "dirtylog/process.h"
#include "tools/record.h"

G_BEGIN_DECLS

typedef struct FerryRecordMemories FerryRecordMemories;
/* Borrows @options, of which it takes which mappings to record and whether to look at contents. */
FerryRecordMemories *ferry_record_memories_new(const FerryRecordOptions *options);
/* Only these ranges of addresses, with names, are recorded from now on. Borrows. */
typedef struct {
    char name[64];
    uint64_t start, end;
} FerryRecordRange;
void ferry_record_memories_restrict(FerryRecordMemories *m, const FerryRecordRange *ranges,
                                    unsigned n);
/* Takes @uffd. What is in the memory counts as written. @label: before the names of its blocks;
 * NULL: nothing. */
gboolean ferry_record_memories_add(FerryRecordMemories *m, pid_t pid, int uffd, const char *label,
                                   GError **error);
/* Adds the blocks of what was added so far to @header, and forgets what was written. */
gboolean ferry_record_memories_begin(FerryRecordMemories *m, FerryTraceHeader *header,
                                     GError **error);
gboolean ferry_record_memories_classes(FerryRecordMemories *m, uint64_t first, uint64_t n,
                                       uint8_t *out, GError **error);
/* Collects what one process (0: all) wrote since the last time, for the next frame. */
gboolean ferry_record_memories_take(FerryRecordMemories *m, pid_t pid, GError **error);
/* The next frame: what was collected, and what is now. */
gboolean ferry_record_memories_next(FerryRecordMemories *m, FerryRecordFrame *out, GError **error);
/* How many are left that have not gone. */
unsigned ferry_record_memories_alive(const FerryRecordMemories *m);
unsigned ferry_record_memories_refused(const FerryRecordMemories *m); /* mappings */
/* As FerryRecordOps's tell: what was left out. */
void ferry_record_memories_tell(const FerryRecordMemories *m, JsonBuilder *builder, GString *text);
void ferry_record_memories_free(FerryRecordMemories *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryRecordMemories, ferry_record_memories_free)

G_END_DECLS

/* The two sides of a migration within one process, over real sockets, in a directory of the test's
 * own. */
#pragma once
#include <pthread.h>
#include "engine/migration-private.h"
#include "tests/fakes/counting-guest.h"

#define SIDES_PAGES 512ull
#define SIDES_PATIENCE_NS 60000000000ull /* for what must happen; reached only by a failure */

extern char *sides_directory;

/* How pages travel; both sides are told. */
typedef struct {
    const char *capability, *compression, *detection;
} SidesWay;
extern const SidesWay *sides_way; /* NULL: plainly */
extern const SidesWay sides_ways[5];

/* What a listener heard, in its order: "setup active ... ". */
typedef struct {
    pthread_mutex_t lock;
    GString *statuses;
    uint64_t passes;
    CountingGuest *guest;
    gboolean ran_at_the_end; /* the guest, when failed or cancelled was published */
} Diary;

typedef struct {
    CountingGuest *guest;
    FerryMigration *migration;
    Diary diary;
} Side;

void side_init(Side *s, uint64_t seed, unsigned rate);
void side_clear(Side *s);
/* What the listener heard since it was asked before; g_free. */
char *side_said(Side *s);
void side_set_number(Side *s, const char *name, uint64_t value);
void side_set_capability(Side *s, const char *name, gboolean on);
FerryStatus side_wait_end(Side *s);
/* TRUE once it is there, FALSE when the migration ended otherwise. */
gboolean side_wait_status(Side *s, FerryStatus wanted);
/* Why it ended; g_free. */
char *side_error(Side *s);
/* The destination listens on @uri, the source starts. */
void sides_begin(Side *from, Side *to, const char *uri);
void sides_expect_moved(Side *from, Side *to);
/* Waits for the end. */
void side_expect_status(Side *s, FerryStatus wanted, const char *what);
/* In the directory; g_free. */
char *sides_uri(const char *name);

/* Of a directory, as /proc/self/fd. */
unsigned sides_entries(const char *path);
/* A joined thread leaves /proc a moment later. */
void sides_expect_entries(const char *path, unsigned expected);

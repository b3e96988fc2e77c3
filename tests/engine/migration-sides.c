#include "tests/engine/migration-sides.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include "tests/fakes/expect.h"

char *sides_directory;
const SidesWay *sides_way;
const SidesWay sides_ways[] = {
    {"multifd",  "none", "multifd"},
    {"multifd",  "zlib", "legacy" },
    {"multifd",  "zstd", "none"   },
    {"xbzrle",   "none", "multifd"},
    {"compress", "none", "legacy" },
};

static void write_status(void *self, FerryStatus status, const GError *error)
{
    Diary *d = self;

    pthread_mutex_lock(&d->lock);
    g_string_append_printf(d->statuses, "%s ", ferry_status_name(status));
    if (status == FERRY_STATUS_FAILED || status == FERRY_STATUS_CANCELLED) {
        d->ran_at_the_end = counting_guest_is_running(d->guest);
        EXPECT(error != NULL, "an end without a reason");
    }
    pthread_mutex_unlock(&d->lock);
}

static void write_pass(void *self, uint64_t pass)
{
    Diary *d = self;

    pthread_mutex_lock(&d->lock);
    EXPECT(pass == d->passes + 1, "pass %d", (int)pass);
    d->passes = pass;
    pthread_mutex_unlock(&d->lock);
}

static const FerryMigrationListener listener = {.status = write_status, .pass = write_pass};

static void choose_way(FerryMigration *migration)
{
    EXPECT(ferry_migration_set_capability(migration, sides_way->capability, TRUE, NULL) &&
               ferry_migration_set_parameter(migration, "multifd-compression", 0,
                                             sides_way->compression, NULL) &&
               ferry_migration_set_parameter(migration, "zero-page-detection", 0,
                                             sides_way->detection, NULL) &&
               ferry_migration_set_parameter(migration, "multifd-channels", 3, NULL, NULL),
           "%s", sides_way->capability);
}

void side_init(Side *s, uint64_t seed, unsigned rate)
{
    s->guest = counting_guest_new(SIDES_PAGES, rate, seed);
    pthread_mutex_init(&s->diary.lock, NULL);
    s->diary.statuses = g_string_new(NULL);
    s->diary.passes = 0;
    s->diary.guest = s->guest;
    s->migration = ferry_migration_new(counting_guest_describe(s->guest), &listener, &s->diary);
    if (sides_way != NULL) {
        choose_way(s->migration);
    }
}

void side_clear(Side *s)
{
    ferry_migration_free(s->migration);
    counting_guest_free(s->guest);
    g_string_free(s->diary.statuses, TRUE);
    pthread_mutex_destroy(&s->diary.lock);
}

char *side_said(Side *s)
{
    char *text;

    pthread_mutex_lock(&s->diary.lock);
    text = g_strdup(s->diary.statuses->str);
    g_string_truncate(s->diary.statuses, 0);
    s->diary.passes = 0;
    pthread_mutex_unlock(&s->diary.lock);
    return text;
}

void side_set_number(Side *s, const char *name, uint64_t value)
{
    g_autoptr(GError) error = NULL;

    EXPECT(ferry_migration_set_parameter(s->migration, name, value, NULL, &error), "%s: %s", name,
           error->message);
}

void side_set_capability(Side *s, const char *name, gboolean on)
{
    EXPECT(ferry_migration_set_capability(s->migration, name, on, NULL), "%s", name);
}

FerryStatus side_wait_end(Side *s)
{
    EXPECT(ferry_migration_wait(s->migration, ferry_now_ns() + SIDES_PATIENCE_NS), "no end");
    return ferry_migration_get_status(s->migration);
}

gboolean side_wait_status(Side *s, FerryStatus wanted)
{
    for (uint64_t until = ferry_now_ns() + SIDES_PATIENCE_NS; ferry_now_ns() < until;
         g_usleep(500)) {
        FerryStatus status = ferry_migration_get_status(s->migration);
        if (status == wanted) {
            return TRUE;
        }
        if (ferry_migration_wait(s->migration, 0) &&
            ferry_migration_get_status(s->migration) != wanted) {
            return FALSE;
        }
    }
    return FALSE;
}

char *side_error(Side *s)
{
    char *text = NULL;

    ferry_migration_query(s->migration, NULL, NULL, &text, NULL);
    return text != NULL ? text : g_strdup("no error");
}

void sides_begin(Side *from, Side *to, const char *uri)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *bound = NULL;

    EXPECT(ferry_migration_incoming(to->migration, uri, FALSE, &error), "%s", error->message);
    bound = ferry_migration_get_incoming_uri(to->migration);
    EXPECT(bound != NULL, "not listening");
    EXPECT(ferry_migration_start(from->migration, bound, &error), "%s", error->message);
}

void sides_expect_moved(Side *from, Side *to)
{
    gboolean was_running;

    EXPECT(!counting_guest_is_running(from->guest), "the source runs");
    EXPECT(counting_guest_is_running(to->guest), "the destination does not run");
    ferry_guest_pause(counting_guest_describe(to->guest), FERRY_PAUSE_SWITCHOVER, &was_running,
                      NULL);
    EXPECT(counting_guest_is_whole(to->guest), "memory and registers differ");
    EXPECT(counting_guest_count(to->guest) >= counting_guest_count(from->guest), "it went back");
}

void side_expect_status(Side *s, FerryStatus wanted, const char *what)
{
    FerryStatus status = side_wait_end(s);
    g_autofree char *error = side_error(s);

    EXPECT(status == wanted, "%s: %s (%s)", what, ferry_status_name(status), error);
}

char *sides_uri(const char *name) { return g_strdup_printf("unix:%s/%s", sides_directory, name); }

unsigned sides_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    while (dir != NULL && readdir(dir) != NULL) {
        n++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

void sides_expect_entries(const char *path, unsigned expected)
{
    unsigned n = sides_entries(path);

    for (unsigned i = 0; n != expected && i < 1000; i++) {
        g_usleep(1000);
        n = sides_entries(path);
    }
    EXPECT(n == expected, "%s: %u instead of %u", path, n, expected);
}

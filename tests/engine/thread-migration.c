/* Migrations between two objects in one process, over real sockets: each ends as it says, a new one
 * works after it, and nothing is left behind. */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/migration-private.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 512ull
#define PATIENCE_NS 60000000000ull /* for what must happen; reached only by a failure */

static char *directory;

/* What a listener heard, in its order: "setup active ... ". */
typedef struct {
    pthread_mutex_t lock;
    GString *statuses;
    uint64_t passes;
    CountingGuest *guest;
    gboolean ran_at_the_end; /* the guest, when failed or cancelled was published */
} Diary;

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

typedef struct {
    CountingGuest *guest;
    FerryMigration *migration;
    Diary diary;
} Side;

/* How pages travel; both sides are told. NULL: plainly. */
static const struct {
    const char *capability, *compression, *detection;
} * way,
    ways[] = {
        {"multifd",  "none", "multifd"},
        {"multifd",  "zlib", "legacy" },
        {"multifd",  "zstd", "none"   },
        {"xbzrle",   "none", "multifd"},
        {"compress", "none", "legacy" },
};

static void choose_way(FerryMigration *migration)
{
    EXPECT(ferry_migration_set_capability(migration, way->capability, TRUE, NULL) &&
               ferry_migration_set_parameter(migration, "multifd-compression", 0, way->compression,
                                             NULL) &&
               ferry_migration_set_parameter(migration, "zero-page-detection", 0, way->detection,
                                             NULL) &&
               ferry_migration_set_parameter(migration, "multifd-channels", 3, NULL, NULL),
           "%s", way->capability);
}

static void side_init(Side *s, uint64_t seed, unsigned rate)
{
    s->guest = counting_guest_new(PAGES, rate, seed);
    pthread_mutex_init(&s->diary.lock, NULL);
    s->diary.statuses = g_string_new(NULL);
    s->diary.passes = 0;
    s->diary.guest = s->guest;
    s->migration = ferry_migration_new(counting_guest_describe(s->guest), &listener, &s->diary);
    if (way != NULL) {
        choose_way(s->migration);
    }
}

static void side_clear(Side *s)
{
    ferry_migration_free(s->migration);
    counting_guest_free(s->guest);
    g_string_free(s->diary.statuses, TRUE);
    pthread_mutex_destroy(&s->diary.lock);
}

static char *said(Side *s)
{
    char *text;

    pthread_mutex_lock(&s->diary.lock);
    text = g_strdup(s->diary.statuses->str);
    g_string_truncate(s->diary.statuses, 0);
    s->diary.passes = 0;
    pthread_mutex_unlock(&s->diary.lock);
    return text;
}

static void number(Side *s, const char *name, uint64_t value)
{
    g_autoptr(GError) error = NULL;

    EXPECT(ferry_migration_set_parameter(s->migration, name, value, NULL, &error), "%s: %s", name,
           error->message);
}

static void capability(Side *s, const char *name, gboolean on)
{
    EXPECT(ferry_migration_set_capability(s->migration, name, on, NULL), "%s", name);
}

static FerryStatus wait_end(Side *s)
{
    EXPECT(ferry_migration_wait(s->migration, ferry_now_ns() + PATIENCE_NS), "no end");
    return ferry_migration_get_status(s->migration);
}

/* TRUE once it is there, FALSE when the migration ended otherwise. */
static gboolean wait_status(Side *s, FerryStatus wanted)
{
    for (uint64_t until = ferry_now_ns() + PATIENCE_NS; ferry_now_ns() < until; g_usleep(500)) {
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

static char *text_of_error(Side *s)
{
    char *text = NULL;

    ferry_migration_query(s->migration, NULL, NULL, &text, NULL);
    return text != NULL ? text : g_strdup("no error");
}

/* The destination listens on @uri, the source starts. */
static void begin(Side *from, Side *to, const char *uri)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *bound = NULL;

    EXPECT(ferry_migration_incoming(to->migration, uri, FALSE, &error), "%s", error->message);
    bound = ferry_migration_get_incoming_uri(to->migration);
    EXPECT(bound != NULL, "not listening");
    EXPECT(ferry_migration_start(from->migration, bound, &error), "%s", error->message);
}

static void expect_moved(Side *from, Side *to)
{
    gboolean was_running;

    EXPECT(!counting_guest_is_running(from->guest), "the source runs");
    EXPECT(counting_guest_is_running(to->guest), "the destination does not run");
    ferry_guest_pause(counting_guest_describe(to->guest), FERRY_PAUSE_SWITCHOVER, &was_running,
                      NULL);
    EXPECT(counting_guest_is_whole(to->guest), "memory and registers differ");
    EXPECT(counting_guest_count(to->guest) >= counting_guest_count(from->guest), "it went back");
}

static void expect_status(Side *s, FerryStatus wanted, const char *what)
{
    FerryStatus status = wait_end(s);
    g_autofree char *error = text_of_error(s);

    EXPECT(status == wanted, "%s: %s (%s)", what, ferry_status_name(status), error);
}

static char *unix_uri(const char *name) { return g_strdup_printf("unix:%s/%s", directory, name); }

static void test_moves(const char *uri)
{
    g_autofree char *from_said = NULL, *to_said = NULL;
    g_autoptr(GArray) rounds = NULL;
    FerryProgress progress;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    capability(&from, "x-ferry-verify", TRUE);
    counting_guest_run(from.guest);
    begin(&from, &to, uri);
    expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    expect_status(&to, FERRY_STATUS_COMPLETED, uri);
    expect_moved(&from, &to);
    from_said = said(&from);
    to_said = said(&to);
    EXPECT(strcmp(from_said, "setup active device completed ") == 0, "%s", from_said);
    EXPECT(strcmp(to_said, "setup active completed ") == 0, "%s", to_said);
    ferry_migration_query(from.migration, NULL, &progress, NULL, &rounds);
    EXPECT(progress.sent_bytes > 0 && progress.dirty_syncs >= 2 && progress.total_ns > 0 &&
               progress.downtime.total_ns > 0 && progress.verified,
           "numbers are missing after the end");
    EXPECT(rounds != NULL && rounds->len > 0, "no rounds after the end");
    EXPECT(ferry_migration_get_incoming_uri(to.migration) == NULL, "it still listens");
    EXPECT(ferry_migration_cancel(from.migration, NULL), "nothing to cancel is no error");
    side_clear(&from);
    side_clear(&to);
}

static void test_a_guest_is_in_one_place(void)
{
    g_autofree char *uri = unix_uri("one-place");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_may_run(from.migration, NULL), "nothing happened yet");
    begin(&from, &to, uri);
    expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    expect_status(&to, FERRY_STATUS_COMPLETED, uri);
    EXPECT(!ferry_migration_may_run(from.migration, NULL), "it would run twice");
    EXPECT(!ferry_migration_start(from.migration, uri, NULL), "there is nothing to send");
    EXPECT(!ferry_migration_incoming(from.migration, uri, FALSE, NULL), "memory is not empty");
    EXPECT(ferry_migration_may_run(to.migration, NULL), "it is here");
    EXPECT(!ferry_migration_incoming(to.migration, uri, FALSE, NULL), "a guest lives here");
    side_clear(&from);
    side_clear(&to);
}

static void test_nobody_listens_then_it_works(void)
{
    g_autofree char *uri = unix_uri("second"), *text = NULL, *heard = NULL;
    g_autoptr(GError) error = NULL;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    EXPECT(!ferry_migration_start(from.migration, "tcp:", &error), "no such address");
    EXPECT(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS), "%s",
           error->message);
    EXPECT(ferry_migration_get_status(from.migration) == FERRY_STATUS_NONE, "nothing was begun");
    EXPECT(ferry_migration_start(from.migration, uri, NULL), "a connection that fails is a status");
    expect_status(&from, FERRY_STATUS_FAILED, "nobody listens");
    text = text_of_error(&from);
    EXPECT(strstr(text, uri) != NULL, "the address is not named: %s", text);
    heard = said(&from);
    EXPECT(strcmp(heard, "setup failed ") == 0, "%s", heard);
    EXPECT(from.diary.ran_at_the_end, "the guest did not run when failed was published");
    begin(&from, &to, uri);
    expect_status(&from, FERRY_STATUS_COMPLETED, "the second try");
    expect_status(&to, FERRY_STATUS_COMPLETED, "the second try");
    expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_refusals_begin_nothing(void)
{
    g_autofree char *uri = unix_uri("refused"), *other = unix_uri("refused-too");
    g_autoptr(GError) error = NULL;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    ferry_guest_set_blocker(counting_guest_describe(from.guest), "device X is passed through");
    EXPECT(!ferry_migration_start(from.migration, uri, &error), "it is blocked");
    EXPECT(error != NULL && strstr(error->message, "device X is passed through"), "unnamed");
    ferry_guest_set_blocker(counting_guest_describe(from.guest), NULL);
    number(&from, "max-bandwidth", 200000); /* it lasts */
    begin(&from, &to, uri);
    g_clear_error(&error);
    EXPECT(!ferry_migration_start(from.migration, other, &error), "one at a time");
    EXPECT(!ferry_migration_incoming(to.migration, other, FALSE, NULL), "one at a time");
    EXPECT(!ferry_migration_set_capability(from.migration, "events", TRUE, NULL), "it runs");
    EXPECT(!ferry_migration_set_parameter(from.migration, "x-ferry-record", 0, "", NULL),
           "only limits may change");
    EXPECT(!ferry_migration_continue(from.migration, NULL), "it does not wait");
    EXPECT(!ferry_migration_resolve(from.migration, TRUE, NULL), "it is not in doubt");
    EXPECT(wait_status(&from, FERRY_STATUS_ACTIVE), "it was disturbed");
    number(&from, "max-bandwidth", 0); /* the limits of what runs */
    expect_status(&from, FERRY_STATUS_COMPLETED, "undisturbed");
    expect_status(&to, FERRY_STATUS_COMPLETED, "undisturbed");
    expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

/* Cancel while it listens, while nobody answers, while pages flow, and before the switchover. */
static void test_cancel_while(FerryStatus when)
{
    g_autofree char *uri = unix_uri("cancel"), *heard = NULL;
    FerryStatus there;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    capability(&from, "pause-before-switchover", when == FERRY_STATUS_PRE_SWITCHOVER);
    number(&from, "max-bandwidth", when == FERRY_STATUS_ACTIVE ? 100000 : 0);
    begin(&from, &to, uri);
    EXPECT(wait_status(&from, when), "never %s", ferry_status_name(when));
    EXPECT(ferry_migration_cancel(from.migration, NULL), "%s: too late", ferry_status_name(when));
    EXPECT(ferry_migration_cancel(from.migration, NULL), "twice is no error");
    expect_status(&from, FERRY_STATUS_CANCELLED, ferry_status_name(when));
    there = wait_end(&to);
    EXPECT(there == FERRY_STATUS_FAILED || there == FERRY_STATUS_CANCELLED, "%s there",
           ferry_status_name(there));
    EXPECT(from.diary.ran_at_the_end, "the guest did not run when cancelled was published");
    EXPECT(!counting_guest_is_running(to.guest), "it runs there");
    EXPECT(counting_guest_is_zero(to.guest), "something is left there");
    heard = said(&from);
    EXPECT(g_str_has_suffix(heard, "cancelling cancelled "), "%s", heard);
    /* And now in earnest. */
    capability(&from, "pause-before-switchover", FALSE);
    number(&from, "max-bandwidth", 0);
    begin(&from, &to, uri);
    expect_status(&from, FERRY_STATUS_COMPLETED, "after a cancel");
    expect_status(&to, FERRY_STATUS_COMPLETED, "after a cancel");
    expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_cancel_while_connecting(void)
{
    g_autofree char *uri = unix_uri("mute");
    g_auto(FerryAddress) address = {0};
    g_autoptr(FerryListener) mute = NULL; /* takes connections and says nothing */
    Side from;

    side_init(&from, 1, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_address_parse(uri, &address, NULL), "%s", uri);
    mute = ferry_listener_new(&address, NULL, NULL);
    EXPECT(ferry_migration_start(from.migration, uri, NULL), "not begun");
    EXPECT(ferry_migration_cancel(from.migration, NULL), "too late");
    expect_status(&from, FERRY_STATUS_CANCELLED, "connecting");
    EXPECT(counting_guest_is_running(from.guest), "it does not run on");
    side_clear(&from);
}

static void test_cancel_while_listening(void)
{
    g_autofree char *uri = unix_uri("listening");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_incoming(to.migration, uri, FALSE, NULL), "not listening");
    EXPECT(ferry_migration_cancel(to.migration, NULL), "too late");
    expect_status(&to, FERRY_STATUS_CANCELLED, "listening");
    begin(&from, &to, uri);
    expect_status(&from, FERRY_STATUS_COMPLETED, "after a cancel");
    expect_status(&to, FERRY_STATUS_COMPLETED, "after a cancel");
    expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_waits_before_the_switchover(void)
{
    g_autofree char *uri = unix_uri("wait"), *heard = NULL;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    capability(&from, "pause-before-switchover", TRUE);
    begin(&from, &to, uri);
    EXPECT(wait_status(&from, FERRY_STATUS_PRE_SWITCHOVER), "it did not wait");
    EXPECT(!counting_guest_is_running(from.guest), "it waits with the guest paused");
    EXPECT(!ferry_migration_may_run(from.migration, NULL), "the migration holds it");
    EXPECT(ferry_migration_continue(from.migration, NULL), "it cannot go on");
    expect_status(&from, FERRY_STATUS_COMPLETED, "went on");
    expect_status(&to, FERRY_STATUS_COMPLETED, "went on");
    heard = said(&from);
    EXPECT(strcmp(heard, "setup active pre-switchover device completed ") == 0, "%s", heard);
    expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_a_file_keeps_the_guest_here(void)
{
    g_autofree char *uri = g_strdup_printf("file:%s/saved", directory);
    g_autofree char *path = g_strdup_printf("%s/saved", directory);
    Side from;

    side_init(&from, 1, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_start(from.migration, uri, NULL), "not begun");
    expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    EXPECT(!counting_guest_is_running(from.guest), "it runs on");
    EXPECT(ferry_migration_may_run(from.migration, NULL), "a saved guest may go on");
    unlink(path);
    side_clear(&from);
}

/* The way back is cut at each byte: whoever decides, the guest is in one place afterwards. Answers
 * whether it was in doubt. */
static gboolean test_cut(unsigned position, gboolean here, gboolean *out_completed)
{
    g_autofree char *uri = unix_uri("cut");
    g_autofree char *fault = g_strdup_printf("cut,read,%u", position);
    FerryStatus status, there;
    gboolean in_doubt;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    number(&from, "x-ferry-io-timeout-ms", 2000);
    number(&to, "x-ferry-io-timeout-ms", 2000);
    EXPECT(ferry_migration_set_parameter(from.migration, "x-ferry-fault", 0, fault, NULL), "%s",
           fault);
    counting_guest_run(from.guest);
    begin(&from, &to, uri);
    status = wait_end(&from);
    if (position == 0) { /* nothing was said: the destination waits for somebody else */
        EXPECT(ferry_migration_cancel(to.migration, NULL), "too late");
    }
    there = wait_end(&to);
    in_doubt = status == FERRY_STATUS_IN_DOUBT;
    *out_completed = status == FERRY_STATUS_COMPLETED;
    EXPECT(!(counting_guest_is_running(from.guest) && counting_guest_is_running(to.guest)),
           "%s: it runs twice", fault);
    if (in_doubt) {
        EXPECT(!ferry_migration_may_run(from.migration, NULL), "%s: in doubt", fault);
        EXPECT(!ferry_migration_start(from.migration, uri, NULL), "%s: in doubt", fault);
        EXPECT(!ferry_migration_cancel(from.migration, NULL), "%s: in doubt", fault);
        /* Whoever resolves knows: it must not be here when it runs there. */
        here = here && there != FERRY_STATUS_COMPLETED;
        EXPECT(ferry_migration_resolve(from.migration, here, NULL), "%s: unresolved", fault);
        status = ferry_migration_get_status(from.migration);
        EXPECT(status == (here ? FERRY_STATUS_FAILED : FERRY_STATUS_COMPLETED), "%s",
               ferry_status_name(status));
        EXPECT(!ferry_migration_resolve(from.migration, here, NULL), "%s: twice", fault);
        if (there == FERRY_STATUS_IN_DOUBT) {
            EXPECT(ferry_migration_resolve(to.migration, !here, NULL), "%s: unresolved", fault);
        }
    } else if (there == FERRY_STATUS_IN_DOUBT) {
        /* The source had not released it: it runs there. */
        EXPECT(status == FERRY_STATUS_FAILED, "%s: %s", fault, ferry_status_name(status));
        EXPECT(ferry_migration_resolve(to.migration, FALSE, NULL), "%s: unresolved", fault);
    }
    EXPECT(counting_guest_is_running(from.guest) != counting_guest_is_running(to.guest),
           "%s: it runs not once (%s, %s)", fault, ferry_status_name(status),
           ferry_status_name(there));
    side_clear(&from);
    side_clear(&to);
    return in_doubt;
}

static void test_cuts(void)
{
    gboolean completed = FALSE;
    unsigned doubts = 0;

    for (unsigned position = 0; !completed && position < 400; position++) {
        doubts += test_cut(position, doubts % 2 == 0, &completed);
    }
    EXPECT(completed, "no cut was late enough");
    EXPECT(doubts > 0, "nothing was ever in doubt");
}

static void test_free_cancels(void)
{
    g_autofree char *uri = unix_uri("free");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    number(&from, "max-bandwidth", 100000);
    begin(&from, &to, uri);
    EXPECT(wait_status(&from, FERRY_STATUS_ACTIVE), "never active");
    ferry_migration_free(g_steal_pointer(&from.migration));
    EXPECT(counting_guest_is_running(from.guest), "it does not run on");
    wait_end(&to);
    side_clear(&from);
    side_clear(&to);
}

static unsigned entries(const char *path)
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

/* A joined thread leaves /proc a moment later. */
static void expect_entries(const char *path, unsigned expected)
{
    unsigned n = entries(path);

    for (unsigned i = 0; n != expected && i < 1000; i++) {
        g_usleep(1000);
        n = entries(path);
    }
    EXPECT(n == expected, "%s: %u instead of %u", path, n, expected);
}

static void run_all(void)
{
    g_autofree char *uri = unix_uri("moves");

    test_moves(uri);
    test_moves("tcp:127.0.0.1:0");
    test_a_guest_is_in_one_place();
    test_nobody_listens_then_it_works();
    test_refusals_begin_nothing();
    test_cancel_while(FERRY_STATUS_ACTIVE);
    test_cancel_while(FERRY_STATUS_PRE_SWITCHOVER);
    test_cancel_while_connecting();
    test_cancel_while_listening();
    test_waits_before_the_switchover();
    test_a_file_keeps_the_guest_here();
    test_free_cancels();
    for (way = ways; way < ways + G_N_ELEMENTS(ways); way++) {
        test_moves(uri);
        test_cancel_while(FERRY_STATUS_ACTIVE);
        test_cancel_while(FERRY_STATUS_PRE_SWITCHOVER);
        test_free_cancels();
    }
    way = NULL;
}

int main(void)
{
    unsigned fds, threads;

    directory = g_dir_make_tmp("ferry-migration-XXXXXX", NULL);
    run_all(); /* what is made once in a process is made now */
    fds = entries("/proc/self/fd");
    threads = entries("/proc/self/task");
    run_all();
    test_cuts();
    expect_entries("/proc/self/fd", fds);
    expect_entries("/proc/self/task", threads);
    EXPECT(rmdir(directory) == 0, "something is left in %s", directory);
    g_free(directory);
    return failures == 0 ? 0 : 1;
}

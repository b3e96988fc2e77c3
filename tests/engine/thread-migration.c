/* Migrations between two objects in one process, over real sockets: each ends as it says, a new one
 * works after it, and nothing is left behind. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/engine/migration-sides.h"
#include "tests/fakes/expect.h"

static void test_moves(const char *uri)
{
    g_autofree char *from_said = NULL, *to_said = NULL;
    g_autoptr(GArray) rounds = NULL;
    FerryProgress progress;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    side_set_capability(&from, "x-ferry-verify", TRUE);
    counting_guest_run(from.guest);
    sides_begin(&from, &to, uri);
    side_expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    side_expect_status(&to, FERRY_STATUS_COMPLETED, uri);
    sides_expect_moved(&from, &to);
    from_said = side_said(&from);
    to_said = side_said(&to);
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
    g_autofree char *uri = sides_uri("one-place");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_may_run(from.migration, NULL), "nothing happened yet");
    sides_begin(&from, &to, uri);
    side_expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    side_expect_status(&to, FERRY_STATUS_COMPLETED, uri);
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
    g_autofree char *uri = sides_uri("second"), *text = NULL, *heard = NULL;
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
    side_expect_status(&from, FERRY_STATUS_FAILED, "nobody listens");
    text = side_error(&from);
    EXPECT(strstr(text, uri) != NULL, "the address is not named: %s", text);
    heard = side_said(&from);
    EXPECT(strcmp(heard, "setup failed ") == 0, "%s", heard);
    EXPECT(from.diary.ran_at_the_end, "the guest did not run when failed was published");
    sides_begin(&from, &to, uri);
    side_expect_status(&from, FERRY_STATUS_COMPLETED, "the second try");
    side_expect_status(&to, FERRY_STATUS_COMPLETED, "the second try");
    sides_expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_refusals_begin_nothing(void)
{
    g_autofree char *uri = sides_uri("refused"), *other = sides_uri("refused-too");
    g_autoptr(GError) error = NULL;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    ferry_guest_set_blocker(counting_guest_describe(from.guest), "device X is passed through");
    EXPECT(!ferry_migration_start(from.migration, uri, &error), "it is blocked");
    EXPECT(error != NULL && strstr(error->message, "device X is passed through"), "unnamed");
    ferry_guest_set_blocker(counting_guest_describe(from.guest), NULL);
    side_set_number(&from, "max-bandwidth", 200000); /* it lasts */
    sides_begin(&from, &to, uri);
    g_clear_error(&error);
    EXPECT(!ferry_migration_start(from.migration, other, &error), "one at a time");
    EXPECT(!ferry_migration_incoming(to.migration, other, FALSE, NULL), "one at a time");
    EXPECT(!ferry_migration_set_capability(from.migration, "events", TRUE, NULL), "it runs");
    EXPECT(!ferry_migration_set_parameter(from.migration, "x-ferry-record", 0, "", NULL),
           "only limits may change");
    EXPECT(!ferry_migration_continue(from.migration, NULL), "it does not wait");
    EXPECT(!ferry_migration_resolve(from.migration, TRUE, NULL), "it is not in doubt");
    EXPECT(side_wait_status(&from, FERRY_STATUS_ACTIVE), "it was disturbed");
    side_set_number(&from, "max-bandwidth", 0); /* the limits of what runs */
    side_expect_status(&from, FERRY_STATUS_COMPLETED, "undisturbed");
    side_expect_status(&to, FERRY_STATUS_COMPLETED, "undisturbed");
    sides_expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

/* Cancel while it listens, while nobody answers, while pages flow, and before the switchover. */
static void test_cancel_while(FerryStatus when)
{
    g_autofree char *uri = sides_uri("cancel"), *heard = NULL;
    FerryStatus there;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    side_set_capability(&from, "pause-before-switchover", when == FERRY_STATUS_PRE_SWITCHOVER);
    side_set_number(&from, "max-bandwidth", when == FERRY_STATUS_ACTIVE ? 100000 : 0);
    sides_begin(&from, &to, uri);
    EXPECT(side_wait_status(&from, when), "never %s", ferry_status_name(when));
    EXPECT(ferry_migration_cancel(from.migration, NULL), "%s: too late", ferry_status_name(when));
    EXPECT(ferry_migration_cancel(from.migration, NULL), "twice is no error");
    side_expect_status(&from, FERRY_STATUS_CANCELLED, ferry_status_name(when));
    there = side_wait_end(&to);
    EXPECT(there == FERRY_STATUS_FAILED || there == FERRY_STATUS_CANCELLED, "%s there",
           ferry_status_name(there));
    EXPECT(from.diary.ran_at_the_end, "the guest did not run when cancelled was published");
    EXPECT(!counting_guest_is_running(to.guest), "it runs there");
    EXPECT(counting_guest_is_zero(to.guest), "something is left there");
    heard = side_said(&from);
    EXPECT(g_str_has_suffix(heard, "cancelling cancelled "), "%s", heard);
    /* And now in earnest. */
    side_set_capability(&from, "pause-before-switchover", FALSE);
    side_set_number(&from, "max-bandwidth", 0);
    sides_begin(&from, &to, uri);
    side_expect_status(&from, FERRY_STATUS_COMPLETED, "after a cancel");
    side_expect_status(&to, FERRY_STATUS_COMPLETED, "after a cancel");
    sides_expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_cancel_while_connecting(void)
{
    g_autofree char *uri = sides_uri("mute");
    g_auto(FerryAddress) address = {0};
    g_autoptr(FerryListener) mute = NULL; /* takes connections and says nothing */
    Side from;

    side_init(&from, 1, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_address_parse(uri, &address, NULL), "%s", uri);
    mute = ferry_listener_new(&address, NULL, NULL);
    EXPECT(ferry_migration_start(from.migration, uri, NULL), "not begun");
    EXPECT(ferry_migration_cancel(from.migration, NULL), "too late");
    side_expect_status(&from, FERRY_STATUS_CANCELLED, "connecting");
    EXPECT(counting_guest_is_running(from.guest), "it does not run on");
    side_clear(&from);
}

static void test_cancel_while_listening(void)
{
    g_autofree char *uri = sides_uri("listening");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_incoming(to.migration, uri, FALSE, NULL), "not listening");
    EXPECT(ferry_migration_cancel(to.migration, NULL), "too late");
    side_expect_status(&to, FERRY_STATUS_CANCELLED, "listening");
    sides_begin(&from, &to, uri);
    side_expect_status(&from, FERRY_STATUS_COMPLETED, "after a cancel");
    side_expect_status(&to, FERRY_STATUS_COMPLETED, "after a cancel");
    sides_expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_waits_before_the_switchover(void)
{
    g_autofree char *uri = sides_uri("wait"), *heard = NULL;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    side_set_capability(&from, "pause-before-switchover", TRUE);
    sides_begin(&from, &to, uri);
    EXPECT(side_wait_status(&from, FERRY_STATUS_PRE_SWITCHOVER), "it did not wait");
    EXPECT(!counting_guest_is_running(from.guest), "it waits with the guest paused");
    EXPECT(!ferry_migration_may_run(from.migration, NULL), "the migration holds it");
    EXPECT(ferry_migration_continue(from.migration, NULL), "it cannot go on");
    side_expect_status(&from, FERRY_STATUS_COMPLETED, "went on");
    side_expect_status(&to, FERRY_STATUS_COMPLETED, "went on");
    heard = side_said(&from);
    EXPECT(strcmp(heard, "setup active pre-switchover device completed ") == 0, "%s", heard);
    sides_expect_moved(&from, &to);
    side_clear(&from);
    side_clear(&to);
}

static void test_a_file_keeps_the_guest_here(void)
{
    g_autofree char *uri = g_strdup_printf("file:%s/saved", sides_directory);
    g_autofree char *path = g_strdup_printf("%s/saved", sides_directory);
    Side from;

    side_init(&from, 1, 5);
    counting_guest_run(from.guest);
    EXPECT(ferry_migration_start(from.migration, uri, NULL), "not begun");
    side_expect_status(&from, FERRY_STATUS_COMPLETED, uri);
    EXPECT(!counting_guest_is_running(from.guest), "it runs on");
    EXPECT(ferry_migration_may_run(from.migration, NULL), "a saved guest may go on");
    unlink(path);
    side_clear(&from);
}

static void test_free_cancels(void)
{
    g_autofree char *uri = sides_uri("free");
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    counting_guest_run(from.guest);
    side_set_number(&from, "max-bandwidth", 100000);
    sides_begin(&from, &to, uri);
    EXPECT(side_wait_status(&from, FERRY_STATUS_ACTIVE), "never active");
    ferry_migration_free(g_steal_pointer(&from.migration));
    EXPECT(counting_guest_is_running(from.guest), "it does not run on");
    side_wait_end(&to);
    side_clear(&from);
    side_clear(&to);
}

static void run_all(void)
{
    g_autofree char *uri = sides_uri("moves");

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
    for (sides_way = sides_ways; sides_way < sides_ways + G_N_ELEMENTS(sides_ways); sides_way++) {
        test_moves(uri);
        test_cancel_while(FERRY_STATUS_ACTIVE);
        test_cancel_while(FERRY_STATUS_PRE_SWITCHOVER);
        test_free_cancels();
    }
    sides_way = NULL;
}

int main(void)
{
    unsigned fds, threads;

    sides_directory = g_dir_make_tmp("ferry-migration-XXXXXX", NULL);
    run_all(); /* what is made once in a process is made now */
    fds = sides_entries("/proc/self/fd");
    threads = sides_entries("/proc/self/task");
    run_all();
    sides_expect_entries("/proc/self/fd", fds);
    sides_expect_entries("/proc/self/task", threads);
    EXPECT(rmdir(sides_directory) == 0, "something is left in %s", sides_directory);
    g_free(sides_directory);
    return failures != 0;
}

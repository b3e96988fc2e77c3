/* The way back is cut at each byte: whoever decides, the guest is in one place afterwards. */
#include <stdio.h>
#include <unistd.h>
#include "tests/engine/migration-sides.h"
#include "tests/fakes/expect.h"

/* Answers whether it was in doubt. */
static gboolean test_cut(unsigned position, gboolean here, gboolean *out_completed)
{
    g_autofree char *uri = sides_uri("cut");
    g_autofree char *fault = g_strdup_printf("cut,read,%u", position);
    FerryStatus status, there;
    gboolean in_doubt;
    Side from, to;

    side_init(&from, 1, 5);
    side_init(&to, 2, 5);
    side_set_number(&from, "x-ferry-io-timeout-ms", 2000);
    side_set_number(&to, "x-ferry-io-timeout-ms", 2000);
    EXPECT(ferry_migration_set_parameter(from.migration, "x-ferry-fault", 0, fault, NULL), "%s",
           fault);
    counting_guest_run(from.guest);
    sides_begin(&from, &to, uri);
    status = side_wait_end(&from);
    if (position == 0) { /* nothing was said: the destination waits for somebody else */
        EXPECT(ferry_migration_cancel(to.migration, NULL), "too late");
    }
    there = side_wait_end(&to);
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

int main(void)
{
    gboolean completed;
    unsigned fds, threads;

    sides_directory = g_dir_make_tmp("ferry-migration-XXXXXX", NULL);
    (void)test_cut(0, FALSE, &completed); /* what is made once in a process is made now */
    fds = sides_entries("/proc/self/fd");
    threads = sides_entries("/proc/self/task");
    test_cuts();
    sides_expect_entries("/proc/self/fd", fds);
    sides_expect_entries("/proc/self/task", threads);
    EXPECT(rmdir(sides_directory) == 0, "something is left in %s", sides_directory);
    g_free(sides_directory);
    return failures != 0;
}

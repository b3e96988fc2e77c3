/* What becomes of a stranger: in memory, in files of RAM, in a snapshot; whole or not at all. */
#include <criterion/criterion.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "keep.h"
#include "engine/error.h"

static FerryCapture *new_capture(const FerryCaptureOptions *options)
{
    GError *error = NULL;
    FerryCapture *c = ferry_capture_new(options, &error);

    cr_assert_not_null(c, "%s", error ? error->message : "");
    return c;
}

static char *refusal(GError *error)
{
    static char text[512];

    cr_assert(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED));
    g_strlcpy(text, error->message, sizeof text);
    g_error_free(error);
    return text;
}

Test(capture, keeps_everything_as_it_came)
{
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){0});
    size_t length = 1;

    keep_whole(c, "paused");
    cr_expect_str_eq(ferry_capture_configuration(c)->machine, KEEP_MACHINE);
    cr_expect_eq(ferry_capture_page_bits(c), 12);
    cr_expect_str_eq(ferry_capture_run_state(c), "paused");
    cr_assert_eq(ferry_capture_n_sections(c), 3);
    FerryCapturedSection s = ferry_capture_section(c, 0);
    cr_expect_str_eq(s.idstr, "cpu");
    cr_expect_eq(s.version, 3);
    cr_expect_eq(s.length, 10);
    cr_expect_arr_eq(s.body, "0123456789", 10);
    s = ferry_capture_section(c, 2);
    cr_expect_str_eq(s.idstr, "timer");
    cr_expect_eq(s.instance, 1);
    cr_expect_eq(s.length, 0);
    cr_expect_null(ferry_capture_description(c, &length));
    cr_expect_eq(length, 0);
}

Test(capture, hashes_a_block)
{
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){0});
    g_autofree uint8_t *same = g_malloc0(KEEP_SMALL_PAGES * 4096);

    keep_whole(c, NULL);
    memset(same, 0x33, 4096);
    g_autofree char *expected =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, same, KEEP_SMALL_PAGES * 4096);
    g_autofree char *sum = ferry_capture_sha256(c, 1);
    cr_expect_str_eq(sum, expected);
}

Test(capture, more_ram_than_allowed_is_refused_before_it_is_memory)
{
    g_autoptr(FerryCapture) c =
        new_capture(&(FerryCaptureOptions){.max_ram_bytes = (KEEP_PAGES + 2) * 4096});
    GError *error = NULL;

    cr_assert(!keep_begin(c, &error));
    char *why = refusal(error);
    cr_expect(strstr(why, "'/rom@etc/x'") && strstr(why, "176128") && strstr(why, "172032"), "%s",
              why);
    cr_expect_eq(ferry_memory_n_blocks(ferry_guest_memory(ferry_capture_guest(c))), 0);
}

Test(capture, absurd_lengths_are_refused)
{
    static const uint64_t lengths[] = {0, 4095, 4097, 1ull << 63, UINT64_MAX - 4095};

    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){0});
        GError *error = NULL;
        void *self;
        const FerryStrangerOps *ops = keep_ops(c, &self);
        cr_expect(!(ops->block(self, "a", 4096, &error) &&
                    ops->block(self, "b", lengths[i], &error) && ops->blocks_end(self, &error)),
                  "%zu", i);
        g_clear_error(&error);
        ops->discard(self);
    }
}

Test(capture, another_guests_uuid_is_refused)
{
    uint8_t ours[16] = {1};
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.uuid = ours});
    FerryConfiguration configuration = {.machine = KEEP_MACHINE, .has_uuid = TRUE, .uuid = {2}};
    GError *error = NULL;
    void *self;
    const FerryStrangerOps *ops = keep_ops(c, &self);

    cr_expect(!ops->configuration(self, &configuration, &error));
    cr_expect(strstr(refusal(error), "UUID"));
    configuration.uuid[0] = 1;
    cr_expect(ops->configuration(self, &configuration, NULL));
}

Test(capture, globalstate_must_name_a_state_once)
{
    static const uint8_t none[104], unended[104] = {0, 0, 0, 4, 'a', 'b', 'c', 'd'};
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){0});
    GError *error = NULL;

    cr_expect(!keep_device(c, "globalstate", 0, none, sizeof none, FALSE, &error));
    cr_expect(strstr(refusal(error), "names no run state"));
    error = NULL;
    cr_expect(!keep_device(c, "globalstate", 0, unended, sizeof unended, FALSE, &error));
    cr_expect(strstr(refusal(error), "names no run state"));
    error = NULL;
    cr_expect(!keep_device(c, "globalstate", 0, none, 3, FALSE, &error));
    cr_expect(strstr(refusal(error), "names no run state"));
    cr_assert(keep_devices(c, "running", NULL));
    error = NULL;
    cr_expect(!keep_device(c, "globalstate", 0, none, sizeof none, FALSE, &error));
    cr_expect(strstr(refusal(error), "twice"));
}

Test(capture, ram_stands_in_a_file_per_block)
{
    char *dir = keep_directory();
    g_autofree char *sub = g_build_filename(dir, "ram", NULL);
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.ram_dir = sub});
    g_autofree char *file = g_build_filename(sub, "rom@etc%2Fx", NULL);
    g_autofree char *text = NULL;
    gsize n;

    keep_whole(c, NULL);
    g_autofree char *names = keep_list(sub);
    cr_expect_str_eq(names, "pc.ram rom@etc%2Fx");
    cr_assert(g_file_get_contents(file, &text, &n, NULL));
    cr_expect_eq(n, KEEP_SMALL_PAGES * 4096);
    cr_expect(text[0] == 0x33 && text[4095] == 0x33 && text[4096] == 0);
    keep_discard(c);
    g_autofree char *left = keep_list(sub);
    cr_expect_str_eq(left, "", "what was made is taken away");
    g_rmdir(sub);
    keep_directory_remove(dir);
}

Test(capture, a_file_of_the_right_size_is_used_as_it_is)
{
    char *dir = keep_directory();
    g_autofree char *file = g_build_filename(dir, "pc.ram", NULL);
    g_autofree char *old = g_malloc(KEEP_PAGES * 4096), *text = NULL;
    struct stat before, after;
    void *self;
    gsize n;

    memset(old, 0x77, KEEP_PAGES * 4096);
    cr_assert(g_file_set_contents(file, old, KEEP_PAGES * 4096, NULL));
    cr_assert_eq(stat(file, &before), 0);
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    const FerryStrangerOps *ops = keep_ops(c, &self);
    cr_assert(keep_begin(c, NULL));
    cr_expect(ops->is_stale(self, 0), "its content is not ours");
    cr_expect(!ops->is_stale(self, 1), "a new one is known zero");
    cr_assert_eq(stat(file, &after), 0);
    cr_expect_eq(before.st_ino, after.st_ino);
    keep_discard(c);
    cr_assert(g_file_get_contents(file, &text, &n, NULL), "a file that was there stays");
    cr_expect_eq(n, KEEP_PAGES * 4096);
    cr_expect(text[0] == 0 && memcmp(text, text + 1, n - 1) == 0,
              "with nothing of the guest in it");
    keep_directory_remove(dir);
}

static unsigned mappings_of(const char *file)
{
    g_autofree char *maps = NULL;
    unsigned n = 0;

    cr_assert(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    for (const char *at = maps; (at = strstr(at, file)); at += strlen(file)) {
        n++;
    }
    return n;
}

/* Memory that was touched is mapped before the source connects, and not again then. */
Test(capture, a_file_on_tmpfs_is_mapped_at_once)
{
    char directory[] = "/dev/shm/ferry-test-XXXXXX";
    if (!g_mkdtemp(directory)) {
        cr_skip_test("no /dev/shm");
    }
    g_autofree char *file = g_build_filename(directory, "pc.ram", NULL);
    g_autofree char *old = g_malloc(KEEP_PAGES * 4096), *text = NULL;

    memset(old, 0x77, KEEP_PAGES * 4096);
    cr_assert(g_file_set_contents(file, old, KEEP_PAGES * 4096, NULL));
    FerryCapture *c = new_capture(&(FerryCaptureOptions){.ram_dir = directory});
    cr_expect_eq(mappings_of(file), 1);
    cr_assert(keep_begin(c, NULL));
    cr_expect_eq(mappings_of(file), 1);
    uint8_t *host = ferry_memory_block(ferry_guest_memory(ferry_capture_guest(c)), 0)->host;
    cr_expect_eq(host[0], 0x77);
    host[0] = 0x11;
    cr_assert(g_file_get_contents(file, &text, NULL, NULL));
    cr_expect_eq(text[0], 0x11);
    ferry_capture_free(c);
    cr_expect_eq(mappings_of(file), 0);

    /* Another file has its name by the time it is needed. */
    c = new_capture(&(FerryCaptureOptions){.ram_dir = directory});
    cr_assert(g_file_set_contents(file, old, KEEP_PAGES * 4096, NULL));
    cr_assert(keep_begin(c, NULL));
    host = ferry_memory_block(ferry_guest_memory(ferry_capture_guest(c)), 0)->host;
    cr_expect_eq(host[0], 0x77, "not what the first one has now");
    ferry_capture_free(c);
    keep_directory_remove(g_strdup(directory));
}

Test(capture, a_file_of_another_size_is_begun_anew)
{
    char *dir = keep_directory();
    g_autofree char *file = g_build_filename(dir, "pc.ram", NULL), *text = NULL;
    void *self;
    gsize n;

    cr_assert(g_file_set_contents(file, "something else", -1, NULL));
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    cr_assert(keep_begin(c, NULL));
    cr_expect(!keep_ops(c, &self)->is_stale(self, 0));
    cr_assert(g_file_get_contents(file, &text, &n, NULL));
    cr_expect(n == KEEP_PAGES * 4096 && text[0] == 0);
    keep_directory_remove(dir);
}

Test(capture, names_do_not_leave_the_directory_nor_meet)
{
    static const char *const names[] = {"..", ".", "/", "/../x", "%", "a/b"};
    char *dir = keep_directory();
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    FerryConfiguration configuration = {.machine = KEEP_MACHINE};
    GError *error = NULL;
    void *self;
    const FerryStrangerOps *ops = keep_ops(c, &self);

    cr_assert(ops->configuration(self, &configuration, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        cr_assert(ops->block(self, names[i], 4096, NULL));
    }
    cr_assert(ops->blocks_end(self, &error), "%s", error ? error->message : "");
    g_autofree char *list = keep_list(dir);
    cr_expect_str_eq(list, "% %. %.. %25 ..%2Fx a%2Fb");
    ops->discard(self);
    keep_directory_remove(dir);

    dir = keep_directory();
    g_autoptr(FerryCapture) d = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    ops = keep_ops(d, &self);
    cr_assert(ops->configuration(self, &configuration, NULL));
    cr_assert(ops->block(self, "x", 4096, NULL) && ops->block(self, "/x", 4096, NULL));
    cr_expect(!ops->blocks_end(self, &error));
    cr_expect(strstr(refusal(error), "another one's file is 'x' too"));
    ops->discard(self);
    g_autofree char *left = keep_list(dir);
    cr_expect_str_eq(left, "");
    keep_directory_remove(dir);
}

Test(capture, what_is_no_regular_file_is_no_ram)
{
    char *dir = keep_directory();
    g_autofree char *link = g_build_filename(dir, "pc.ram", NULL);
    GError *error = NULL;

    cr_assert_eq(symlink("/dev/null", link), 0);
    g_autoptr(FerryCapture) c = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    cr_expect(!keep_begin(c, &error));
    (void)refusal(error);
    g_remove(link);
    cr_assert_eq(mkfifo(link, 0600), 0);
    g_autoptr(FerryCapture) d = new_capture(&(FerryCaptureOptions){.ram_dir = dir});
    error = NULL;
    cr_expect(!keep_begin(d, &error));
    cr_expect(strstr(refusal(error), "not a regular file"));
    keep_directory_remove(dir);
}

Test(capture, both_ways_at_once_are_refused)
{
    GError *error = NULL;

    cr_expect_null(ferry_capture_new(
        &(FerryCaptureOptions){.output = "/nowhere/a", .ram_dir = "/nowhere/b"}, &error));
    cr_expect(strstr(refusal(error), "not both"));
}

/* Snapshots: written whole or not at all, read with every doubt, and on their way out again. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "keep.h"
#include "engine/error.h"
#include "protocol/wire.h"

typedef struct {
    char *directory, *path;
} Place;

static Place place(void)
{
    Place p = {.directory = keep_directory()};

    p.path = g_build_filename(p.directory, "snapshot", NULL);
    return p;
}

static void clear(Place *p)
{
    keep_directory_remove(p->directory);
    g_free(p->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, clear)

static FerryCapture *begin(const Place *p)
{
    GError *error = NULL;
    FerryCapture *c = ferry_capture_new(&(FerryCaptureOptions){.output = p->path}, &error);

    cr_assert_not_null(c, "%s", error ? error->message : "");
    return c;
}

static void write_one(const Place *p, const char *run_state)
{
    g_autoptr(FerryCapture) c = begin(p);

    keep_whole(c, run_state);
}

static void expect_names(const Place *p, const char *names)
{
    g_autofree char *list = keep_list(p->directory);

    cr_expect_str_eq(list, names);
}

/* The words of a refusal, of whatever domain. */
static const char *refused(const Place *p, uint64_t offset, uint64_t max_ram)
{
    static char text[512];
    GError *error = NULL;
    FerryCapture *c = ferry_snapshot_open(p->path, offset, max_ram, &error);

    cr_assert_null(c);
    cr_assert_not_null(error);
    cr_expect(strstr(error->message, p->path), "%s", error->message);
    g_strlcpy(text, error->message, sizeof text);
    g_error_free(error);
    return text;
}

Test(snapshot, comes_back_as_it_was_kept)
{
    g_auto(Place) p = place();
    GError *error = NULL;

    write_one(&p, "running");
    expect_names(&p, "snapshot");
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, &error);
    cr_assert_not_null(c, "%s", error ? error->message : "");
    cr_expect_str_eq(ferry_capture_configuration(c)->machine, KEEP_MACHINE);
    cr_expect_str_eq(ferry_capture_run_state(c), "running");
    cr_assert_eq(ferry_capture_n_sections(c), 3);
    cr_expect_str_eq(ferry_capture_section(c, 1).idstr, "globalstate");
    cr_expect_arr_eq(ferry_capture_section(c, 0).body, "0123456789", 10);
    const FerryMemory *m = ferry_guest_memory(ferry_capture_guest(c));
    cr_assert_eq(ferry_memory_n_blocks(m), 2);
    const uint8_t *ram = ferry_memory_block(m, 0)->host;
    cr_expect(ram[0] == 0x11 && ram[4096] == 0 && ram[3 * 4096 - 1] == 1 && ram[3 * 4096] == 0);
    cr_expect_eq(ram[KEEP_PAGES * 4096 - 1], 0x22);
    cr_expect_eq(ferry_memory_block(m, 1)->host[4095], 0x33);
}

Test(snapshot, has_no_name_before_it_is_whole)
{
    g_auto(Place) p = place();
    g_autoptr(FerryCapture) c = begin(&p);

    cr_assert(keep_begin(c, NULL));
    keep_fill(c);
    expect_names(&p, "");
    cr_assert(keep_devices(c, "running", NULL) && keep_complete(c, NULL));
    expect_names(&p, "snapshot");
}

Test(snapshot, is_gone_when_the_source_takes_the_guest_back)
{
    g_auto(Place) p = place();
    g_autoptr(FerryCapture) c = begin(&p);

    keep_whole(c, "running");
    keep_discard(c);
    expect_names(&p, "");
}

Test(snapshot, leaves_what_was_there_when_it_fails)
{
    g_auto(Place) p = place();
    g_autofree char *text = NULL;

    cr_assert(g_file_set_contents(p.path, "older", -1, NULL));
    {
        g_autoptr(FerryCapture) c = begin(&p);
        cr_assert(keep_begin(c, NULL));
        keep_discard(c);
        expect_names(&p, "snapshot");
    }
    {
        g_autoptr(FerryCapture) c = begin(&p);
        keep_whole(c, "running"); /* replaces it */
        keep_discard(c);          /* the source took the guest back */
    }
    expect_names(&p, "snapshot");
    cr_assert(g_file_get_contents(p.path, &text, NULL, NULL));
    cr_expect_str_eq(text, "older");
    write_one(&p, "running");
    expect_names(&p, "snapshot");
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, NULL);
    cr_expect_not_null(c);
}

Test(snapshot, is_not_begun_where_it_cannot_be)
{
    static const char *const paths[] = {"/nowhere/at/all", "/dev/null", "/tmp",
                                        "/tmp/",           "/tmp/.",    "/proc/snapshot"};

    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        GError *error = NULL;
        cr_expect_null(ferry_capture_new(&(FerryCaptureOptions){.output = paths[i]}, &error), "%s",
                       paths[i]);
        cr_expect(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED));
        g_clear_error(&error);
    }
}

Test(snapshot, early_sections_stand_on_their_side_of_the_ram)
{
    g_auto(Place) p = place();
    GError *error = NULL;
    {
        FerryConfiguration configuration = {.machine = KEEP_MACHINE};
        g_autoptr(FerryCapture) c = begin(&p);
        void *self;
        const FerryStrangerOps *ops = keep_ops(c, &self);
        cr_assert(ops->configuration(self, &configuration, NULL));
        cr_assert(keep_device(c, "before", 0, "b", 1, TRUE, NULL));
        cr_assert(ops->block(self, "pc.ram", 4096, NULL) && ops->blocks_end(self, NULL));
        cr_assert(keep_device(c, "behind", 0, "c", 1, TRUE, NULL));
        cr_assert(keep_devices(c, "running", NULL) && keep_complete(c, NULL));
    }
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, &error);
    cr_assert_not_null(c, "%s", error ? error->message : "");
    cr_assert_eq(ferry_capture_n_sections(c), 5);
    cr_expect_str_eq(ferry_capture_section(c, 0).idstr, "before");
    cr_expect_str_eq(ferry_capture_section(c, 1).idstr, "behind");
    cr_expect(ferry_capture_section(c, 0).early && ferry_capture_section(c, 1).early);
    cr_expect(!ferry_capture_section(c, 2).early);
}

Test(snapshot, more_ram_than_allowed_is_refused)
{
    g_auto(Place) p = place();

    write_one(&p, "running");
    const char *why = refused(&p, 0, 4096 * KEEP_PAGES);
    cr_expect(strstr(why, "more than the 163840 that are allowed"), "%s", why);
}

Test(snapshot, m57_what_is_no_regular_file)
{
    g_auto(Place) p = place();

    cr_assert_eq(mkfifo(p.path, 0600), 0);
    cr_expect(strstr(refused(&p, 0, 0), "not a regular file"));
    g_remove(p.path);
    cr_assert_eq(g_mkdir(p.path, 0700), 0);
    cr_expect(strstr(refused(&p, 0, 0), "not a regular file"));
    g_rmdir(p.path);
    cr_expect(strstr(refused(&p, 0, 0), "No such file"));
    cr_expect(strstr(refused(&p, UINT64_MAX, 0), "No such file"));
}

Test(snapshot, an_offset_that_no_file_has_is_refused)
{
    g_auto(Place) p = place();

    write_one(&p, "running");
    cr_expect(strstr(refused(&p, UINT64_MAX, 0), "no file has a byte"));
    (void)refused(&p, 1ull << 40, 0);
    (void)refused(&p, 1, 0);
}

/* M56: one value of the block list's first entry, or of the file's length, is another. The entry
 * begins behind header, configuration (90 bytes) and the list's total. */
typedef struct {
    char what[40], says[64];
    unsigned at, size; /* in the file */
    uint64_t value;
} Bent;

#define ENTRY 98u
#define HEADER (ENTRY + 1 + 6 + 8)

ParameterizedTestParameters(snapshot, m56_bent)
{
    static Bent rows[] = {
        {"header version 2",             "version",           HEADER,          4, 2                },
        {"page size 0",                  "stream's are 4096", HEADER + 4,      8, 0                },
        {"page size 1",                  "stream's are 4096", HEADER + 4,      8, 1                },
        {"page size 2^63",               "stream's are 4096", HEADER + 4,      8, 1ull << 63       },
        {"bitmap past the end",          "bitmap",            HEADER + 12,     8, 1ull << 40       },
        {"bitmap on the header",         "bitmap",            HEADER + 12,     8, HEADER           },
        {"pages past the end",           "ended inside",      HEADER + 20,     8, 1ull << 40       },
        {"pages wrap",                   "",                  HEADER + 20,     8, UINT64_MAX - 4095},
        {"pages on the bitmap",          "pages",             HEADER + 20,     8, 4096 * 0         },
        {"pages not aligned",            "pages",             HEADER + 20,     8, (1u << 20) + 1   },
        {"a bit behind the last page",   "behind its last",   HEADER + 28 + 5, 1, 1                },
        {"a block longer than the file", "",                  ENTRY + 7,       8, 1ull << 40       },
        {"a block of 2^63",              "",                  ENTRY + 7,       8, 1ull << 63       },
    };
    return cr_make_param_array(Bent, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bent *row, snapshot, m56_bent)
{
    g_auto(Place) p = place();
    uint8_t bytes[8];
    FILE *f;

    write_one(&p, "running");
    f = fopen(p.path, "r+");
    cr_assert(f && fseek(f, ENTRY, SEEK_SET) == 0 && fread(bytes, 1, 7, f) == 7);
    cr_assert_arr_eq(bytes, "\6pc.ram", 7, "the list begins elsewhere");
    ferry_put_be64(bytes, row->value);
    cr_assert(fseek(f, row->at, SEEK_SET) == 0);
    cr_assert_eq(fwrite(bytes + 8 - row->size, 1, row->size, f), row->size);
    fclose(f);
    const char *why = refused(&p, 0, 0);
    cr_expect(strstr(why, row->says), "%s: %s", row->what, why);
}

/* Each length cuts something else: header, list, bitmap, pages, tail. */
Test(snapshot, m57_cut_anywhere)
{
    g_auto(Place) p = place();
    struct stat st;

    write_one(&p, "running");
    cr_assert_eq(stat(p.path, &st), 0);
    for (off_t cut = st.st_size - 1; cut >= 0; cut -= st.st_size - cut < 300 ? 1 : 40009) {
        cr_assert_eq(truncate(p.path, cut), 0);
        (void)refused(&p, 0, 0);
    }
}

static void *shorten(void *path)
{
    for (off_t cut = 2500000; cut > 0; cut -= 100000) {
        g_usleep(50);
        (void)truncate(path, cut);
    }
    return NULL;
}

/* A mapping of it would end the process. */
Test(snapshot, m57_shrinks_while_it_is_read)
{
    g_auto(Place) p = place();

    for (unsigned i = 0; i < 12; i++) {
        g_remove(p.path);
        write_one(&p, "running");
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, shorten, p.path), 0);
        g_autoptr(GError) error = NULL;
        g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, &error);
        cr_expect((c == NULL) == (error != NULL), "whole, or refused");
        if (c) {
            const FerryMemory *m = ferry_guest_memory(ferry_capture_guest(c));
            cr_expect_eq(ferry_memory_block(m, 0)->host[0], 0x11);
        }
        pthread_join(thread, NULL);
    }
}

/* A sparse file of 8 EiB, with a block as large as it can be and one that only just is not. */
Test(snapshot, m57_absurdly_large)
{
    g_auto(Place) p = place();
    int fd = memfd_create("sparse", MFD_CLOEXEC);
    g_autofree char *text = NULL;
    uint8_t be[8];
    gsize n;

    write_one(&p, "running");
    cr_assert(g_file_get_contents(p.path, &text, &n, NULL));
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    cr_assert_eq(pwrite(fd, text, MIN(n, 1u << 20), 0), (ssize_t)MIN(n, 1u << 20));
    cr_assert_eq(ftruncate(fd, INT64_MAX - 4095), 0);
    for (unsigned bits = 45; bits < 63; bits++) {
        GError *error = NULL;
        ferry_put_be64(be, 1ull << bits);
        cr_assert_eq(pwrite(fd, be, 8, ENTRY + 7), 8);
        ferry_put_be64(be, (1ull << bits) + KEEP_SMALL_PAGES * 4096 + 4);
        cr_assert_eq(pwrite(fd, be, 8, ENTRY - 8), 8);
        cr_expect_null(ferry_snapshot_open(path, 0, 0, &error), "2^%u", bits);
        cr_assert_not_null(error);
        g_error_free(error);
    }
    close(fd);
}

Test(snapshot, zeros_that_are_none_in_the_file_are_zeros)
{
    g_auto(Place) p = place();
    FILE *f;

    write_one(&p, "running");
    f = fopen(p.path, "r+"); /* as QEMU leaves a page that became zero again */
    cr_assert(f && fseek(f, (1 << 20) + 5 * 4096, SEEK_SET) == 0);
    cr_assert_eq(fputs("stale", f) >= 0, TRUE);
    fclose(f);
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, NULL);
    cr_assert_not_null(c);
    const FerryMemory *m = ferry_guest_memory(ferry_capture_guest(c));
    cr_expect_eq(ferry_memory_block(m, 0)->host[5 * 4096], 0);
}

Test(snapshot, is_found_behind_an_offset)
{
    g_auto(Place) p = place();
    g_autofree char *text = NULL;
    gsize n;

    write_one(&p, "running");
    cr_assert(g_file_get_contents(p.path, &text, &n, NULL));
    /* Places in the headers count from the start of the file; so this one is wrong there. */
    g_autofree char *moved = g_malloc0(n + 4096);
    memcpy(moved + 4096, text, n);
    cr_assert(g_file_set_contents(p.path, moved, (gssize)(n + 4096), NULL));
    cr_expect(strstr(refused(&p, 4096, 0), "bitmap"));
    (void)refused(&p, 0, 0);
}

Test(snapshot, leaves_as_a_still_guest)
{
    g_auto(Place) p = place();
    const uint8_t uuid[16] = {9};
    uint8_t said[16];
    GError *error = NULL;

    write_one(&p, "running");
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, NULL);
    FerryGuest *g = ferry_capture_guest(c);
    cr_assert(ferry_capture_prepare(c, "other-1", uuid, FERRY_START_PAUSED, &error), "%s",
              error ? error->message : "");
    const FerryKeptState *kept = ferry_guest_kept_state(g);
    cr_expect_str_eq(ferry_guest_machine(g), "other-1");
    cr_expect(ferry_guest_get_uuid(g, said) && memcmp(said, uuid, 16) == 0);
    cr_expect(!kept->was_running);
    cr_expect_eq(kept->globalstate_at, 1);
    cr_expect_arr_eq(kept->globalstate->body, "\0\0\0\7paused\0\0", 12);
    cr_expect_eq(kept->globalstate->body[36], 1, "what stands behind the name stays");
    cr_assert_eq(ferry_guest_n_devices(g), 2);
    g_autoptr(GByteArray) body = g_byte_array_new();
    cr_assert(ferry_device_save(ferry_guest_device(g, 0), body, NULL));
    cr_expect(body->len == 10 && memcmp(body->data, "0123456789", 10) == 0);
    /* everything is dirty once */
    FerryDirtyLog *log = ferry_guest_dirty_log(g);
    FerryBitmap dirty;
    ferry_bitmap_init(&dirty, KEEP_PAGES);
    cr_assert(ferry_dirty_log_start(log, NULL) && ferry_dirty_log_sync(log, 0, &dirty, NULL));
    cr_expect_eq(ferry_bitmap_count(&dirty), KEEP_PAGES);
    ferry_bitmap_reset(&dirty, 0, KEEP_PAGES);
    cr_assert(ferry_dirty_log_sync(log, 0, &dirty, NULL));
    cr_expect_eq(ferry_bitmap_count(&dirty), 0);
    ferry_bitmap_clear(&dirty);
}

Test(snapshot, without_a_run_state_the_guest_counts_as_running)
{
    g_auto(Place) p = place();

    write_one(&p, NULL);
    g_autoptr(FerryCapture) c = ferry_snapshot_open(p.path, 0, 0, NULL);
    cr_assert_not_null(c);
    cr_expect_null(ferry_capture_run_state(c));
    cr_assert(ferry_capture_prepare(c, NULL, NULL, FERRY_START_KEEP, NULL));
    const FerryKeptState *kept = ferry_guest_kept_state(ferry_capture_guest(c));
    cr_expect(kept->was_running && !kept->globalstate);
}

#include "keep.h"
#include <criterion/criterion.h>
#include <glib/gstdio.h>
#include <string.h>
#include "protocol/extension.h"
#include "protocol/wire.h"

const FerryStrangerOps *keep_ops(FerryCapture *c, void **out_self)
{
    const FerryStrangerOps *ops = ferry_guest_stranger(ferry_capture_guest(c), out_self);

    cr_assert_not_null(ops);
    return ops;
}

gboolean keep_begin(FerryCapture *c, GError **error)
{
    FerryConfiguration configuration = {.machine = KEEP_MACHINE};
    void *self;
    const FerryStrangerOps *ops = keep_ops(c, &self);

    return ops->configuration(self, &configuration, error) &&
           ops->block(self, "pc.ram", KEEP_PAGES * 4096, error) &&
           ops->block(self, "/rom@etc/x", KEEP_SMALL_PAGES * 4096, error) &&
           ops->blocks_end(self, error);
}

void keep_fill(FerryCapture *c)
{
    const FerryMemory *m = ferry_guest_memory(ferry_capture_guest(c));
    uint8_t *ram = ferry_memory_block(m, 0)->host;

    cr_assert_eq(ferry_memory_n_blocks(m), 2);
    memset(ram, 0x11, 4096);
    ram[2 * 4096 + 4095] = 1;
    memset(ram + (KEEP_PAGES - 1) * 4096, 0x22, 4096);
    memset(ferry_memory_block(m, 1)->host, 0x33, 4096);
}

gboolean keep_device(FerryCapture *c, const char *idstr, uint32_t instance, const void *body,
                     size_t length, gboolean early, GError **error)
{
    FerryStreamEvent e = {.type = FERRY_STREAM_DEVICE};
    void *self;

    e.device.idstr = idstr;
    e.device.instance_id = instance;
    e.device.version_id = strcmp(idstr, FERRY_GLOBALSTATE_IDSTR) == 0 ? 1 : 3;
    e.device.body = body;
    e.device.length = length;
    e.device.early = early;
    return keep_ops(c, &self)->device(self, &e, error);
}

gboolean keep_devices(FerryCapture *c, const char *run_state, GError **error)
{
    uint8_t state[FERRY_GLOBALSTATE_SIZE] = {0};

    if (run_state) {
        ferry_put_be32(state, (uint32_t)strlen(run_state) + 1);
        memcpy(state + 4, run_state, strlen(run_state));
        state[36] = 1;
    }
    return keep_device(c, "cpu", 0, "0123456789", 10, FALSE, error) &&
           (!run_state ||
            keep_device(c, FERRY_GLOBALSTATE_IDSTR, 0, state, sizeof state, FALSE, error)) &&
           keep_device(c, "timer", 1, "", 0, FALSE, error);
}

gboolean keep_complete(FerryCapture *c, GError **error)
{
    void *self;
    const FerryStrangerOps *ops = keep_ops(c, &self);

    return ops->complete(self, "", 0, error);
}

void keep_whole(FerryCapture *c, const char *run_state)
{
    GError *error = NULL;

    cr_assert(keep_begin(c, &error), "%s", error ? error->message : "");
    keep_fill(c);
    cr_assert(keep_devices(c, run_state, &error), "%s", error ? error->message : "");
    cr_assert(keep_complete(c, &error), "%s", error ? error->message : "");
}

void keep_discard(FerryCapture *c)
{
    void *self;

    keep_ops(c, &self)->discard(self);
}

char *keep_directory(void)
{
    char *path = g_dir_make_tmp("ferry-test-XXXXXX", NULL);

    cr_assert_not_null(path);
    return path;
}

void keep_directory_remove(char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        g_remove(file);
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_rmdir(path);
    g_free(path);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *keep_list(const char *path)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_ptr_array_add(names, g_strdup(name));
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_ptr_array_sort(names, compare);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(" ", (char **)names->pdata);
}

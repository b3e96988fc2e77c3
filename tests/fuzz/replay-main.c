/* replay DIRECTORY...: runs the fuzz target on every file, so that what a fuzzer once found stays
 * found. Fails if there is no file at all. */
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include "tests/fuzz/fuzz.h"

static unsigned replay(const char *directory)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, &error);
    unsigned n = 0;

    if (!dir) {
        fprintf(stderr, "%s\n", error->message);
        return 0;
    }
    for (const char *name; (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autofree char *bytes = NULL;
        g_autofree uint8_t *own = NULL;
        gsize size;

        if (!g_file_get_contents(path, &bytes, &size, &error)) {
            fprintf(stderr, "%s\n", error->message);
            return 0;
        }
        own = g_memdup2(bytes, MAX(size, 1)); /* without the NUL that GLib adds */
        LLVMFuzzerTestOneInput(own, size);
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    unsigned total = 0;

    for (int i = 1; i < argc; i++) {
        unsigned n = replay(argv[i]);

        if (n == 0) {
            fprintf(stderr, "%s: nothing was replayed\n", argv[i]);
            return 1;
        }
        total += n;
    }
    printf("%u inputs\n", total);
    return total ? 0 : 1;
}

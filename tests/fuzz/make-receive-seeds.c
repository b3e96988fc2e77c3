/* make-receive-seeds CORPUS: writes the seeds of fuzz-receive to CORPUS/receive/seed-*. By hand, as
 * make-seeds. */
#include <stdio.h>
#include "tests/fakes/small-streams.h"

/* Byte 0 of fuzz-receive.c. */
static uint8_t options_of(const Streams *s)
{
    unsigned method = s->method == FERRY_MULTIFD_ZLIB ? 1 : s->method == FERRY_MULTIFD_ZSTD ? 2 : 0;

    return (uint8_t)(s->n_channels | 4u | method << 6);
}

static void append_be24(GByteArray *out, guint n)
{
    uint8_t bytes[] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    g_byte_array_append(out, bytes, sizeof bytes);
}

static gboolean write_seed(const char *corpus, const Streams *s)
{
    g_autofree char *directory = g_build_filename(corpus, "receive", NULL);
    g_autofree char *file = g_strdup_printf("%s/seed-%s", directory, s->name);
    g_autoptr(GByteArray) all = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    uint8_t options = options_of(s);

    g_byte_array_append(all, &options, 1);
    append_be24(all, s->n_channels > 0 ? s->channels[0]->len : 0);
    append_be24(all, s->n_channels > 1 ? s->channels[1]->len : 0);
    for (unsigned i = 0; i < s->n_channels; i++) {
        g_byte_array_append(all, s->channels[i]->data, s->channels[i]->len);
    }
    g_byte_array_append(all, s->main->data, s->main->len);
    if (g_mkdir_with_parents(directory, 0777) != 0 ||
        !g_file_set_contents(file, (const char *)all->data, (gssize)all->len, &error)) {
        fprintf(stderr, "%s: %s\n", file, error ? error->message : "no directory");
        return FALSE;
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    for (int which = 0; which < N_STREAMS; which++) {
        g_autoptr(Streams) s = streams_new(which);
        if (!write_seed(argv[1], s)) {
            return 1;
        }
    }
    return 0;
}

/* ferry inspect: what is in a stream, its multifd channels, or a snapshot. */
#include "tools/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/ram.h"
#include "protocol/wire.h"
#include "tools/format.h"
#include "tools/inspect-trace.h"
#include "tools/verb.h"

#define PAGE_BITS_MIN 10
#define PAGE_BITS_MAX 16

static void clear_block(void *p)
{
    FerryInspectBlock *b = p;

    g_free(b->idstr);
    g_free(b->sha256);
    g_free(b->received);
    if (b->bytes) {
        munmap(b->bytes, (size_t)b->length);
    }
}

static void clear_section(void *p)
{
    g_free(((FerryInspectSection *)p)->idstr);
    g_free(((FerryInspectSection *)p)->sha256);
}

static void init(FerryInspect *in)
{
    in->channels = g_ptr_array_new_with_free_func(ferry_inspect_channel_free);
    in->notes = g_ptr_array_new_with_free_func(g_free);
    in->blocks = g_array_new(FALSE, TRUE, sizeof(FerryInspectBlock));
    g_array_set_clear_func(in->blocks, clear_block);
    in->sections = g_array_new(FALSE, TRUE, sizeof(FerryInspectSection));
    g_array_set_clear_func(in->sections, clear_section);
    in->commands = g_array_new(FALSE, TRUE, sizeof(FerryInspectCommand));
    in->scratch = g_malloc0((size_t)1 << PAGE_BITS_MAX);
    in->payload = g_malloc(2 * FERRY_MULTIFD_PACKET_BYTES);
    in->codec = ferry_page_codec_new(FERRY_MULTIFD_ZLIB, 1);
}

void ferry_inspect_clear(FerryInspect *in)
{
    ferry_inspect_input_free(in->main);
    g_ptr_array_unref(in->channels);
    g_ptr_array_unref(in->notes);
    g_array_unref(in->blocks);
    g_array_unref(in->sections);
    g_array_unref(in->commands);
    ferry_page_codec_free(in->codec);
    g_clear_error(&in->error);
    g_free(in->error_channel);
    g_free(in->run_state);
    g_free(in->scratch);
    g_free(in->payload);
}

void ferry_inspect_note(FerryInspect *in, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_ptr_array_add(in->notes, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

const char *ferry_inspect_status(const FerryInspect *in)
{
    if (!in->error) {
        return "completed";
    }
    if (in->error->domain != FERRY_PROTOCOL_ERROR) {
        return "failed";
    }
    switch ((FerryProtocolError)in->error->code) {
    case FERRY_PROTOCOL_ERROR_MAGIC:
    case FERRY_PROTOCOL_ERROR_MALFORMED:
        return "malformed";
    case FERRY_PROTOCOL_ERROR_UNSUPPORTED:
        return "unsupported";
    case FERRY_PROTOCOL_ERROR_TRUNCATED:
        return "truncated";
    case FERRY_PROTOCOL_ERROR_LIMIT:
        return "limit";
    }
    return "failed";
}

const char *ferry_inspect_section_name(FerrySectionType type)
{
    switch (type) {
    case FERRY_SECTION_START:
        return "START";
    case FERRY_SECTION_PART:
        return "PART";
    case FERRY_SECTION_END:
        return "END";
    default:
        return "FULL";
    }
}

/* Main or a channel, by the first bytes. What is neither is walked as main, which says so. */
static gboolean add_file(FerryInspect *in, const char *path, GError **error)
{
    g_autoptr(FerryInspectInput) input = ferry_inspect_input_open(path, error);
    const uint8_t *bytes;
    FerryInspectChannel *channel;
    size_t n;

    if (!input) {
        return FALSE;
    }
    if (in->options.offset &&
        !ferry_inspect_input_go(input, in->options.offset, "what --offset skips", error)) {
        g_prefix_error(error, "%s: ", ferry_inspect_input_name(input));
        return FALSE;
    }
    ferry_inspect_input_begin_here(input);
    if (!ferry_inspect_input_peek(input, &bytes, &n, error)) {
        g_prefix_error(error, "%s: ", ferry_inspect_input_name(input));
        return FALSE;
    }
    if (n >= 4 && ferry_get_be32(bytes) == FERRY_MULTIFD_MAGIC) {
        channel = g_new0(FerryInspectChannel, 1);
        channel->input = g_steal_pointer(&input);
        g_ptr_array_add(in->channels, channel);
        return ferry_inspect_channel_begin(in, channel, error);
    }
    if (in->main) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MAGIC,
                    "%s: not a multifd channel, and %s is the main stream",
                    ferry_inspect_input_name(input), ferry_inspect_input_name(in->main));
        return FALSE;
    }
    in->main = g_steal_pointer(&input);
    return TRUE;
}

static int by_id(const void *a, const void *b)
{
    const FerryInspectChannel *const *left = a, *const *right = b;

    return (int)(*left)->hello.id - (int)(*right)->hello.id;
}

/* With a main stream the channels must be one migration's, and all of them. */
static gboolean check_set(FerryInspect *in, GError **error)
{
    g_ptr_array_sort(in->channels, by_id);
    for (unsigned i = 0; in->main && i < in->channels->len; i++) {
        const FerryInspectChannel *first = in->channels->pdata[0], *c = in->channels->pdata[i];

        if (c->hello.id != i) {
            g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                        "%s: its id is %u, but channel %u %s", ferry_inspect_input_name(c->input),
                        c->hello.id, c->hello.id < i ? c->hello.id : i,
                        c->hello.id < i ? "was given already" : "is missing");
            return FALSE;
        }
        if (memcmp(first->hello.uuid, c->hello.uuid, sizeof c->hello.uuid) != 0) {
            g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                        "%s: its uuid is another one than that of channel 0",
                        ferry_inspect_input_name(c->input));
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean walk(FerryInspect *in, int n, char **paths, GError **error)
{
    for (int i = 0; i < n; i++) {
        if (!add_file(in, paths[i], error)) {
            return FALSE;
        }
    }
    if (!check_set(in, error)) {
        return FALSE;
    }
    if (in->main) {
        if (ferry_inspect_walk_main(in, error)) {
            return TRUE;
        }
        if (strcmp(in->error_channel, "main") == 0) {
            g_prefix_error(error, "%s: ", ferry_inspect_input_name(in->main));
        }
        return FALSE;
    }
    for (unsigned i = 0; i < in->channels->len; i++) {
        if (!ferry_inspect_channel_finish(in, in->channels->pdata[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* x86 has one page size; with the wrong one nothing behind the block list makes sense. */
static gboolean may_have_other_pages(const FerryInspect *in)
{
    const char *machine = in->configuration.machine;

    return in->has_configuration && !in->configuration.page_bits && !in->options.page_bits &&
           !in->described && !g_str_has_prefix(machine, "pc") && !g_str_equal(machine, "microvm");
}

/* Pages that came on channels which were not given are missing. */
static void note_what_is_missing(FerryInspect *in)
{
    if (in->error && may_have_other_pages(in)) {
        ferry_inspect_note(in,
                           "the stream does not say its page size, and it was read with %u "
                           "bytes: if this guest has others, see --page-bits",
                           1u << in->page_bits);
    }
    if (in->main && in->flushes && in->channels->len == 0) {
        ferry_inspect_note(in, "there are multifd barriers, but no channel was given%s",
                           in->options.hash ? ": the hashes cover what the main channel brings"
                                            : "");
    }
    if (in->main && !in->error && !in->flushes && in->channels->len == 0 &&
        in->pages.of[FERRY_INSPECT_NORMAL] + in->pages.of[FERRY_INSPECT_COMPRESSED] +
                in->pages.of[FERRY_INSPECT_MAPPED] ==
            0) {
        ferry_inspect_note(in, "no page has content: they may have come on multifd channels, and "
                               "none was given");
    }
    if (!in->main && in->options.hash) {
        ferry_inspect_note(in, "RAM cannot be hashed without the main stream");
    }
    if (in->main && in->described && in->description_bytes == 0) {
        ferry_inspect_note(in, "the description is empty");
    }
    if (in->main && !in->described && !in->error) {
        ferry_inspect_note(in, "there is no description; device state was split by its footers");
    }
}

typedef struct {
    char *max_ram, *offset;
    int page_bits;
    FerryInspectOptions options;
} Words;

static gboolean understand(Words *w, GError **error)
{
    if (w->page_bits && (w->page_bits < PAGE_BITS_MIN || w->page_bits > PAGE_BITS_MAX)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--page-bits %d is not between %d and %d", w->page_bits, PAGE_BITS_MIN,
                    PAGE_BITS_MAX);
        return FALSE;
    }
    w->options.page_bits = (unsigned)w->page_bits;
    if (w->options.hash && !w->max_ram) { /* what a stream declares is no reason to swap */
        w->options.max_ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    return (!w->max_ram || ferry_parse_size(w->max_ram, &w->options.max_ram, error)) &&
           (!w->offset || ferry_parse_size(w->offset, &w->options.offset, error));
}

static gboolean parse(int *argc, char ***argv, Words *w)
{
    const GOptionEntry entries[] = {
        {"hash",           0, 0, G_OPTION_ARG_NONE,   &w->options.hash,
         "rebuild RAM; SHA-256 of each block and device section",                                                        NULL  },
        {"pages",          0, 0, G_OPTION_ARG_NONE,   &w->options.pages,          "a line for each page",                NULL  },
        {"page-bits",      0, 0, G_OPTION_ARG_INT,    &w->page_bits,
         "page size of a stream that does not say; 12 = 4096 bytes",                                                     "BITS"},
        {"max-ram",        0, 0, G_OPTION_ARG_STRING, &w->max_ram,
         "refuse a stream that declares more RAM; with --hash this host's memory unless given",                          "SIZE"},
        {"offset",         0, 0, G_OPTION_ARG_STRING, &w->offset,                 "where the stream begins in its file",
         "SIZE"                                                                                                                },
        {"no-description", 0, 0, G_OPTION_ARG_NONE,   &w->options.no_description,
         "the stream may end without a description, as of machine types up to 2.2",                                      NULL  },
        {"json",           0, 0, G_OPTION_ARG_NONE,   &w->options.json,
         "one JSON object; with --pages one before it per page",                                                         NULL  },
        G_OPTION_ENTRY_NULL,
    };

    return ferry_verb_parse(argc, argv, entries, "FILE [CHANNEL...]",
                            "Says what is in a migration stream, in the multifd channels that "
                            "belong to it, in a mapped-ram snapshot, or in a page dirty trace. "
                            "Files are told by their content and may be compressed with zstd, "
                            "traces not; - is standard input.",
                            1, 1 + FERRY_MULTIFD_CHANNELS_MAX);
}

static FerryExit show(FerryInspect *in)
{
    if (in->options.json) {
        ferry_verb_print_json(ferry_inspect_as_json(in), TRUE);
    } else {
        ferry_inspect_print_text(in);
    }
    if (in->error) {
        fflush(stdout);
        fprintf(stderr, "ferry inspect: %s\n", in->error->message);
    }
    return in->error ? FERRY_EXIT_FAILED : FERRY_EXIT_DONE;
}

static gboolean for_streams(const FerryInspectOptions *o)
{
    return o->hash || o->pages || o->no_description || o->page_bits || o->max_ram || o->offset;
}

FerryExit ferry_verb_inspect(int argc, char **argv)
{
    Words words = {0};
    FerryInspect in = {0};
    GError *error = NULL;
    FerryExit status;
    gboolean good;

    good = parse(&argc, &argv, &words);
    if (good && !understand(&words, &error)) {
        fprintf(stderr, "ferry inspect: %s\n", error->message);
        g_clear_error(&error);
        good = FALSE;
    }
    g_free(words.max_ram);
    g_free(words.offset);
    if (!good) {
        return FERRY_EXIT_USAGE;
    }
    if (argc == 2 && ferry_inspect_is_trace(argv[1])) {
        if (for_streams(&words.options)) {
            fprintf(stderr, "ferry inspect: %s is a page dirty trace: --json alone is for those\n",
                    argv[1]);
            return FERRY_EXIT_USAGE;
        }
        return ferry_inspect_trace(argv[1], words.options.json);
    }
    in.options = words.options;
    in.page_bits = words.options.page_bits ? words.options.page_bits : FERRY_PAGE_BITS;
    init(&in);
    if (!walk(&in, argc - 1, argv + 1, &in.error) && !in.error_channel) {
        in.error_channel = g_strdup("-");
    }
    if (!in.error && in.options.hash && in.main) {
        ferry_inspect_hash(&in);
    }
    note_what_is_missing(&in);
    status = show(&in);
    ferry_inspect_clear(&in);
    return status;
}

/* ferry record -- COMMAND: a command and whatever it starts. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "dirtylog/follow.h"
#include "engine/ferry.h"
#include "tools/record-memory.h"

typedef struct {
    const FerryRecordOptions *options;
    FerryFollow *follow;
    FerryRecordMemories *memories;
    pid_t pid;
    FerryFollowEvent first; /* until begin */
    gboolean exited, ended;
    int status;
    unsigned n_memories, n_untracked, n_signals;
    char *untracked; /* why, the first one; NULL: none */
} Command;

static void command_close(void *self)
{
    Command *c = self;

    ferry_record_memories_free(c->memories);
    ferry_follow_free(c->follow);
    g_free(c->untracked);
    g_free(c);
}

static char *why(const FerryInjectFailure *failure)
{
    return failure->error ? g_strdup_printf("%s: %s", failure->what, g_strerror(failure->error))
                          : g_strdup(failure->what);
}

static void *command_open(const FerryRecordOptions *options, GError **error)
{
    Command *c = g_new0(Command, 1);
    g_autofree char *reason = NULL;

    c->options = options;
    c->memories = ferry_record_memories_new(options);
    c->follow = ferry_follow_new(options->command, error);
    if (!c->follow) {
        command_close(c);
        return NULL;
    }
    c->first = ferry_follow_next(c->follow);
    if (c->first.kind == FERRY_FOLLOW_MEMORY) {
        c->pid = c->first.pid;
        return c;
    }
    reason = c->first.failure.what ? why(&c->first.failure) : g_strdup("it ended at once");
    g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "%s: %s",
                options->command[0], reason);
    command_close(c);
    return NULL;
}

/* One process that cannot be recorded does not end the recording of the others. */
static void add(Command *c, const FerryFollowEvent *event)
{
    g_autofree char *label = g_strdup_printf("%s[%d]", event->name, (int)event->pid);
    g_autoptr(GError) error = NULL;

    if (ferry_record_memories_add(c->memories, event->pid, event->uffd, label, &error)) {
        c->n_memories++;
        return;
    }
    c->n_untracked++;
    if (!c->untracked) {
        c->untracked = g_strdup_printf("%s: %s", label, error->message);
    }
}

static gboolean command_begin(void *self, FerryTraceHeader *header, GError **error)
{
    Command *c = self;
    g_autofree char *label = g_strdup_printf("%s[%d]", c->first.name, (int)c->pid);
    g_autofree char *line = g_strjoinv(" ", c->options->command);

    header->method = g_strdup("pagemap-scan");
    header->guest = g_path_get_basename(c->options->command[0]);
    header->workload = g_utf8_make_valid(line, -1);
    if (!ferry_record_memories_add(c->memories, c->pid, c->first.uffd, label, error) ||
        !ferry_record_memories_begin(c->memories, header, error)) {
        return FALSE;
    }
    c->n_memories = 1;
    ferry_follow_go_on(c->follow);
    return TRUE;
}

static gboolean command_classes(void *self, uint64_t first, uint64_t n, uint8_t *out,
                                GError **error)
{
    return ferry_record_memories_classes(((Command *)self)->memories, first, n, out, error);
}

static FerryRecordNext command_next(void *self, FerryRecordFrame *out, GError **error)
{
    Command *c = self;

    if (!ferry_record_memories_next(c->memories, out, error)) {
        return FERRY_RECORD_FAILED;
    }
    return c->ended ? FERRY_RECORD_LAST : FERRY_RECORD_FRAME;
}

static int command_fd(void *self) { return ferry_follow_fd(((Command *)self)->follow); }

static gboolean command_event(void *self, gboolean *out_now, GError **error)
{
    Command *c = self;
    FerryFollowEvent event = ferry_follow_next(c->follow);
    gboolean good = TRUE;

    switch (event.kind) {
    case FERRY_FOLLOW_MEMORY:
        add(c, &event);
        ferry_follow_go_on(c->follow);
        break;
    case FERRY_FOLLOW_LEAVING:
        good = ferry_record_memories_take(c->memories, event.pid, error);
        ferry_follow_go_on(c->follow);
        break;
    case FERRY_FOLLOW_UNTRACKED:
    case FERRY_FOLLOW_FAILED: /* only ever the first */
        c->n_untracked++;
        if (!c->untracked) {
            g_autofree char *reason = why(&event.failure);
            c->untracked = g_strdup_printf("%s[%d]: %s", event.name, (int)event.pid, reason);
        }
        break;
    case FERRY_FOLLOW_EXITED:
        c->exited = TRUE;
        c->status = event.status;
        break;
    case FERRY_FOLLOW_END:
        c->ended = TRUE;
        *out_now = TRUE;
        break;
    }
    return good;
}

/* The first one goes to the command, which ends as it sees fit; the second one ends the recording.
 */
static gboolean command_signal(void *self, int number, gboolean from_terminal)
{
    Command *c = self;

    if (!from_terminal) { /* the terminal has sent it to all of us */
        ferry_follow_signal(c->follow, number);
    }
    return c->n_signals++ == 0;
}

static void command_tell(void *self, JsonBuilder *builder, GString *text)
{
    const Command *c = self;
    const char *name = c->options->command[0];

    ferry_record_memories_tell(c->memories, builder, text);
    if (builder) {
        json_builder_set_member_name(builder, "pid");
        json_builder_add_int_value(builder, c->pid);
        json_builder_set_member_name(builder, "processes");
        json_builder_add_int_value(builder, c->n_memories);
        json_builder_set_member_name(builder, "untracked_processes");
        json_builder_add_int_value(builder, c->n_untracked);
        if (c->exited) {
            gboolean killed = WIFSIGNALED(c->status);
            json_builder_set_member_name(builder, killed ? "signal" : "exit_status");
            json_builder_add_int_value(builder,
                                       killed ? WTERMSIG(c->status) : WEXITSTATUS(c->status));
        }
        return;
    }
    if (!c->exited) {
        g_string_append_printf(text, "%s goes on as process %d\n", name, (int)c->pid);
    } else if (WIFSIGNALED(c->status)) {
        g_string_append_printf(text, "%s: killed by signal %d (%s)\n", name, WTERMSIG(c->status),
                               strsignal(WTERMSIG(c->status)));
    } else {
        g_string_append_printf(text, "%s: exit status %d\n", name, WEXITSTATUS(c->status));
    }
    g_string_append_printf(text, "%u memories (each exec and fork has a new one)\n", c->n_memories);
    if (c->n_untracked) {
        g_string_append_printf(text, "%u more could not be recorded; %s\n", c->n_untracked,
                               c->untracked);
    }
}

const FerryRecordOps ferry_record_command = {
    .open = command_open,
    .begin = command_begin,
    .classes = command_classes,
    .next = command_next,
    .paced = TRUE,
    .event_fd = command_fd,
    .event = command_event,
    .signal = command_signal,
    .tell = command_tell,
    .close = command_close,
};

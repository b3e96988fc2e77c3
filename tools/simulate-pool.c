/* As many processes as may run at once, each with a group of runs; what they say is told in the
 * order of the runs, whichever ends first. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tools/simulate.h"

#define PIECE 65536u

typedef struct {
    pid_t pid; /* 0: none */
    int fd;
    uint64_t group;
    GString *said;
} Worker;

typedef struct {
    const FerrySimulatePlan *plan;
    const FerrySimulatePool *how;
    FerrySimulatePoolEnd *end;
    unsigned group_runs;
    uint64_t n_groups, begun, told, done;
    char **waiting;    /* what groups said whose turn has not come */
    gboolean unwanted; /* whatever else there is */
    Worker *workers;
    sigset_t before;
} Pool;

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* In the worker. Its parent's end is its own, and a Ctrl-C is its parent's business. */
G_NORETURN static void work(const Pool *p, uint64_t group, int fd)
{
    g_autoptr(GString) out = g_string_new(NULL);
    gsize at = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &p->before, NULL);
    ferry_simulate_run(p->plan, group * p->group_runs, p->group_runs, out);
    g_string_append_c(out, 0); /* all of it is there */
    while (at < out->len) {
        ssize_t n = write(fd, out->str + at, out->len - at);
        if (n < 0 && errno != EINTR) {
            _exit(1);
        }
        at += n > 0 ? (gsize)n : 0;
    }
    _exit(0);
}

static gboolean begin(Pool *p, Worker *w)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return FALSE;
    }
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
        close(fds[0]);
        work(p, p->begun, fds[1]);
    }
    close(fds[1]);
    if (w->pid < 0) {
        w->pid = 0;
        close(fds[0]);
        return FALSE;
    }
    w->fd = fds[0];
    w->group = p->begun++;
    w->said = g_string_new(NULL);
    return TRUE;
}

static void tell(Pool *p)
{
    for (; p->told < p->n_groups && p->waiting[p->told]; p->told++) {
        p->unwanted = !p->how->lines(p->how->self, p->waiting[p->told]) || p->unwanted;
        g_clear_pointer(&p->waiting[p->told], g_free);
    }
}

static void crashed(Pool *p, uint64_t group, int status, GString *lines)
{
    g_autofree char *why =
        WIFSIGNALED(status)
            ? g_strdup_printf("its process died by signal %d (%s)", WTERMSIG(status),
                              strsignal(WTERMSIG(status)))
            : g_strdup_printf("its process ended with status %d", WEXITSTATUS(status));

    g_string_truncate(lines, 0);
    for (unsigned i = 0; i < p->group_runs; i++) {
        uint64_t number = group * p->group_runs + i;
        g_autofree char *line = ferry_simulate_failed_line(p->plan, number, why);
        g_string_append(lines, line);
    }
}

static gboolean is_over(const Pool *p) { return interrupted || p->unwanted; }

/* The pipe is at its end. */
static void finish(Pool *p, Worker *w)
{
    int status = 0;

    close(w->fd);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {
    }
    w->pid = 0;
    gboolean whole = w->said->len > 0 && w->said->str[w->said->len - 1] == 0;
    if (!whole && !is_over(p)) {
        crashed(p, w->group, status, w->said);
    }
    if (whole || !is_over(p)) {
        p->waiting[w->group] = g_string_free(g_steal_pointer(&w->said), FALSE);
        p->done++;
    } else {
        g_string_free(g_steal_pointer(&w->said), TRUE);
    }
    tell(p);
}

static void hear(Pool *p, Worker *w)
{
    char piece[PIECE];
    ssize_t n = read(w->fd, piece, sizeof piece);

    if (n > 0) {
        g_string_append_len(w->said, piece, n);
    } else if (n == 0 || errno != EINTR) {
        finish(p, w);
    }
}

static void show(const Pool *p, gboolean over)
{
    if (p->how->progress) {
        fprintf(stderr, "\r\033[K");
        if (!over) {
            fprintf(stderr, "%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " runs",
                    p->done * p->group_runs, p->plan->n_runs);
        }
        fflush(stderr);
    }
}

/* What is not done is not wanted any more. */
static void stop(Pool *p)
{
    for (unsigned i = 0; i < p->how->jobs; i++) {
        if (p->workers[i].pid) {
            kill(p->workers[i].pid, SIGKILL);
        }
    }
}

/* Waits for news of @n workers. */
static void listen_to(Pool *p, unsigned n)
{
    g_autofree struct pollfd *fds = g_new(struct pollfd, n);
    g_autofree Worker **of = g_new(Worker *, n);
    unsigned n_fds = 0;

    for (unsigned i = 0; i < p->how->jobs; i++) {
        if (p->workers[i].pid) {
            of[n_fds] = &p->workers[i];
            fds[n_fds++] = (struct pollfd){.fd = p->workers[i].fd, .events = POLLIN};
        }
    }
    if (ppoll(fds, n_fds, NULL, interrupted ? NULL : &p->before) < 0) {
        return;
    }
    for (unsigned i = 0; i < n_fds; i++) {
        if (fds[i].revents) {
            hear(p, of[i]);
        }
    }
}

/* How many work. */
static unsigned fill(Pool *p)
{
    unsigned busy = 0;
    int why = 0;

    for (unsigned i = 0; i < p->how->jobs; i++) {
        if (!p->workers[i].pid && !is_over(p) && p->begun < p->n_groups &&
            !begin(p, &p->workers[i])) {
            why = errno;
        }
        busy += p->workers[i].pid != 0;
    }
    if (busy == 0 && why != 0) { /* nor will one end, so that there is room for another */
        p->end->error = g_strdup_printf("no process can be started: %s", g_strerror(why));
        p->begun = p->n_groups;
    }
    return busy;
}

static void run_all(Pool *p)
{
    unsigned busy;
    gboolean stopped = FALSE;

    while ((busy = fill(p)) > 0) {
        show(p, FALSE);
        listen_to(p, busy);
        if (is_over(p) && !stopped) {
            stop(p);
            stopped = TRUE;
        }
    }
    for (; p->told < p->n_groups; p->told++) { /* an interrupt leaves holes */
        tell(p);
        if (p->told == p->n_groups) {
            break;
        }
    }
    show(p, TRUE);
}

void ferry_simulate_pool_run(const FerrySimulatePlan *plan, const FerrySimulatePool *pool,
                             FerrySimulatePoolEnd *out_end)
{
    unsigned group_runs = ferry_simulate_plan_policies(plan);
    struct sigaction note = {.sa_handler = note_signal}, old_int, old_term;
    g_autofree Worker *workers = g_new0(Worker, pool->jobs);
    Pool p = {.plan = plan,
              .how = pool,
              .end = out_end,
              .group_runs = group_runs,
              .n_groups = plan->n_runs / group_runs,
              .workers = workers};
    g_autofree char **waiting = g_new0(char *, p.n_groups);
    sigset_t blocked;

    *out_end = (FerrySimulatePoolEnd){0};
    p.waiting = waiting;
    interrupted = 0;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &p.before); /* heard in ppoll alone */
    sigaction(SIGINT, &note, &old_int);
    sigaction(SIGTERM, &note, &old_term);
    run_all(&p);
    out_end->interrupted = interrupted;
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigprocmask(SIG_SETMASK, &p.before, NULL);
}

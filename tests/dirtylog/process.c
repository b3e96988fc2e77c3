/* Which pages a log of another process reports: of each kind of memory, mapped before and later,
 * written, only read, moved and given back. A plain program: 0, 1, or 77 to skip. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirtylog/inject.h"
#include "dirtylog/process.h"

#define PAGE 4096u
#define PAGES 64u

typedef enum {
    DO_MAP, /* @kind: what */
    DO_WRITE,
    DO_READ,
    DO_DROP,      /* MADV_DONTNEED */
    DO_UNMAP,     /* all of it */
    DO_MOVE,      /* mremap to elsewhere: answers the new address */
    DO_MAP_THERE, /* at @address, private */
} Verb;
enum { PRIVATE, SHARED, FILE_PRIVATE, FILE_SHARED };

typedef struct {
    Verb verb;
    int kind;
    uint64_t address, first, n; /* pages */
} Order;

static int failures;
static pid_t child;
static int orders;
static uint64_t n_pages;
static FerryProcessLog *log_;

static void expect(gboolean good, const char *what)
{
    if (!good) {
        fprintf(stderr, "wrong: %s\n", what);
        failures++;
    }
}

static uint64_t map(int kind, void *there)
{
    static const int flags[] = {MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED, MAP_PRIVATE, MAP_SHARED};
    int file = -1;
    void *memory;

    if (kind != PRIVATE) {
        char byte = 'x';
        file = memfd_create("test", MFD_CLOEXEC);
        if (file < 0 || ftruncate(file, PAGES * PAGE) < 0 ||
            (kind >= FILE_PRIVATE && pwrite(file, &byte, 1, PAGES * PAGE - 1) != 1)) {
            _exit(1);
        }
    }
    memory = mmap(there, PAGES * PAGE, PROT_READ | PROT_WRITE,
                  flags[kind] | (there ? MAP_FIXED : 0), file, 0);
    madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
    return (uintptr_t)memory;
}

static uint64_t obey(const Order *o)
{
    volatile uint8_t *at = (uint8_t *)(uintptr_t)(o->address + o->first * PAGE);
    void *all = (void *)(uintptr_t)o->address, *moved;

    switch (o->verb) {
    case DO_MAP:
        return map(o->kind, NULL);
    case DO_MAP_THERE:
        return map(o->kind, all);
    case DO_WRITE:
        for (uint64_t i = 0; i < o->n; i++) {
            at[i * PAGE]++;
        }
        return 0;
    case DO_READ:
        for (uint64_t i = 0; i < o->n; i++) {
            (void)at[i * PAGE];
        }
        return 0;
    case DO_DROP:
        return (uint64_t)madvise((void *)(uintptr_t)at, o->n * PAGE, MADV_DONTNEED);
    case DO_UNMAP:
        return (uint64_t)munmap(all, PAGES * PAGE);
    case DO_MOVE: /* away from where it was */
        moved = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return (uintptr_t)mremap(all, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                                 moved);
    }
    return 0;
}

static void be_child(int socket)
{
    Order order;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(socket, &order, sizeof order) == sizeof order) {
        uint64_t answer = obey(&order);

        if (write(socket, &answer, sizeof answer) != sizeof answer) {
            break;
        }
    }
    _exit(0);
}

static uint64_t ask(Verb verb, int kind, uint64_t address, uint64_t first, uint64_t n)
{
    Order order = {verb, kind, address, first, n};
    uint64_t answer;

    if (write(orders, &order, sizeof order) != sizeof order ||
        read(orders, &answer, sizeof answer) != sizeof answer) {
        fputs("the child is gone\n", stderr);
        exit(1);
    }
    return answer;
}

/* Of the mapping at @address, a character a page: what is in @runs. */
static char *in_runs(const GArray *runs, uint64_t address)
{
    const GPtrArray *areas = ferry_process_log_areas(log_);
    char *text = g_strnfill(PAGES, '.');

    for (uint64_t page = 0; page < PAGES; page++) {
        uint64_t at = address + page * PAGE;

        for (unsigned i = 0; i < areas->len; i++) {
            const FerryProcessArea *a = g_ptr_array_index(areas, i);
            uint64_t number = a->first + (at - a->address) / PAGE;

            for (unsigned j = 0; at - a->address < a->pages * PAGE && j < runs->len; j++) {
                const FerryPageRun *run = &g_array_index(runs, FerryPageRun, j);
                text[page] = number - run->first < run->n ? 'w' : text[page];
            }
        }
    }
    return text;
}

/* The next frame has @n pages from @first on, and no other of this mapping. */
static void check(const char *what, uint64_t address, uint64_t first, uint64_t n)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryPageRun));
    g_autofree char *expected = g_strnfill(PAGES, '.'), *found = NULL;
    g_autoptr(GError) error = NULL;

    memset(expected + first, 'w', n);
    if (!ferry_process_log_find(log_, &error) || !ferry_process_log_take(log_, runs, &error)) {
        fprintf(stderr, "%s: %s\n", what, error->message);
        exit(1);
    }
    ferry_page_runs_merge(runs);
    for (unsigned i = 1; i < runs->len; i++) {
        const FerryPageRun *run = &g_array_index(runs, FerryPageRun, i);
        expect(run->first > run[-1].first + run[-1].n, "runs are apart");
    }
    found = in_runs(runs, address);
    if (strcmp(found, expected) != 0) {
        fprintf(stderr, "wrong: %s\n  expected %s\n  found    %s\n", what, expected, found);
        failures++;
    }
}

static const char *const kinds[] = {"private", "shared", "private file", "shared file"};

static void of_kind(int kind, uint64_t memory, const char *when)
{
    g_autofree char *what = g_strdup_printf("%s, %s", kinds[kind], when);

    ask(DO_READ, 0, memory, 0, 32);
    check(what, memory, 0, 0);
    ask(DO_WRITE, 0, memory, 20, 20); /* some that were read, some that were not */
    check(what, memory, 20, 20);
    check(what, memory, 0, 0);
    ask(DO_WRITE, 0, memory, 30, 1);
    ask(DO_READ, 0, memory, 0, PAGES);
    check(what, memory, 30, 1);
    ask(DO_DROP, 0, memory, 25, 10);
    check(what, memory, 0, 0);
    ask(DO_WRITE, 0, memory, 26, 3);
    check(what, memory, 26, 3);
}

static void later(int kind)
{
    uint64_t memory = ask(DO_MAP, kind, 0, 0, 0);

    ask(DO_WRITE, 0, memory, 5, 3); /* before anybody knows of it */
    check("written before it was found", memory, 5, 3);
    of_kind(kind, memory, "later");
    ask(DO_UNMAP, 0, memory, 0, 0);
    check("unmapped", memory, 0, 0);
}

static void elsewhere(void)
{
    uint64_t memory = ask(DO_MAP, PRIVATE, 0, 0, 0), moved, before;

    ask(DO_WRITE, 0, memory, 0, 10);
    check("filled", memory, 0, 10);
    moved = ask(DO_MOVE, 0, memory, 0, 0);
    expect(moved != memory, "it has moved");
    check("what moved counts as written there", moved, 0, 10);
    ask(DO_WRITE, 0, moved, 7, 1);
    check("and is tracked there", moved, 7, 1);
    before = n_pages;
    ask(DO_MAP_THERE, PRIVATE, memory, 0, 0);
    ask(DO_WRITE, 0, memory, 40, 2);
    check("another mapping where one was", memory, 40, 2);
    ask(DO_WRITE, 0, memory, 41, 2);
    check("which is tracked", memory, 41, 2);
    expect(n_pages == before, "an address keeps its number");
}

int main(void)
{
    int sockets[2], uffd;
    uint64_t memory[4];
    g_autoptr(GError) error = NULL;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) < 0 || (child = fork()) < 0) {
        return 1;
    }
    if (child == 0) {
        be_child(sockets[1]);
    }
    close(sockets[1]); /* so that its end is seen */
    orders = sockets[0];
    for (int kind = 0; kind < 4; kind++) {
        memory[kind] = ask(DO_MAP, kind, 0, 0, 0);
    }
    ask(DO_WRITE, 0, memory[0], 0, 5);
    uffd = ferry_inject_userfaultfd(child, &error);
    log_ = uffd < 0 ? NULL : ferry_process_log_new(child, uffd, &n_pages, NULL, NULL, &error);
    if (!log_) {
        printf("skipped: %s\n", error->message);
        return 77;
    }
    if (!ferry_process_log_find(log_, &error) || !ferry_process_log_take(log_, NULL, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    check("what was written before is forgotten", memory[0], 0, 0);
    for (int kind = 0; kind < 4; kind++) {
        of_kind(kind, memory[kind], "from the beginning");
        later(kind);
    }
    elsewhere();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect(ferry_process_log_find(log_, &error) && ferry_process_log_gone(log_),
           "a process that ended is gone");
    ferry_process_log_free(log_);
    return failures ? 1 : 0;
}

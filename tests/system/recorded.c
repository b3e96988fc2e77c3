/* A program to be recorded: it writes a known set of pages at a known rate, knows what each must
 * hold, waits in a system call that must not end early, and says how far it is.
 *
 * usage: recorded STATE-FILE PAGES PAGES-PER-SECOND WAIT
 *
 * STATE-FILE is made: 64-bit counters that it keeps up to date, see State. WAIT is what the first
 * thread does while another one writes: spin, sleep, poll, epoll, read. It ends with 1 when
 * anything is not as it must be, and with 0 on SIGTERM. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define S 1000000000u

typedef struct {
    uint64_t memory, pages; /* the set: address, size */
    uint64_t writes;        /* of pages, so far */
    uint64_t waits;         /* that ended as they should */
    uint64_t wrong;
} State;

static State *state;
static volatile uint8_t *memory;
static uint64_t *expected;
static uint64_t rate;

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

static void wrong(const char *what)
{
    state->wrong++;
    fprintf(stderr, "recorded: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void write_page(uint64_t number)
{
    volatile uint64_t *at = (volatile uint64_t *)(memory + number * PAGE + number % 500 * 8);

    if (*at != expected[number]) {
        errno = 0;
        wrong("memory does not hold what was written");
    }
    *at = ++expected[number];
    __atomic_fetch_add(&state->writes, 1, __ATOMIC_RELAXED);
}

/* Pages in order, round and round, as many as time allows; what is behind is made up for. */
static void *write_pages(void *unused)
{
    uint64_t begin = now(), done = 0;

    (void)unused;
    for (;;) {
        uint64_t due = (now() - begin) * rate / S;

        for (; done < due; done++) {
            write_page(done % state->pages);
        }
        usleep(500);
    }
    return NULL;
}

static void wait_once(const char *how, const int *fds, int poller)
{
    const struct timespec while_asleep = {.tv_nsec = 20000000};
    struct epoll_event event;
    struct pollfd fd = {.fd = fds[0], .events = POLLIN};
    char byte;

    if (strcmp(how, "spin") == 0) {
        for (uint64_t until = now() + 1000000; now() < until;) {
        }
    } else if (strcmp(how, "sleep") == 0) {
        uint64_t begin = now();

        if (nanosleep(&while_asleep, NULL) < 0 || now() - begin < (uint64_t)while_asleep.tv_nsec) {
            wrong("nanosleep");
        }
    } else if (strcmp(how, "poll") == 0) {
        if (poll(&fd, 1, 20) != 0) {
            wrong("poll");
        }
    } else if (strcmp(how, "epoll") == 0) {
        if (epoll_wait(poller, &event, 1, 20) != 0) {
            wrong("epoll_wait");
        }
    } else if (read(fds[0], &byte, 1) != 1) {
        wrong("read");
    }
    __atomic_fetch_add(&state->waits, 1, __ATOMIC_RELAXED);
}

static void *feed(void *fd)
{
    for (;;) {
        usleep(20000);
        if (write(*(const int *)fd, "", 1) != 1) {
            wrong("write");
        }
    }
    return NULL;
}

static void end(int signal_number)
{
    (void)signal_number;
    _exit(state->wrong ? 1 : 0);
}

int main(int argc, char **argv)
{
    int file, fds[2], poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread;

    if (argc != 5 || pipe(fds) < 0 || (file = open(argv[1], O_RDWR | O_CREAT, 0600)) < 0 ||
        ftruncate(file, PAGE) < 0) {
        return 2;
    }
    state = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    rate = strtoull(argv[3], NULL, 10);
    uint64_t pages = strtoull(argv[2], NULL, 10);
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expected = calloc(pages, sizeof *expected);
    if (state == MAP_FAILED || memory == MAP_FAILED || !expected ||
        epoll_ctl(poller, EPOLL_CTL_ADD, fds[0], &event) < 0) {
        return 2;
    }
    madvise((void *)memory, pages * PAGE, MADV_NOHUGEPAGE);
    *state = (State){.memory = (uintptr_t)memory, .pages = pages};
    for (uint64_t i = 0; i < pages; i++) {
        write_page(i);
    }
    signal(SIGTERM, end);
    pthread_create(&thread, NULL, write_pages, NULL);
    if (strcmp(argv[4], "read") == 0) {
        pthread_create(&thread, NULL, feed, &fds[1]);
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        wait_once(argv[4], fds, poller);
    }
}

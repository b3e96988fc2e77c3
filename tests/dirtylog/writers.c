#include "tests/dirtylog/writers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_PAGES 512u /* 4 KiB pages of a huge one */

typedef struct {
    Writers *writers;
    WriterKind kind;
    unsigned word;
    uint64_t random, number, cold_done;
    int pipe[2];
    pthread_t thread;
} Writer;

struct Writers {
    uint8_t *memory;
    GuestControl *control;
    FerryDirtyMarks *marks;
    Writer *all;
    unsigned n;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    gboolean running, quit;
    unsigned n_idle;
};

static uint64_t get(const uint64_t *shared) { return __atomic_load_n(shared, __ATOMIC_RELAXED); }

/* A single page, or a whole huge one: both leave nothing behind that says "written". */
static void discard(const Writers *all, uint64_t random, uint64_t page)
{
    uint64_t n = 1;

    if (random >> 60 == 0) {
        page -= page % HUGE_PAGES;
        n = MIN(HUGE_PAGES, get(&all->control->n_pages) - page);
    }
    madvise(all->memory + page * GUEST_PAGE, n * GUEST_PAGE, MADV_DONTNEED);
}

static void write_once(Writer *w)
{
    const Writers *all = w->writers;
    uint64_t page, *word;

    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    page = get(&all->control->hot[w->random >> 32 & (GUEST_N_HOT - 1)]);
    if (w->random % 64 == 0 && w->cold_done < get(&all->control->cold_limit)) {
        w->cold_done++;
        page = (uint64_t)((unsigned __int128)w->random * get(&all->control->n_pages) >> 64);
        if (w->kind == WRITER_DISCARD && w->random >> 8 & 1) {
            discard(all, w->random, page);
            return;
        }
    }
    word = (uint64_t *)(all->memory + page * GUEST_PAGE) + w->word;
    w->number++;
    if (w->kind == WRITER_KERNEL) {
        /* Not read(): ThreadSanitizer would call the kernel's store a race. */
        if (write(w->pipe[1], &w->number, sizeof w->number) != sizeof w->number ||
            syscall(SYS_read, w->pipe[0], word, sizeof *word) != sizeof *word) {
            perror("writer: read into guest memory");
            exit(1);
        }
        return;
    }
    __atomic_store_n(word, w->number, __ATOMIC_RELAXED);
    if (w->kind == WRITER_MARKS) {
        ferry_mark_dirty(all->marks, 0, page, 1);
        __atomic_store_n(&all->control->over[w->word], w->number, __ATOMIC_RELEASE);
    }
}

static void *writer_main(void *arg)
{
    Writer *w = arg;
    Writers *all = w->writers;

    pthread_mutex_lock(&all->mutex);
    while (!all->quit) {
        if (all->running) {
            pthread_mutex_unlock(&all->mutex);
            for (unsigned i = 0; i < 256; i++) {
                write_once(w);
            }
            pthread_mutex_lock(&all->mutex);
            continue;
        }
        all->n_idle++;
        pthread_cond_broadcast(&all->changed);
        while (!all->running && !all->quit) {
            pthread_cond_wait(&all->changed, &all->mutex);
        }
        all->n_idle--;
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

Writers *writers_new(void *memory, GuestControl *control, FerryDirtyMarks *marks,
                     unsigned first_word, const WriterKind *kinds, unsigned n_writers)
{
    Writers *all = g_new0(Writers, 1);

    all->memory = memory;
    all->control = control;
    all->marks = marks;
    all->all = g_new0(Writer, n_writers);
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->changed, NULL);
    for (; all->n < n_writers; all->n++) {
        Writer *w = &all->all[all->n];

        *w = (Writer){.writers = all, .kind = kinds[all->n], .word = first_word + all->n};
        w->random = 88172645463325252u + w->word;
        control->over[w->word] = w->kind == WRITER_MARKS ? 0 : UINT64_MAX;
        if (pipe(w->pipe) < 0 || pthread_create(&w->thread, NULL, writer_main, w) != 0) {
            perror("writer");
            exit(1);
        }
    }
    return all;
}

void writers_run(Writers *writers)
{
    pthread_mutex_lock(&writers->mutex);
    writers->running = TRUE;
    pthread_cond_broadcast(&writers->changed);
    pthread_mutex_unlock(&writers->mutex);
}

void writers_pause(Writers *writers)
{
    pthread_mutex_lock(&writers->mutex);
    writers->running = FALSE;
    while (writers->n_idle < writers->n) {
        pthread_cond_wait(&writers->changed, &writers->mutex);
    }
    pthread_mutex_unlock(&writers->mutex);
}

void writers_free(Writers *writers)
{
    if (!writers) {
        return;
    }
    writers_pause(writers);
    pthread_mutex_lock(&writers->mutex);
    writers->quit = TRUE;
    pthread_cond_broadcast(&writers->changed);
    pthread_mutex_unlock(&writers->mutex);
    for (unsigned i = 0; i < writers->n; i++) {
        pthread_join(writers->all[i].thread, NULL);
        close(writers->all[i].pipe[0]);
        close(writers->all[i].pipe[1]);
    }
    pthread_cond_destroy(&writers->changed);
    pthread_mutex_destroy(&writers->mutex);
    g_free(writers->all);
    g_free(writers);
}

#include "dirtylog/kvm-reset.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "dirtylog/kvm-slots.h"

/* So many calls in a row without a single entry reset mean that something else is wrong. */
#define IDLE_RESETS_MAX 1000

struct FerryKvmReset {
    int vm_fd;
    pthread_t thread;
    sem_t asked, answered; /* what follows is the thread's from one to the other */
    uint32_t n;            /* 0: end */
    gboolean cut_short;
    GError *error;
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0) { /* a signal */
    }
}

/* How often this thread has gone to sleep. */
static long count_sleeps(void)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

static void reset_entries(FerryKvmReset *r)
{
    for (unsigned idle = 0; r->n > 0;) {
        int done = ferry_kvm_ioctl(r->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);

        if (done < 0) {
            ferry_kvm_set_error(&r->error, "KVM_RESET_DIRTY_RINGS");
            return;
        }
        idle = done > 0 ? 0 : idle + 1;
        if ((uint32_t)done > r->n || idle > IDLE_RESETS_MAX) {
            g_set_error(&r->error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL,
                        "KVM_RESET_DIRTY_RINGS: %d entries reset, %u expected", done, r->n);
            return;
        }
        r->n -= (uint32_t)done;
        r->cut_short |= r->n > 0;
    }
}

static void *reset_main(void *arg)
{
    FerryKvmReset *r = arg;

    prctl(PR_SET_NAME, "ferry-kvm-reset");
    for (wait_for(&r->asked); r->n > 0; wait_for(&r->asked)) {
        long sleeps = count_sleeps();

        r->cut_short = FALSE;
        reset_entries(r);
        /* A call cut short after its last entry shows in no count; but what stops a thread puts it
         * to sleep on its way back. (So does waiting for KVM's locks, seldom enough.) */
        r->cut_short |= count_sleeps() != sleeps;
        sem_post(&r->answered);
    }
    return NULL;
}

FerryKvmReset *ferry_kvm_reset_new(int vm_fd, GError **error)
{
    FerryKvmReset *r = g_new0(FerryKvmReset, 1);
    sigset_t all, before;
    int status;

    r->vm_fd = vm_fd;
    sem_init(&r->asked, 0, 0);
    sem_init(&r->answered, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a thread begins with its maker's mask */
    status = pthread_create(&r->thread, NULL, reset_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL,
                    "a thread that resets rings: %s", g_strerror(status));
        sem_destroy(&r->asked);
        sem_destroy(&r->answered);
        g_free(r);
        return NULL;
    }
    return r;
}

gboolean ferry_kvm_reset(FerryKvmReset *reset, uint32_t n, gboolean *out_cut_short, GError **error)
{
    if (n == 0) {
        *out_cut_short = FALSE;
        return TRUE;
    }
    reset->n = n;
    sem_post(&reset->asked);
    wait_for(&reset->answered);
    if (reset->error) {
        g_propagate_error(error, g_steal_pointer(&reset->error));
        return FALSE;
    }
    *out_cut_short = reset->cut_short;
    return TRUE;
}

void ferry_kvm_reset_free(FerryKvmReset *reset)
{
    if (!reset) {
        return;
    }
    reset->n = 0;
    sem_post(&reset->asked);
    pthread_join(reset->thread, NULL);
    sem_destroy(&reset->asked);
    sem_destroy(&reset->answered);
    g_free(reset);
}

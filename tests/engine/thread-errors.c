/* Two threads may meet their first errors at once: naming a domain of errors is no data race. */
#include <pthread.h>
#include "engine/error.h"
#include "protocol/stream.h"
#include "tests/fakes/expect.h"
#include "transport/channel.h"

static void *name_all(void *data)
{
    GQuark *names = data;

    names[0] = FERRY_TRANSPORT_ERROR;
    names[1] = FERRY_PROTOCOL_ERROR;
    names[2] = FERRY_ENGINE_ERROR;
    return NULL;
}

int main(void)
{
    GQuark names[2][3];
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++) {
        g_assert(pthread_create(&threads[i], NULL, name_all, names[i]) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(names[0][i] && names[0][i] == names[1][i], "domain %u", i);
    }
    return failures != 0;
}

/* M64: a stream that ends at any of its bytes, on main or on a channel, is refused; none hangs. */
#include <string.h>
#include "tests/fakes/expect.h"
#include "tests/fakes/small-streams.h"

#define STEP 41 /* between cuts inside what is all alike */

static gboolean is_dull(const GByteArray *bytes, guint at)
{
    return at > 8 && at + 8 < bytes->len &&
           memcmp(bytes->data + at - 8, bytes->data + at - 7, 15) == 0;
}

/* @cut: the one of the input's streams that ends at @length. */
static void try_cut(const Streams *s, const ReceivedInput *input, ReceivedBytes *cut, size_t length)
{
    g_auto(Received) received = {0};

    cut->length = length;
    receive_all(input, &received);
    EXPECT(!received.ok, "%s: cut at %zu was taken", s->name, length);
    EXPECT(received_shut(&received) != 0, "%s: cut at %zu", s->name, length);
}

static void whole(const Streams *s)
{
    g_auto(Received) received = {0};
    ReceivedInput input = streams_input(s);

    receive_all(&input, &received);
    EXPECT(received.ok, "%s: %s", s->name, received.error ? received.error->message : "");
    EXPECT(received_shut(&received) == 0, "%s", s->name);
}

static void cut_everywhere(const Streams *s)
{
    whole(s);
    for (guint at = 0; at < s->main->len; at++) {
        ReceivedInput input = streams_input(s);
        try_cut(s, &input, &input.main, at);
    }
    for (unsigned i = 0; i < s->n_channels; i++) {
        for (guint at = 0; at < s->channels[i]->len; at += is_dull(s->channels[i], at) ? STEP : 1) {
            ReceivedInput input = streams_input(s);
            try_cut(s, &input, &input.channels[i], at);
        }
    }
}

int main(void)
{
    for (int which = 0; which < N_STREAMS; which++) {
        g_autoptr(Streams) s = streams_new(which);
        cut_everywhere(s);
    }
    return failures != 0;
}

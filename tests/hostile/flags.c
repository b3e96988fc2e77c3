/* M23: every combination of the twelve flag bits of a RAM record, each in a stream of its own:
 * those that mean something are taken, all others are refused by their number. */
#include <string.h>
#include "protocol/ram.h"
#include "protocol/wire.h"
#include "tests/fakes/expect.h"
#include "tests/fakes/received.h"
#include "tests/protocol/sample.h"

#define PAGE_BITS 12

typedef enum { TAKEN, NAMED, REFUSED } Answer;

static Answer expected(unsigned flags)
{
    switch (flags & ~(unsigned)FERRY_RAM_CONTINUE) {
    case FERRY_RAM_PAGE:
    case FERRY_RAM_ZERO:
    case FERRY_RAM_XBZRLE:
    case FERRY_RAM_COMPRESS_PAGE:
        return TAKEN;
    default:
        break;
    }
    switch (flags) {
    case FERRY_RAM_EOS:
    case FERRY_RAM_MULTIFD_FLUSH:
        return TAKEN;
    case FERRY_RAM_MEM_SIZE:
    case FERRY_RAM_HOOK:
        return NAMED;
    default:
        return REFUSED;
    }
}

/* What a record with these flags has behind its first eight bytes. */
static void add_body(GByteArray *out, unsigned flags)
{
    /* 4096 zero bytes as a zlib stream */
    static const char packed[] = "0000001a 789cedc1010d000000c2a0f74f6d0f0714000000f06e10000001";
    static const struct {
        unsigned flag;
        const char *words;
    } bodies[] = {
        {FERRY_RAM_ZERO,          "00"            },
        {FERRY_RAM_XBZRLE,        "01 0003 000141"},
        {FERRY_RAM_COMPRESS_PAGE, packed          },
    };

    if (expected(flags) == TAKEN && flags != FERRY_RAM_EOS && flags != FERRY_RAM_MULTIFD_FLUSH &&
        !(flags & FERRY_RAM_CONTINUE)) {
        g_autoptr(GByteArray) name = sample_assemble("\"pc.ram", PAGE_BITS);
        g_byte_array_append(out, name->data, name->len);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bodies); i++) {
        if (flags & bodies[i].flag) {
            g_autoptr(GByteArray) body = sample_assemble(bodies[i].words, PAGE_BITS);
            g_byte_array_append(out, body->data, body->len);
            return;
        }
    }
    if (flags & FERRY_RAM_PAGE) {
        guint at = out->len;
        g_byte_array_set_size(out, at + (1u << PAGE_BITS));
        memset(out->data + at, 0x33, 1u << PAGE_BITS);
    }
}

static void try_flags(unsigned flags)
{
    g_autoptr(GByteArray) wire =
        sample_assemble("H C O S 0000000000004004 \"pc.ram 0000000000004000 E F R B", PAGE_BITS);
    g_autoptr(GByteArray) rest =
        sample_assemble(flags == FERRY_RAM_EOS ? "F X E F N" : "E F X E F N", PAGE_BITS);
    g_auto(Received) received = {0};
    g_autofree char *number = g_strdup_printf("flags 0x%x", flags);
    uint8_t word[8];

    ferry_put_be64(word, flags);
    g_byte_array_append(wire, word, sizeof word);
    add_body(wire, flags);
    g_byte_array_append(wire, rest->data, rest->len);
    receive_all(
        &(ReceivedInput){
            .main = {wire->data, wire->len}
    },
        &received);
    const char *said = received.error ? received.error->message : "success";
    switch (expected(flags)) {
    case TAKEN:
        EXPECT(received.ok, "0x%x: %s", flags, said);
        EXPECT(received_shut(&received) == 0, "0x%x", flags);
        return;
    case NAMED:
    case REFUSED:
        EXPECT(!received.ok, "0x%x was taken", flags);
        EXPECT(received_shut(&received) == 1, "0x%x", flags);
        EXPECT(expected(flags) == NAMED || strstr(said, number), "0x%x: %s", flags, said);
        return;
    }
}

int main(void)
{
    for (unsigned flags = 0; flags < 1u << PAGE_BITS; flags++) {
        try_flags(flags);
    }
    return failures != 0;
}

/* A guest that is taken apart into device sections and memory, and put together in another machine,
 * goes on where it was. Argument: the accelerator. */
#include <string.h>
#include "tests/vm/support.h"

static void must_refuse(const VmDevice *d, const uint8_t *bytes, size_t length)
{
    g_autoptr(GError) error = NULL;
    /* A copy of just this size: a sanitizer sees a read behind it. */
    g_autofree uint8_t *copy = g_memdup2(bytes, length);

    CHECK(!d->ops->load(d->self, copy, length, d->version, &error));
    CHECK(error != NULL);
}

/* What is cut off or too long is refused by every device. */
static void refuse_other_lengths(const VmDevice *d, const GByteArray *body)
{
    g_autofree uint8_t *longer = g_malloc0(body->len + 1);
    guint step = MAX(body->len / 64, 1);

    for (guint length = 0; length < body->len; length += step) {
        must_refuse(d, body->data, length);
    }
    memcpy(longer, body->data, body->len);
    must_refuse(d, longer, body->len + 1);
}

static void refuse_wrong_machines(const char *accel, const GByteArray *body)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Vm) one_vcpu = support_vm("vm -m 32M -smp 1 -accel %s -incoming defer", accel);
    VmDevice d = support_device(one_vcpu, 0);

    CHECK(!d.ops->load(d.self, body->data, body->len, d.version, &error));
    CHECK(strstr(error->message, "2 vCPUs") != NULL && strstr(error->message, "machine 1") != NULL);
}

/* Before the true state comes, which then replaces whatever these have left. */
static void refuse_broken_state(Vm *from, Vm *to)
{
    for (guint i = 0; i < from->devices->len; i++) {
        VmDevice source = support_device(from, i), destination = support_device(to, i);
        g_autoptr(GByteArray) body = support_save(&source);
        refuse_other_lengths(&destination, body);
    }
}

/* What is not a clock is the same again when it is saved over there. */
static void compare(Vm *from, Vm *to)
{
    for (guint i = 0; i < from->devices->len; i++) {
        VmDevice source = support_device(from, i), destination = support_device(to, i);
        g_autoptr(GByteArray) was = support_save(&source), is = support_save(&destination);
        CHECK(was->len == is->len);
        if (!g_str_equal(source.idstr, "cpu") && !g_str_equal(source.idstr, "kvmclock") &&
            !g_str_equal(source.idstr, "process") && !g_str_equal(source.idstr, "pit")) {
            CHECK(memcmp(was->data, is->data, was->len) == 0);
        }
    }
}

int main(int argc, char **argv)
{
    const char *accel = argc > 1 ? argv[1] : "kvm";
    g_autoptr(Vm) first = support_vm("vm -m 32M -smp 2 -accel %s -workload uniform,size=8M", accel);
    g_autoptr(Vm) second = support_vm("vm -m 32M -smp 2 -accel %s -incoming defer", accel);
    VmDevice machine = support_device(first, 0);
    g_autoptr(GByteArray) body = support_save(&machine);
    uint64_t writes;

    refuse_wrong_machines(accel, body);
    for (unsigned hop = 0; hop < 4; hop++) {
        support_run(first, 20000);
        support_check_pages(first);
        writes = support_writes(first);
        refuse_broken_state(first, second);
        support_move(first, second);
        compare(first, second);
        CHECK(support_writes(second) == writes);
        support_run(second, 20000);
        support_check_pages(second);
        CHECK(support_writes(first) == writes);
        /* A machine that has run cannot take a guest again: the next hop needs new ones. */
        vm_free(first);
        first = g_steal_pointer(&second);
        second = support_vm("vm -m 32M -smp 2 -accel %s -incoming defer", accel);
    }
    return 0;
}

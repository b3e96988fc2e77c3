#include "engine/precopy/policy.h"
#include <string.h>

const char *ferry_on_stall_name(FerryOnStall on_stall)
{
    static const char *const names[FERRY_N_ON_STALL] = {
        [FERRY_ON_STALL_WAIT] = "wait",
        [FERRY_ON_STALL_PAUSE] = "pause",
        [FERRY_ON_STALL_THROTTLE] = "throttle",
        [FERRY_ON_STALL_CANCEL] = "cancel",
    };
    return on_stall < FERRY_N_ON_STALL ? names[on_stall] : "unknown";
}

gboolean ferry_on_stall_parse(const char *name, FerryOnStall *out_on_stall)
{
    for (unsigned i = 0; i < FERRY_N_ON_STALL; i++) {
        if (strcmp(ferry_on_stall_name((FerryOnStall)i), name) == 0) {
            *out_on_stall = (FerryOnStall)i;
            return TRUE;
        }
    }
    return FALSE;
}

/* fixed-rounds: the N-th sync behind the first switches over, whatever is left. */
typedef struct {
    unsigned rounds;
} FixedRounds;

static void fixed_begin(void *self, unsigned argument) { ((FixedRounds *)self)->rounds = argument; }

static FerryDecision fixed_decide(void *self, const FerryRound *r)
{
    const FixedRounds *f = self;
    FerryDecision d = {.verdict = r->number >= f->rounds ? FERRY_VERDICT_SWITCH_OVER
                                                         : FERRY_VERDICT_ANOTHER_ROUND};
    return d;
}

const FerryPolicyOps ferry_policy_fixed_rounds = {.name = "fixed-rounds",
                                                  .state_size = sizeof(FixedRounds),
                                                  .order = FERRY_ORDER_PASS,
                                                  .begin = fixed_begin,
                                                  .decide = fixed_decide};

static const FerryPolicyOps *const policies[] = {&ferry_policy_ferry, &ferry_policy_qemu,
                                                 &ferry_policy_qemu_72, &ferry_policy_fixed_rounds};

#define ARGUMENT_MAX 1000u
static gboolean parse_argument(const char *text, unsigned *out_argument)
{
    unsigned n = 0;

    if (*text == '\0' || *text == '0') {
        return FALSE;
    }
    for (; *text >= '0' && *text <= '9' && n <= ARGUMENT_MAX; text++) {
        n = 10 * n + (unsigned)(*text - '0');
    }
    *out_argument = n;
    return *text == '\0' && n <= ARGUMENT_MAX;
}

gboolean ferry_policy_parse(const char *name, FerryPolicy *out_policy, const char **out_why)
{
    gsize length = strcspn(name, "=");
    gboolean has_argument = name[length] == '=';
    FerryPolicy policy = {0};

    for (gsize i = 0; i < G_N_ELEMENTS(policies); i++) {
        if (strlen(policies[i]->name) == length && strncmp(policies[i]->name, name, length) == 0) {
            policy.ops = policies[i];
        }
    }
    if (!policy.ops) {
        *out_why = "there is no such policy";
        return FALSE;
    }
    if (has_argument != (policy.ops->begin != NULL)) {
        *out_why = has_argument ? "this policy takes no number" : "this policy needs '=N'";
        return FALSE;
    }
    if (has_argument && !parse_argument(name + length + 1, &policy.argument)) {
        *out_why = "the number is from 1 to 1000";
        return FALSE;
    }
    *out_policy = policy;
    return TRUE;
}

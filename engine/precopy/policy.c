#include "engine/precopy/policy.h"
#include <string.h>

static const FerryPolicyOps *const policies[] = {&ferry_policy_downtime};

const FerryPolicyOps *ferry_policy_find(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(policies); i++) {
        if (strcmp(policies[i]->name, name) == 0) {
            return policies[i];
        }
    }
    return NULL;
}

/* The public header may be included from C++. */
#include "engine/ferry.h"

int main()
{
    return ferry_policy_ferry.decide == nullptr;
}

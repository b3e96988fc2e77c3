/* The public header includes what it needs, in strict C too. */
#include "engine/ferry.h"

int main(void) { return ferry_policy_ferry.decide == 0; }

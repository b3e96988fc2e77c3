/* The public header includes what it needs, in strict C too. */
#include "engine/ferry.h"

int main(void) { return ferry_policy_downtime.decide == 0; }

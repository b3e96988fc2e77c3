/* For plain test programs (Criterion does not start under ThreadSanitizer): a broken expectation is
 * told and counted, and the program goes on. main returns failures != 0. */
#pragma once
#include <stdio.h>

/* Of the whole program: a test and its rig count together. */
__attribute__((weak)) unsigned failures;

#define EXPECT(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("not ok: %s:%d: %s: ", __FILE__, __LINE__, #condition);                         \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

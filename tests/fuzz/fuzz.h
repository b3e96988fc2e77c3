/* The entry of a fuzz target. libFuzzer calls it, or replay-main.c with every file of a corpus. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many pages are sent again though their content is what was sent last: written between being
 * protected and being read, so that they were sent as written already, or written with what was
 * there. Estimated from one page of 64, by a hash. Belongs to the source's thread. */
#pragma once
#include "engine/memory.h"

#define FERRY_SAMPLE_PAGES 64

typedef struct FerrySample FerrySample;
/* Borrows @memory. 8 bytes for each 64 pages, touched as pages are sent. */
FerrySample *ferry_sample_new(const FerryMemory *memory);
/* Pages [first, first + n) of @block are about to be sent. */
void ferry_sample_pages(FerrySample *sample, unsigned block, uint64_t first, uint64_t n);
/* In the sample so far: sent again, with the same content. */
uint64_t ferry_sample_unchanged(const FerrySample *sample);
void ferry_sample_free(FerrySample *sample);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySample, ferry_sample_free)

/* How fast are zero pages found, and what does it cost to find that a page is none?
 *
 * Over memory that does not fit the caches: reading a word of each line and a plain copy of it say
 * what memory can do. Then each way of scanning whole pages of zeros, ferry_page_is_zero and
 * ferry_page_zero_run over zeros, over pages whose first word decides, and over pages of which only
 * the last byte differs from zero. The median of several passes counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine/page.h"
#include "protocol/ram.h"

static uint8_t *memory, *other;
static size_t n_pages;
static volatile uint64_t sink; /* so that nothing is left out */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t read_memory(FerryPageScan unused)
{
    const uint64_t *words = (const uint64_t *)memory;
    uint64_t any = 0;

    (void)unused;
    for (size_t i = 0; i < n_pages * FERRY_PAGE_SIZE / 8; i += 8) {
        any |= words[i];
    }
    return any;
}

static uint64_t copy_memory(FerryPageScan unused)
{
    (void)unused;
    memcpy(other, memory, n_pages * FERRY_PAGE_SIZE);
    return other[0];
}

static uint64_t scan_memory(FerryPageScan scan)
{
    uint64_t zero = 0;

    for (size_t i = 0; i < n_pages; i++) {
        zero += (uint64_t)scan(memory + i * FERRY_PAGE_SIZE);
    }
    return zero;
}

static uint64_t scan_runs(FerryPageScan unused)
{
    uint64_t words[2], zero = 0;

    (void)unused;
    for (size_t i = 0; i < n_pages; i += 128) {
        ferry_page_zero_run(memory + i * FERRY_PAGE_SIZE, 128, words);
        zero += (uint64_t)(__builtin_popcountll(words[0]) + __builtin_popcountll(words[1]));
    }
    return zero;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(const char *what, const char *content, uint64_t (*run)(FerryPageScan),
                    FerryPageScan scan)
{
    double took[9], bytes = (double)n_pages * FERRY_PAGE_SIZE;

    sink = run(scan);
    for (unsigned i = 0; i < G_N_ELEMENTS(took); i++) {
        double begin = seconds();
        sink = run(scan);
        took[i] = seconds() - begin;
    }
    qsort(took, G_N_ELEMENTS(took), sizeof took[0], by_value);
    double median = took[G_N_ELEMENTS(took) / 2];
    printf("{\"bench\": \"zero-page\", \"case\": \"%s\", \"content\": \"%s\", "
           "\"bytes_per_second\": %.0f, \"ns_per_page\": %.1f}\n",
           what, content, bytes / median, median * 1e9 / (double)n_pages);
    fprintf(stderr, "%-10s %-12s %8.2f GB/s %8.1f ns a page\n", what, content, bytes / median / 1e9,
            median * 1e9 / (double)n_pages);
}

static void fill(size_t at, uint8_t value)
{
    for (size_t i = 0; i < n_pages; i++) {
        memory[i * FERRY_PAGE_SIZE + at] = value;
    }
}

static uint8_t *allocate(size_t bytes)
{
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (mapped == MAP_FAILED) {
        perror("bench-zero-page");
        exit(1);
    }
    return mapped;
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 10) : 512;
    const char *name = NULL;
    FerryPageScan scan;

    if (argc > 2 || mib == 0) {
        fputs("usage: bench-zero-page [MEMORY_MIB]\n", stderr);
        return 2;
    }
    n_pages = (mib << 20) / FERRY_PAGE_SIZE;
    memory = allocate(n_pages * FERRY_PAGE_SIZE);
    other = allocate(n_pages * FERRY_PAGE_SIZE);
    measure("read", "zero", read_memory, NULL);
    measure("memcpy", "zero", copy_memory, NULL);
    for (unsigned i = 0; (scan = ferry_page_scan(i, &name)); i++) {
        measure(name, "zero", scan_memory, scan);
    }
    measure("page", "zero", scan_memory, ferry_page_is_zero);
    measure("run", "zero", scan_runs, NULL);
    fill(FERRY_PAGE_SIZE - 1, 1);
    measure("page", "last-byte", scan_memory, ferry_page_is_zero);
    measure("run", "last-byte", scan_runs, NULL);
    fill(0, 1);
    measure("page", "first-word", scan_memory, ferry_page_is_zero);
    measure("run", "first-word", scan_runs, NULL);
    return 0;
}

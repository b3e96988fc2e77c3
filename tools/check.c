/* ferry check: what this host can do for migrations, and what follows where it cannot. Every line
 * is asked of the kernel, none is concluded from a version. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/calibrate.h"
#include "tools/format.h"
#include "tools/verb.h"

typedef struct {
    const char *key, *name;
    /* What was found or why it is missing (g_free); TRUE: migrations can use it. */
    gboolean (*probe)(char **out_value);
    const char *otherwise; /* what follows where it is missing */
} Check;

/* Linux 6.7; younger than the oldest headers this is built with. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
typedef struct {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
} PagemapScan;
#define FERRY_PAGEMAP_SCAN _IOWR('f', 16, PagemapScan)
#define PAGEMAP_PRESENT (1u << 3)

static gboolean errno_says(char **out_value)
{
    *out_value = g_strdup(g_strerror(errno));
    return FALSE;
}

/* The answer of KVM_CHECK_EXTENSION; -1: no /dev/kvm. */
static int kvm_extension(int capability)
{
    g_auto(FerryFd) fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    return fd < 0 ? -1 : ioctl(fd, KVM_CHECK_EXTENSION, capability);
}

static gboolean probe_kvm(char **out_value)
{
    g_auto(FerryFd) fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int version;

    if (fd < 0) {
        return errno_says(out_value);
    }
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    *out_value = g_strdup_printf("API version %d", version);
    return version == KVM_API_VERSION;
}

static gboolean probe_manual_protect(char **out_value)
{
    int value = kvm_extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

    if (value <= 0) {
        *out_value = g_strdup(value < 0 ? "no KVM" : "not offered");
        return FALSE;
    }
    *out_value = g_strdup_printf("value %d: clear in chunks%s", value,
                                 value & KVM_DIRTY_LOG_INITIALLY_SET ? ", initially set" : "");
    return TRUE;
}

static gboolean probe_dirty_ring(char **out_value)
{
    int bytes = kvm_extension(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

    if (bytes == 0) {
        bytes = kvm_extension(KVM_CAP_DIRTY_LOG_RING);
    }
    if (bytes <= 0) {
        *out_value = g_strdup(bytes < 0 ? "no KVM" : "not offered");
        return FALSE;
    }
    *out_value = g_strdup_printf("at most %zu entries per vCPU",
                                 (size_t)bytes / sizeof(struct kvm_dirty_gfn));
    return TRUE;
}

static gboolean probe_userfaultfd(char **out_value)
{
    g_auto(FerryFd) fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};

    if (fd < 0 && errno == EPERM) {
        /* Handling faults of the kernel too is a privilege, those of user space is not. */
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    }
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0) {
        return errno_says(out_value);
    }
    if (!(api.features & UFFD_FEATURE_WP_ASYNC)) {
        *out_value = g_strdup("no asynchronous mode (Linux 6.7)");
        return FALSE;
    }
    *out_value = g_strdup("asynchronous");
    return TRUE;
}

static gboolean probe_pagemap_scan(char **out_value)
{
    g_auto(FerryFd) fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t page = (uint64_t)(uintptr_t)out_value & ~(uint64_t)4095;
    PagemapScan scan = {.size = sizeof scan,
                        .start = page,
                        .end = page + 4096,
                        .category_mask = PAGEMAP_PRESENT,
                        .return_mask = PAGEMAP_PRESENT};

    if (fd < 0) {
        return errno_says(out_value);
    }
    if (ioctl(fd, FERRY_PAGEMAP_SCAN, &scan) < 0) {
        *out_value =
            g_strdup(errno == ENOTTY ? "not in this kernel (Linux 6.7)" : g_strerror(errno));
        return FALSE;
    }
    *out_value = g_strdup("offered");
    return TRUE;
}

static gboolean probe_io_uring(char **out_value)
{
    if (!ferry_io_uring_usable(out_value)) {
        return FALSE;
    }
    *out_value = g_strdup("usable");
    return TRUE;
}

/* A file of /proc or /sys without its last newline, tabs as blanks; NULL: not there. */
static char *read_file(const char *path)
{
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return NULL;
    }
    return g_strdelimit(g_strstrip(text), "\t", ' ');
}

static uint64_t meminfo(const char *key)
{
    g_autofree char *text = read_file("/proc/meminfo");
    const char *at = text ? strstr(text, key) : NULL;

    return at ? g_ascii_strtoull(at + strlen(key) + 1, NULL, 10) : 0;
}

static gboolean probe_huge_pages(char **out_value)
{
    uint64_t total = meminfo("HugePages_Total"), kib = meminfo("Hugepagesize");

    *out_value = g_strdup_printf("%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                                 " KiB, %" G_GUINT64_FORMAT " free",
                                 total, kib, meminfo("HugePages_Free"));
    return total > 0;
}

/* The word in brackets of "always [madvise] never". */
static gboolean probe_thp(char **out_value)
{
    g_autofree char *text = read_file("/sys/kernel/mm/transparent_hugepage/enabled");
    const char *open = text ? strchr(text, '[') : NULL;
    const char *close = open ? strchr(open, ']') : NULL;

    *out_value = close ? g_strndup(open + 1, (size_t)(close - open - 1)) : g_strdup("none");
    return close && strcmp(*out_value, "never") != 0;
}

static gboolean probe_ksm(char **out_value)
{
    g_autofree char *run = read_file("/sys/kernel/mm/ksm/run");

    if (!run) {
        *out_value = g_strdup("not in this kernel");
        return FALSE;
    }
    *out_value = g_strdup(*run == '1' ? "running" : "there, not running");
    return TRUE;
}

static gboolean probe_congestion(char **out_value)
{
    g_autofree char *now = read_file("/proc/sys/net/ipv4/tcp_congestion_control");
    g_autofree char *all = read_file("/proc/sys/net/ipv4/tcp_available_congestion_control");

    *out_value =
        g_strdup_printf("%s (available: %s)", now ? now : "unknown", all ? all : "unknown");
    return now != NULL;
}

static gboolean probe_socket_buffers(char **out_value)
{
    g_autofree char *receive = read_file("/proc/sys/net/ipv4/tcp_rmem");
    g_autofree char *send = read_file("/proc/sys/net/ipv4/tcp_wmem");
    const char *most = send ? strrchr(send, ' ') : NULL;

    *out_value = g_strdup_printf("tcp_rmem %s, tcp_wmem %s bytes", receive ? receive : "unknown",
                                 send ? send : "unknown");
    return most && g_ascii_strtoull(most, NULL, 10) >= (4u << 20);
}

static gboolean probe_memlock(char **out_value)
{
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0) {
        return errno_says(out_value);
    }
    if (limit.rlim_cur == RLIM_INFINITY) {
        *out_value = g_strdup("unlimited");
        return TRUE;
    }
    *out_value = ferry_format_bytes(limit.rlim_cur);
    return limit.rlim_cur >= (8u << 20);
}

static gboolean probe_host(char **out_value)
{
    g_autofree char *memory = ferry_format_bytes(meminfo("MemTotal") << 10);
    struct utsname name;

    if (uname(&name) < 0) {
        return errno_says(out_value);
    }
    *out_value = g_strdup_printf("%s %s, %s, %ld CPUs, %s", name.sysname, name.release,
                                 name.machine, sysconf(_SC_NPROCESSORS_ONLN), memory);
    return TRUE;
}

static const Check checks[] = {
    {"host",                     "host",                         probe_host,           ""                                                   },
    {"kvm",                      "/dev/kvm",                     probe_kvm,
     "no hardware guests here; ferry demo and ferry-vm take -accel process"                                                                 },
    {"manual_dirty_log_protect", "KVM manual dirty log protect", probe_manual_protect,
     "each dirty sync protects all pages at once: longer pauses of the guest's writes"                                                      },
    {"dirty_ring",               "KVM dirty ring",               probe_dirty_ring,     "use the dirty bitmap, the default"                  },
    {"userfaultfd",              "userfaultfd write protection", probe_userfaultfd,
     "processes outside KVM cannot be tracked: no -accel process"                                                                           },
    {"pagemap_scan",             "PAGEMAP_SCAN",                 probe_pagemap_scan,
     "processes outside KVM cannot be tracked: no -accel process"                                                                           },
    {"io_uring",                 "io_uring",                     probe_io_uring,       "sockets are driven by poll, with the same behaviour"},
    {"huge_pages",               "huge pages reserved",          probe_huge_pages,
     "guests use 4 KiB or transparent huge pages"                                                                                           },
    {"transparent_huge_pages",   "transparent huge pages",       probe_thp,
     "first touches of guest memory cost more"                                                                                              },
    {"ksm",                      "KSM",                          probe_ksm,            "equal pages of guests are not shared"               },
    {"tcp_congestion_control",   "TCP congestion control",       probe_congestion,     ""                                                   },
    {"tcp_buffers",              "TCP buffers",                  probe_socket_buffers,
     "a fast link with a long way cannot be filled: raise the last value of tcp_wmem to 4 MiB"                                              },
    {"memlock",                  "locked memory limit",          probe_memlock,
     "io_uring may not register buffers: raise it with ulimit -l"                                                                           },
};

static JsonNode *as_json(void)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "status");
    json_builder_add_string_value(builder, "completed");
    json_builder_set_member_name(builder, "checks");
    json_builder_begin_object(builder);
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        g_autofree char *value = NULL;
        gboolean ok = checks[i].probe(&value);
        json_builder_set_member_name(builder, checks[i].key);
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "available");
        json_builder_add_boolean_value(builder, ok);
        json_builder_set_member_name(builder, "value");
        json_builder_add_string_value(builder, value);
        if (!ok) {
            json_builder_set_member_name(builder, "otherwise");
            json_builder_add_string_value(builder, checks[i].otherwise);
        }
        json_builder_end_object(builder);
    }
    json_builder_end_object(builder);
    json_builder_end_object(builder);
    return ferry_verb_build(builder);
}

static FerryExit calibrate(const char *output, gboolean json)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *line = ferry_calibrate(text);
    g_autoptr(GError) error = NULL;

    fputs(json ? line : text->str, stdout);
    if (output && !g_file_set_contents(output, line, -1, &error)) {
        return ferry_verb_fail("check", FERRY_EXIT_FAILED, FALSE, "%s", error->message);
    }
    return FERRY_EXIT_DONE;
}

FerryExit ferry_verb_check(int argc, char **argv)
{
    gboolean json = FALSE, measure = FALSE;
    g_autofree char *output = NULL;
    const GOptionEntry entries[] = {
        {"json",      0,   0, G_OPTION_ARG_NONE,     &json,    "one JSON object",                       NULL},
        {"calibrate", 0,   0, G_OPTION_ARG_NONE,     &measure,
         "measure what pages, packing and dirty logs take here instead, some seconds",                  NULL},
        {"output",    'o', 0, G_OPTION_ARG_FILENAME, &output,  "where ferry simulate --costs finds it",
         "FILE"                                                                                             },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, NULL,
                          "Says what this host can do for migrations, and what follows where "
                          "something is missing.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    if (output && !measure) {
        return ferry_verb_fail("check", FERRY_EXIT_USAGE, FALSE, "-o is for --calibrate");
    }
    if (measure) {
        return calibrate(output, json);
    }
    if (json) {
        ferry_verb_print_json(as_json(), TRUE);
        return FERRY_EXIT_DONE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        g_autofree char *value = NULL;
        gboolean ok = checks[i].probe(&value);
        printf("%-30s %-3s  %s%s%s\n", checks[i].name, ok ? "yes" : "no", value,
               ok || !*checks[i].otherwise ? "" : "; ", ok ? "" : checks[i].otherwise);
    }
    return FERRY_EXIT_DONE;
}

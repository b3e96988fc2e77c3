/* `ferry receive`: its options (receive.c), and how it tells what it got (receive-report.c). */
#pragma once
#include "engine/capture.h"
#include "tools/transfer.h"

G_BEGIN_DECLS

typedef struct {
    char *output, *ram_dir;
    FerryAddress address;
    uint64_t max_ram_bytes, max_device_bytes, timeout_ns, max_time_ns;
    unsigned channels, page_bits;
    gboolean has_method, has_uuid, switchover_ack, hash, json;
    FerryMultifdMethod method;
    uint8_t uuid[16];
} FerryReceiveOptions;

void ferry_receive_report(const FerryReceiveOptions *options, FerryCapture *capture,
                          const FerryProgress *progress, uint64_t cpu_ns);

G_END_DECLS

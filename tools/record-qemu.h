/* What is known of a process from outside, and where in a QEMU's memory the guest's RAM is. */
#pragma once
#include "tools/record-memory.h"

G_BEGIN_DECLS

#define FERRY_RECORD_QEMU_BLOCKS 16

/* The RAM blocks of the QEMU with this id, by the size its command line gives; 0: it is none. */
unsigned ferry_record_qemu_find(int pid, FerryRecordRange out[FERRY_RECORD_QEMU_BLOCKS]);
/* The same, of text: arguments end with 0 each, and @bytes counts all of them. */
unsigned ferry_record_qemu_blocks(const char *arguments, gsize bytes, const char *maps,
                                  FerryRecordRange out[FERRY_RECORD_QEMU_BLOCKS]);
char *ferry_record_program(int pid);      /* "redis-server"; free with g_free */
char *ferry_record_command_line(int pid); /* likewise, with spaces; at most some 1000 bytes */

G_END_DECLS

/* One ferry-vm as a child process: started, asked through its monitor, ended. Belongs to the
 * thread that started it; the child dies with that thread. */
#pragma once
#include <json-glib/json-glib.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/qmp-client.h"

G_BEGIN_DECLS

typedef struct FerryDemoVm FerryDemoVm;
/* Starts @program with @arguments (NULL-terminated, without argv[0]) plus a monitor, guest memory
 * and a log, all in @directory under @name; waits until the monitor answers. */
FerryDemoVm *ferry_demo_vm_new(const char *program, const char *name, const char *directory,
                               const char *const *arguments, uint64_t memory_bytes, GError **error);
FerryQmpClient *ferry_demo_vm_monitor(FerryDemoVm *vm);
/* The answer of query-migrate; free with json_node_unref. */
JsonNode *ferry_demo_vm_query(FerryDemoVm *vm, GError **error);
/* A command with arguments as JSON text, or NULL. */
gboolean ferry_demo_vm_do(FerryDemoVm *vm, const char *command, const char *arguments,
                          GError **error);
/* Pages written by the guest since it started, over all vCPUs; read from its memory. */
uint64_t ferry_demo_vm_writes(const FerryDemoVm *vm);
/* What it printed to stderr; g_free. */
char *ferry_demo_vm_log(const FerryDemoVm *vm);
/* Asks it to quit, then kills it, then waits for it. */
void ferry_demo_vm_free(FerryDemoVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDemoVm, ferry_demo_vm_free)

/* The ferry-vm to use (g_free): the environment's FERRY_VM, else the one next to this program. */
char *ferry_demo_find_vm(GError **error);

G_END_DECLS

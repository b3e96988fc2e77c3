/* What the verbs of `ferry` share: exit statuses, option parsing, printing JSON. */
#pragma once
#include <json-glib/json-glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef enum {
    FERRY_EXIT_DONE = 0,
    FERRY_EXIT_FAILED = 1, /* and the source's guest runs on */
    FERRY_EXIT_USAGE = 2,
    FERRY_EXIT_CANCELLED = 3,
    FERRY_EXIT_NOT_CONVERGED = 4,
    FERRY_EXIT_REFUSED = 5, /* before it began */
    FERRY_EXIT_IN_DOUBT = 6,
} FerryExit;

/* One per verb. argv[0] is the verb's name. */
FerryExit ferry_verb_demo(int argc, char **argv);
FerryExit ferry_verb_check(int argc, char **argv);
FerryExit ferry_verb_predict(int argc, char **argv);
FerryExit ferry_verb_status(int argc, char **argv);
FerryExit ferry_verb_set(int argc, char **argv);
FerryExit ferry_verb_cancel(int argc, char **argv);
FerryExit ferry_verb_continue(int argc, char **argv);
FerryExit ferry_verb_resolve(int argc, char **argv);
FerryExit ferry_verb_receive(int argc, char **argv);
FerryExit ferry_verb_send(int argc, char **argv);
FerryExit ferry_verb_inspect(int argc, char **argv);
FerryExit ferry_verb_replay(int argc, char **argv);
FerryExit ferry_verb_bound(int argc, char **argv);
FerryExit ferry_verb_convert(int argc, char **argv);
FerryExit ferry_verb_record(int argc, char **argv);
FerryExit ferry_verb_simulate(int argc, char **argv);
FerryExit ferry_verb_report(int argc, char **argv);

/* Parses @entries (borrowed) for the verb argv[0]; what is left must be @min_args to @max_args
 * words, which argv[1] onwards then hold. @arguments: how help names them, may be NULL. On FALSE
 * the mistake is printed, FERRY_EXIT_USAGE follows. --help prints and exits. */
gboolean ferry_verb_parse(int *argc, char ***argv, const GOptionEntry *entries,
                          const char *arguments, const char *description, int min_args,
                          int max_args);
/* What was asked for makes no sense: sets a G_OPTION_ERROR and returns FALSE. */
gboolean ferry_verb_usage(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Prints "ferry VERB: MESSAGE" to stderr, as JSON {"status":"failed","error":...} to stdout as well
 * when @json. Returns @status. */
FerryExit ferry_verb_fail(const char *verb, FerryExit status, gboolean json, const char *format,
                          ...) G_GNUC_PRINTF(4, 5);
/* One line; over several lines when standard output is a terminal and @pretty. Takes @node. */
void ferry_verb_print_json(JsonNode *node, gboolean pretty);
/* Ends and steals what @builder holds. */
JsonNode *ferry_verb_build(JsonBuilder *builder);

G_END_DECLS

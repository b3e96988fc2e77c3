/* ferry VERB: finds the verb and runs it. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/verb.h"

typedef struct {
    const char *name, *help;
    FerryExit (*run)(int argc, char **argv); /* NULL: its name is taken, it is not built yet */
} Verb;

static const Verb verbs[] = {
    {"demo",       "move a running guest live on this machine and show it",          ferry_verb_demo    },
    {"check",      "what this host can do for migrations",                           ferry_verb_check   },
    {"status",     "how a migration is doing, in QEMU's words",                      ferry_verb_status  },
    {"set",        "show or change parameters and capabilities, also while it runs", ferry_verb_set     },
    {"cancel",     "end a migration; the source's guest runs on",                    ferry_verb_cancel  },
    {"continue",   "go on from the pause before switchover",                         ferry_verb_continue},
    {"resolve",    "say which side owns a guest that is in doubt",                   ferry_verb_resolve },
    {"receive",    "wait for a migration and rebuild the guest",                     ferry_verb_receive },
    {"send",       "send a snapshot to a destination",                               ferry_verb_send    },
    {"inspect",    "say what is in a stream or a snapshot",                          ferry_verb_inspect },
    {"record",     "capture a dirty trace",                                          ferry_verb_record  },
    {"replay",     "migrate memory that a trace writes, in real time",               ferry_verb_replay  },
    {"simulate",   "migrate traces and models in virtual time",                      ferry_verb_simulate},
    {"report",     "plot what was measured",                                         ferry_verb_report  },
    {"bound",      "what no order of sending can beat on a trace",                  ferry_verb_bound   },
    {"convert",    "traces from and to other forms",                                 ferry_verb_convert },
    {"dirty-rate", "how fast a guest writes its memory",                             NULL               },
    {"predict",    "what a migration would take",                                    ferry_verb_predict },
    {"attach",     "migrate the guest of a running QEMU",                            NULL               },
    {"relay",      "stand between two QEMUs",                                        NULL               },
    {"rehearse",   "migrate and stay",                                               NULL               },
};

static void print_help(void)
{
    puts("Usage: ferry VERB [OPTIONS] [ARGUMENTS]\n\nVerbs:");
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (verbs[i].run) {
            printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
        }
    }
    puts("\n'ferry VERB --help' explains one. 'ferry --version' says which ferry this is.\n\n"
         "Exit status: 0 done, 1 failed and the source's guest runs on, 2 usage, 3 cancelled,\n"
         "4 did not converge, 5 refused before it began, 6 handover in doubt.");
}

static const Verb *find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

/* Levenshtein's distance. */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(b);
    g_autofree unsigned *row = g_new(unsigned, n + 1);

    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = MIN(replaced, MIN(row[j], diagonal) + 1);
        }
    }
    return row[n];
}

static FerryExit unknown(const char *name)
{
    const Verb *nearest = &verbs[0];

    for (size_t i = 1; i < G_N_ELEMENTS(verbs); i++) {
        if (distance(name, verbs[i].name) < distance(name, nearest->name)) {
            nearest = &verbs[i];
        }
    }
    fprintf(stderr, "ferry: there is no verb '%s'; did you mean '%s'?\nTry 'ferry --help'.\n", name,
            nearest->name);
    return FERRY_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const Verb *verb;

    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* a point in every number that is printed */
    signal(SIGPIPE, SIG_IGN);   /* a dead monitor is an error, not our end */
    if (argc < 2) {
        fputs("ferry: a verb is missing\nTry 'ferry --help'.\n", stderr);
        return FERRY_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return FERRY_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("ferry " FERRY_VERSION);
        return FERRY_EXIT_DONE;
    }
    verb = find(argv[1]);
    if (!verb) {
        return unknown(argv[1]);
    }
    if (!verb->run) {
        fprintf(stderr, "ferry: '%s' is not built yet (this is ferry " FERRY_VERSION_SHORT ")\n",
                verb->name);
        return FERRY_EXIT_USAGE;
    }
    return (int)verb->run(argc - 1, argv + 1);
}

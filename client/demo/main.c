/* assent-demo: participants and demonstrations, one command each. */
#include <stdio.h>
#include <string.h>

#include "demo.h"

static const struct {
    const char *name, *what;
    int (*run)(int argc, char **argv);
} participants[] = {
    {"bank", "accounts in its own store: reserve, confirm, cancel; action, compensate", bank_main},
    {"inventory", "shelves and orders in its own store: action, compensate", inventory_main},
    {"application", "a transfer as a workflow, which the coordinator calls back", application_main},
};

static int usage(void)
{
    fprintf(stderr, "usage: assent-demo [run] DEMONSTRATION [--kill-leader] [OPTION]...\n");
    play_list(stderr);
    fprintf(stderr, "       assent-demo PARTICIPANT [OPTION]...\n");
    for (size_t i = 0; i < sizeof(participants) / sizeof(participants[0]); i++)
        fprintf(stderr, "  %-18s %s\n", participants[i].name, participants[i].what);
    return 2;
}

int main(int argc, char **argv)
{
    int at = argc > 1 && strcmp(argv[1], "run") == 0 ? 2 : 1;
    for (size_t i = 0; argc > 1 && i < sizeof(participants) / sizeof(participants[0]); i++)
        if (strcmp(argv[1], participants[i].name) == 0)
            return participants[i].run(argc - 2, argv + 2);
    int rc = argc > at ? play_main(argv[at], argc - at - 1, argv + at + 1) : -1;
    return rc >= 0 ? rc : usage();
}

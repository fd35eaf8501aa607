/* assent-demo: participants and demonstrations, one command each. */
#include <stdio.h>
#include <string.h>

#include "demo.h"

static const struct {
    const char *name, *what;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"bank", "a participant: accounts in its own store, reserve, confirm, cancel", bank_main},
    {"transfer", "money between two banks while the leader of the cluster is killed", transfer_main},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "usage: assent-demo COMMAND [OPTION]...\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].what);
    return 2;
}

/* Chooses the planted bug of a museum program: ASSENT_PLANTED names it, as planted.h does.  Says on stderr
 * which one it is before anything else happens; a name that is none ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planted.h"

#define PLANTED_EXIT 64 /* sysexits: EX_USAGE */

enum planted assent_planted;

static const struct {
    const char *name, *what;
} bugs[PLANTED_NR] = {[PLANTED_NONE] = {"nothing", "the program as it is"},
#define PLANTED_ROW(bug, name, what) [PLANTED_##bug] = {name, what},
                      PLANTED_MAP(PLANTED_ROW)
#undef PLANTED_ROW
};

__attribute__((constructor)) static void choose(void)
{
    const char *name = getenv("ASSENT_PLANTED");
    if (name == NULL || name[0] == 0)
        name = bugs[PLANTED_NONE].name;
    for (int i = 0; i < PLANTED_NR; i++)
        if (strcmp(bugs[i].name, name) == 0) {
            assent_planted = (enum planted)i;
            fprintf(stderr,
                    "{\"level\":\"warning\",\"event\":\"museum\",\"planted\":\"%s\",\"what\":\"%s\"}\n", name,
                    bugs[i].what);
            return;
        }
    fprintf(stderr, "ASSENT_PLANTED=%s: no bug of that name; there are", name);
    for (int i = 0; i < PLANTED_NR; i++)
        fprintf(stderr, " %s", bugs[i].name);
    fprintf(stderr, "\n");
    _Exit(PLANTED_EXIT);
}

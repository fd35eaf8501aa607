/* A run in a file: its knobs, the faults that happen, what was found.  Lines of text, in any order:
 *
 *     version STRING | finding wrong|stuck|crashed | why SENTENCE
 *     seed N | knob NAME N | fault CHANNEL N # comment
 *
 * Without a line of a fault the faults happen as the dice fall, unless there is a line "faults none". */
#ifndef TESTS_SIM_RUNFILE_H
#define TESTS_SIM_RUNFILE_H

#include "attempt.h"

struct runfile {
    struct knobs knobs;
    struct script script;
    bool scripted;
    enum finding finding;
    char why[512];
};

/* False: perror() has said why. */
bool runfile_write(const char *path, const struct runfile *file, const char *version);
/* False: a sentence is on stderr.  The caller closes `file->script`. */
bool runfile_read(const char *path, struct runfile *file);

#endif /* TESTS_SIM_RUNFILE_H */

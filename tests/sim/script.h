/* Which faults happen in a run: as the dice fall, noted down, or exactly those of a script.
 *
 * Every fault of a run is a decision: the n-th of its channel.  A run that follows its own complete script is
 * the same run, event by event; with lines taken out it is another one, in which less goes wrong. */
#ifndef TESTS_SIM_SCRIPT_H
#define TESTS_SIM_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* X(name in the code, name in files) */
#define SCRIPT_CHANNELS(X)                                                                                   \
    X(ROUND, "round")             /* one fault of nodes, disks, clocks or participants, drawn whole */       \
    X(CLIENT, "client")           /* what clients send and get */                                            \
    X(PARTICIPANT, "participant") /* calls to participants and their answers */                              \
    X(NETWORK, "network")         /* messages between nodes */

enum script_channel {
#define SCRIPT_ENUM(name, text) SCRIPT_##name,
    SCRIPT_CHANNELS(SCRIPT_ENUM)
#undef SCRIPT_ENUM
        SCRIPT_CHANNEL_NR
};

struct script_line {
    enum script_channel channel;
    uint64_t n;
    uint64_t at_us; /* when it happened; for readers only */
};

struct script {
    bool follow; /* else: note down */
    struct script_line *lines;
    uint32_t n, capacity;
    /* Hears of every fault that happens; NULL: nobody. */
    void (*note)(void *data, struct script_line line);
    void *note_data;
    uint32_t *at[SCRIPT_CHANNEL_NR]; /* following: the lines of a channel, by number */
    uint32_t at_n[SCRIPT_CHANNEL_NR], at_next[SCRIPT_CHANNEL_NR];
};

void script_close(struct script *s);
void script_add(struct script *s, struct script_line line);
/* A copy that will be followed, without the lines from `first` up to `end`. */
struct script script_without(const struct script *s, uint32_t first, uint32_t end);
/* From the first decision again. */
void script_rewind(struct script *s);
/* Does fault `n` of this channel, which the dice say happens or not, happen?  Within a channel numbers rise.
 * `s` NULL: as drawn. */
bool script_decide(struct script *s, enum script_channel channel, uint64_t n, bool drawn, uint64_t at_us);

/* Lines "fault CHANNEL N  # seconds". */
void script_write(const struct script *s, FILE *file);
/* One such line; false: it is none. */
bool script_read_line(struct script *s, const char *line);

#endif /* TESTS_SIM_SCRIPT_H */

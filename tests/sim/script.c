/* Scripts of faults; see script.h. */
#include "script.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[SCRIPT_CHANNEL_NR] = {
#define SCRIPT_NAME(name, text) [SCRIPT_##name] = text,
    SCRIPT_CHANNELS(SCRIPT_NAME)
#undef SCRIPT_NAME
};

void script_add(struct script *s, struct script_line line)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity == 0 ? 256 : 2 * s->capacity;
        s->lines = realloc(s->lines, s->capacity * sizeof *s->lines);
        assert(s->lines != NULL);
    }
    s->lines[s->n++] = line;
}

void script_close(struct script *s)
{
    for (uint32_t i = 0; i < SCRIPT_CHANNEL_NR; i++)
        free(s->at[i]);
    free(s->lines);
    memset(s, 0, sizeof *s);
}

struct script script_without(const struct script *s, uint32_t first, uint32_t end)
{
    struct script copy = {.follow = true};
    for (uint32_t i = 0; i < s->n; i++)
        if (i < first || i >= end)
            script_add(&copy, s->lines[i]);
    script_rewind(&copy);
    return copy;
}

void script_rewind(struct script *s)
{
    if (!s->follow) {
        s->n = 0;
        return;
    }
    for (uint32_t i = 0; i < SCRIPT_CHANNEL_NR; i++) {
        free(s->at[i]);
        s->at[i] = malloc((s->n + 1) * sizeof *s->at[i]);
        assert(s->at[i] != NULL);
        s->at_n[i] = s->at_next[i] = 0;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        enum script_channel channel = s->lines[i].channel;
        s->at[channel][s->at_n[channel]++] = i;
    }
}

bool script_decide(struct script *s, enum script_channel channel, uint64_t n, bool drawn, uint64_t at_us)
{
    bool happens = drawn;
    if (s == NULL)
        return drawn;
    if (s->follow) {
        uint32_t *next = &s->at_next[channel];
        while (*next < s->at_n[channel] && s->lines[s->at[channel][*next]].n < n)
            (*next)++;
        happens = *next < s->at_n[channel] && s->lines[s->at[channel][*next]].n == n;
    } else if (drawn) {
        script_add(s, (struct script_line){channel, n, at_us});
    }
    if (happens && s->note != NULL)
        s->note(s->note_data, (struct script_line){channel, n, at_us});
    return happens;
}

void script_write(const struct script *s, FILE *file)
{
    for (uint32_t i = 0; i < s->n; i++)
        fprintf(file, "fault %s %" PRIu64 " # at %.3f s\n", names[s->lines[i].channel], s->lines[i].n,
                (double)s->lines[i].at_us / 1e6);
}

bool script_read_line(struct script *s, const char *line)
{
    char name[32];
    uint64_t n;
    double at_s = 0;
    if (sscanf(line, "fault %31s %" SCNu64 " # at %lf", name, &n, &at_s) < 2)
        return false;
    for (uint32_t i = 0; i < SCRIPT_CHANNEL_NR; i++)
        if (strcmp(name, names[i]) == 0) {
            script_add(s, (struct script_line){(enum script_channel)i, n, (uint64_t)(at_s * 1e6)});
            return true;
        }
    return false;
}

/* Runs in files; see runfile.h. */
#include "runfile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void write_knobs(const struct knobs *k, FILE *f)
{
    const char *base = (const char *)k;
    fprintf(f, "seed %" PRIu64 "\n", k->seed);
    for (uint32_t i = 0; i < knob_sizes_n; i++)
        fprintf(f, "knob %s %u\n", knob_sizes[i].name,
                *(const uint32_t *)(const void *)(base + knob_sizes[i].offset));
    for (uint32_t i = 0; i < knob_classes_n; i++) {
        const void *field = base + knob_classes[i].offset;
        uint32_t value = knob_classes[i].flag ? *(const bool *)field : *(const uint32_t *)field;
        if (value != 0)
            fprintf(f, "knob %s %u\n", knob_classes[i].name, value);
    }
}

bool runfile_write(const char *path, const struct runfile *file, const char *version)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        perror(path);
        return false;
    }
    fprintf(f, "# Again: assent-sim --replay %s\nversion %s\nfinding %s\nwhy %s\n", path, version,
            finding_name(file->finding), file->why);
    write_knobs(&file->knobs, f);
    if (file->scripted && file->script.n == 0)
        fprintf(f, "faults none\n");
    script_write(&file->script, f);
    if (fclose(f) != 0) {
        perror(path);
        return false;
    }
    return true;
}

static bool set_knob(struct knobs *k, const char *name, uint32_t value)
{
    char *base = (char *)k;
    for (uint32_t i = 0; i < knob_sizes_n; i++)
        if (strcmp(name, knob_sizes[i].name) == 0) {
            *(uint32_t *)(void *)(base + knob_sizes[i].offset) = value;
            return true;
        }
    for (uint32_t i = 0; i < knob_classes_n; i++)
        if (strcmp(name, knob_classes[i].name) == 0) {
            void *field = base + knob_classes[i].offset;
            if (knob_classes[i].flag)
                *(bool *)field = value != 0;
            else
                *(uint32_t *)field = value;
            return true;
        }
    return false;
}

static bool read_line(struct runfile *file, const char *line)
{
    char name[64];
    uint32_t value;
    if (line[0] == '#' || line[0] == '\n' || strncmp(line, "version ", 8) == 0)
        return true;
    if (sscanf(line, "seed %" SCNu64, &file->knobs.seed) == 1)
        return true;
    if (sscanf(line, "knob %63s %u", name, &value) == 2)
        return set_knob(&file->knobs, name, value);
    if (strncmp(line, "why ", 4) == 0) {
        snprintf(file->why, sizeof file->why, "%.*s", (int)strcspn(line + 4, "\n"), line + 4);
        return true;
    }
    if (sscanf(line, "finding %63s", name) == 1)
        for (int i = 0; i < FINDING_NR; i++)
            if (strcmp(name, finding_name((enum finding)i)) == 0) {
                file->finding = (enum finding)i;
                return true;
            }
    if (strcmp(line, "faults none\n") != 0 && !script_read_line(&file->script, line))
        return false;
    file->scripted = true;
    return true;
}

static bool sound(const struct knobs *k)
{
    return k->nodes >= 1 && k->nodes <= WORLD_NODES_MAX && k->voters >= 1 && k->voters <= k->nodes &&
           k->clients >= 1 && k->clients <= WORLD_CLIENTS_MAX && k->participants >= 1 &&
           k->participants <= WORLD_PARTICIPANTS_MAX && k->heal_ms > 0;
}

bool runfile_read(const char *path, struct runfile *file)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    bool good = f != NULL;
    *file = (struct runfile){.finding = FINDING_NOTHING};
    if (f == NULL)
        perror(path);
    for (uint32_t n = 1; good && getline(&line, &size, f) > 0; n++) {
        good = read_line(file, line);
        if (!good)
            fprintf(stderr, "%s:%u: %s", path, n, line);
    }
    if (good && !sound(&file->knobs)) {
        fprintf(stderr, "%s: knobs are missing or out of range\n", path);
        good = false;
    }
    file->script.follow = file->scripted;
    free(line);
    if (f != NULL)
        fclose(f);
    if (!good)
        script_close(&file->script);
    return good;
}

/* One run in a child; see attempt.h. */
#include "attempt.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES_MAX  (1u << 18)
#define SAID_BYTES 16384

static const struct {
    const char *name;
    int status;
} findings[FINDING_NR] = {
#define FINDING_ROW(name, text, status) [FINDING_##name] = {text, status},
    FINDINGS(FINDING_ROW)
#undef FINDING_ROW
};

const char *finding_name(enum finding finding)
{
    return findings[finding].name;
}

int finding_exit(enum finding finding)
{
    return findings[finding].status;
}

/* What the child leaves behind, also when it dies. */
struct shared {
    bool ended;
    enum finding finding;
    uint64_t virtual_ms;
    char why[512];
    struct script_line lines[LINES_MAX];
    uint32_t n;
};

static void note(void *data, struct script_line line)
{
    struct shared *s = data;
    if (s->n < LINES_MAX)
        s->lines[s->n++] = line;
}

static void child(const struct knobs *k, const struct script *script, uint32_t seconds_max,
                  struct shared *shared, int said)
{
    struct script run = script != NULL ? script_without(script, 0, 0) : (struct script){.follow = false};
    struct world_report report;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    alarm(seconds_max);
    run.note = note;
    run.note_data = shared;
    const char *why = world_run_script(k, &run, NULL, NULL, &report);
    shared->finding = why == NULL ? FINDING_NOTHING : report.stuck ? FINDING_STUCK : FINDING_WRONG;
    snprintf(shared->why, sizeof shared->why, "%s", why == NULL ? "" : why);
    shared->virtual_ms = report.virtual_ms;
    shared->ended = true;
    _exit(0);
}

/* The line by which an assertion or a sanitizer says what it saw; else the last line. */
static void last_words(int said, char *why, size_t size)
{
    static const char *const signs[] = {"Assertion", "ERROR: ", "runtime error: "};
    char text[SAID_BYTES + 1];
    off_t end = lseek(said, 0, SEEK_END);
    off_t from = end > SAID_BYTES ? end - SAID_BYTES : 0;
    ssize_t n = pread(said, text, SAID_BYTES, from);
    text[n > 0 ? n : 0] = 0;
    const char *line = NULL, *last = "it said nothing";
    for (char *rest = text, *one; (one = strsep(&rest, "\n")) != NULL;) {
        for (size_t i = 0; i < sizeof signs / sizeof signs[0] && line == NULL; i++)
            line = strstr(one, signs[i]) != NULL ? one : NULL;
        last = *one != 0 ? one : last;
    }
    snprintf(why, size, "%s", line != NULL ? line : last);
}

void attempt(const struct knobs *k, const struct script *script, uint32_t seconds_max, struct attempt *out)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int said = memfd_create("said", MFD_CLOEXEC), status = 0;
    assert(shared != MAP_FAILED && said >= 0);
    *out = (struct attempt){.finding = FINDING_NOTHING};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(k, script, seconds_max, shared, said);
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("a run in a process of its own");
        exit(EXIT_FAILURE);
    }
    if (shared->ended) {
        out->finding = shared->finding;
        out->virtual_ms = shared->virtual_ms;
        snprintf(out->why, sizeof out->why, "%s", shared->why);
    } else if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)) {
        out->finding = FINDING_CRASHED;
        last_words(said, out->why, sizeof out->why);
    }
    for (uint32_t i = 0; i < shared->n; i++)
        script_add(&out->happened, shared->lines[i]);
    close(said);
    munmap(shared, sizeof *shared);
}

/* System calls of a running node, made slow: strace attached to it by its process id.
 *
 * The delay passes before the call, while the calling thread stands; its other threads go on.  strace dies
 * with the judge, and the kernel lets the node go on when strace is gone, however it went. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes.h"

#define PROGRAM   "/usr/bin/strace"
#define ATTACH_MS 5000
#define DETACH_MS 2000

bool tracer_there(char *why, size_t why_size)
{
    if (access(PROGRAM, X_OK) == 0)
        return true;
    snprintf(why, why_size, "disks cannot be made slow: %s is missing (package strace)", PROGRAM);
    return false;
}

/* Every thread of the process has this tracer. */
static bool attached(pid_t pid, pid_t tracer)
{
    char path[320], line[128];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    bool all = threads != NULL;
    for (const struct dirent *e; all && (e = readdir(threads)) != NULL;) {
        int traced = 0;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, e->d_name);
        FILE *f = fopen(path, "re");
        while (f != NULL && fgets(line, sizeof line, f) != NULL &&
               sscanf(line, "TracerPid: %d", &traced) != 1) {
        }
        if (f != NULL)
            fclose(f);
        all = traced == (int)tracer;
    }
    if (threads != NULL)
        closedir(threads);
    return all;
}

bool tracer_slow(struct sut *s, uint32_t i, const char *calls, uint32_t delay_us, uint32_t every)
{
    struct sut_node *n = &s->nodes[i];
    char pid[16], trace[128], inject[192];
    tracer_end(s, i);
    if (n->pid == 0)
        return false;
    snprintf(pid, sizeof pid, "%d", (int)n->pid);
    snprintf(trace, sizeof trace, "trace=%s", calls);
    snprintf(inject, sizeof inject, "inject=%s:delay_enter=%u", calls, delay_us);
    if (every > 1)
        snprintf(inject + strlen(inject), sizeof inject - strlen(inject), ":when=%u+%u", every, every);
    pid_t judge = getpid();
    n->tracer = fork();
    if (n->tracer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != judge)
            _exit(127);
        setpgid(0, 0);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execl(PROGRAM, PROGRAM, "-f", "-qq", "-o", "/dev/null", "-e", trace, "-e", inject, "-p", pid,
              (char *)NULL);
        _exit(127);
    }
    if (n->tracer < 0)
        n->tracer = 0;
    for (uint64_t from = sut_now_ms(); n->tracer != 0 && sut_now_ms() - from < ATTACH_MS; sut_nap(5)) {
        if (attached(n->pid, n->tracer))
            return true;
        if (waitpid(n->tracer, NULL, WNOHANG) == n->tracer)
            n->tracer = 0;
    }
    tracer_end(s, i);
    return false;
}

void tracer_end(struct sut *s, uint32_t i)
{
    struct sut_node *n = &s->nodes[i];
    if (n->tracer == 0)
        return;
    kill(n->tracer, SIGTERM); /* it detaches, which also ends a delay under way */
    for (uint64_t from = sut_now_ms(); sut_now_ms() - from < DETACH_MS; sut_nap(5))
        if (waitpid(n->tracer, NULL, WNOHANG) == n->tracer) {
            n->tracer = 0;
            return;
        }
    kill(n->tracer, SIGKILL);
    while (waitpid(n->tracer, NULL, 0) < 0 && errno == EINTR) {
    }
    n->tracer = 0;
}

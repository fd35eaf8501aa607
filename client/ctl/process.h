/* Processes of ours: start one that outlives us, recognise it again, end it. */
#ifndef CTL_PROCESS_H
#define CTL_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Start `argv` detached (own session, stdin from /dev/null, stdout and stderr appended to `log`).  Returns
 * its pid, or -1 with a sentence in `err`: not executable, no such file, no processes left. */
pid_t process_start(char *const *argv, const char *log, char *err, size_t err_size);

/* Whether `pid` runs a program called `name` with `mark` among its arguments: a pid alone may have been given
 * to a stranger meanwhile. */
bool process_is(pid_t pid, const char *name, const char *mark);

/* Send `sig` to it if it is still that program, checked after the pid was pinned.  False: it is not. */
bool process_signal(pid_t pid, const char *name, const char *mark, int sig);

/* Wait until it has ended.  False: it still runs after `timeout_ms`. */
bool process_wait(pid_t pid, const char *name, const char *mark, uint32_t timeout_ms);

/* Number of "KILL", "SIGTERM", "9"; 0: no such signal. */
int process_signal_number(const char *text);

/* The daemon of the same build: $ASSENTD, beside us, or where the build tree puts it. */
bool process_find_daemon(char path[PATH_MAX]);

#endif /* CTL_PROCESS_H */

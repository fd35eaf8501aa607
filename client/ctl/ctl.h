/* What the files of assentctl share: exit codes, options, and the calls of the REST API. */
#ifndef CTL_H
#define CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Documented in assentctl(1). */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,     /* the cluster, or this machine, says no */
    EXIT_USAGE = 2,       /* the command line makes no sense; nothing was sent */
    EXIT_UNREACHABLE = 3, /* no node answers, or no leader is known; nothing happened */
    EXIT_UNKNOWN = 4,     /* the command may or may not have been carried out */
};

#define ENDPOINTS_MAX 64

struct ctl {
    char *endpoints[ENDPOINTS_MAX];
    uint32_t endpoints_n;
    bool json;
    uint32_t timeout_ms;
    const char *ns; /* namespace of all requests, "": the default one */
};

/* ---- api.c */

struct answer {
    enum exit_code code;
    json_t *data;       /* of a success; NULL otherwise */
    char error[64];     /* name of the error, "" on success */
    char message[512];  /* a sentence, "" on success */
    char endpoint[256]; /* who answered */
};

/* Call until one node gives a definite answer or the time is up: nodes that do not answer and 503 are passed
 * over. `body` (may be NULL) is borrowed.  `once`: never send again what may have been carried out; otherwise
 * an Idempotency-Key makes a repetition harmless. */
void api_call(const struct ctl *ctl, const char *method, const char *path, const json_t *body, bool once,
              struct answer *out);
/* One GET of one node, no second try. */
void api_get(const char *endpoint, const char *path, uint32_t timeout_ms, struct answer *out);
void api_close(struct answer *a);
/* Append `text` to `out` with everything but unreserved characters as %XX.  False: it does not fit. */
bool api_escape(char *out, size_t size, const char *text);

/* ---- show.c */

/* Print for people: a list of objects as a table with the named columns (space separated; NULL: all of the
 * first row), an object as lines. */
void show_value(const json_t *v, const char *columns);
void show_json(const json_t *v);
/* Print the failure on stderr (or as JSON on stdout) and return its exit code. */
enum exit_code show_failure(const struct ctl *ctl, const struct answer *a);

/* ---- commands.c, local.c: `argv` begins behind the name of the group. */

enum exit_code commands_run(const struct ctl *ctl, const char *group, int argc, char **argv);
void commands_help(void);
enum exit_code status_main(const struct ctl *ctl, int argc, char **argv);
/* The view of the node that leads, or else of any that answers. */
void commands_view(const struct ctl *ctl, struct answer *best);

/* ---- operate.c: `snapshot save|restore`, `member replace` */

enum exit_code snapshot_main(const struct ctl *ctl, int argc, char **argv);
enum exit_code replace_main(const struct ctl *ctl, int argc, char **argv);

/* ---- acts.c: `txn retry|skip|force|pause|resume|back` */

bool act_known(const char *verb);
void acts_help(void);
enum exit_code act_main(const struct ctl *ctl, const char *verb, int argc, char **argv);

/* ---- main.c */

/* Who is logged in, for the record; "" when nobody knows. */
const char *ctl_login(void);
/* The value of --name VALUE or --name=VALUE at `*at`, which moves on; NULL: another argument. */
const char *ctl_option(int argc, char **argv, int *at, const char *name);

enum exit_code local_main(const struct ctl *ctl, int argc, char **argv);

__attribute__((format(printf, 1, 2))) enum exit_code usage_error(const char *format, ...);

#endif /* CTL_H */

/* What the parts of assent-demo share: its commands, and how the demonstration talks HTTP. */
#ifndef DEMO_DEMO_H
#define DEMO_DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One command of the program: arguments behind its name; gives the exit code. */
int bank_main(int argc, char **argv);
int inventory_main(int argc, char **argv);
int application_main(int argc, char **argv);
/* `name` and its options, or "run" and both behind it.  -1: there is no such demonstration. */
int play_main(const char *name, int argc, char **argv);
/* Names and sentences of all demonstrations, one a line. */
void play_list(FILE *out);

/* ---- http.c: blocking JSON over HTTP ---- */

/* One answer.  `status` 0: no answer, `error` says why. */
struct http_answer {
    int status;
    json_t *body; /* NULL when it is not JSON; freed by http_answer_clear() */
    char error[256];
};
void http_answer_clear(struct http_answer *a);

/* Once, before the first call and any thread. */
void http_init(void);
/* `header`: one more header line or NULL; `body`: borrowed, NULL for GET. */
void http_call(const char *method, const char *url, const char *header, json_t *body, long timeout_ms,
               struct http_answer *out);

/* The nodes of a cluster as HTTP endpoints. */
#define ENDPOINTS_MAX 16
struct endpoints {
    uint32_t n, current;
    char at[ENDPOINTS_MAX][128]; /* host:port */
};
/* "host:port,host:port".  False: too many, too long or none. */
bool endpoints_parse(struct endpoints *e, const char *text);
/* Call `path` below /api/v1 on one endpoint after the other until one gives an answer that is not an
 * operating error, for at most `patience_ms`; a POST carries the same Idempotency-Key each time.  True: 2xx,
 * `*data` is the answer's data (freed by the caller).  False: `error` says what the last one said. */
bool cluster_call(struct endpoints *e, const char *method, const char *path, json_t *body, long patience_ms,
                  json_t **data, char *error, size_t error_size);

/* ---- peers.c: participants as processes of their own, the clock ---- */

/* Zeroed before its first start. */
struct peer {
    const char *kind, *name;
    int pid; /* 0: not running */
    uint16_t port;
    char url[64];
    int kept; /* holds the port while it is down; private */
};
/* Start `assent-demo KIND` with `args` (NULL ends them) on a free port, or on the one it had before; it ends
 * with its parent.  `kind` and `name` are borrowed.  False: not started. */
bool peer_start(struct peer *p, const char *kind, const char *name, const char *const *args);
void peer_stop(struct peer *p);
/* Wait until it has ended by itself. */
void peer_wait(struct peer *p);

int64_t monotonic_ms(void);
void sleep_ms(long ms);

#endif /* DEMO_DEMO_H */

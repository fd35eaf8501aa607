/* A node made of a script: speaks frame.h on a loopback port, keeps one counter and sessions in a model that
 * several stubs may share, and misbehaves as a test asks. */
#ifndef TESTS_STUB_H
#define TESTS_STUB_H

#include <uv.h>

#include "command.h"
#include "frame.h"

#define STUB_SEQUENCES 8192

/* What the stubs of one test agreed on. */
struct stub_model {
    uint64_t value;    /* of the only Lamport clock */
    uint64_t executed; /* commands carried out */
    uint64_t repeated; /* repetitions answered from memory */
    uint64_t session;  /* the newest session; older ones have expired */
    uint64_t reply[STUB_SEQUENCES];
    uint64_t acknowledged;
    uint64_t tso_next;
};

struct stub_conn;

struct stub {
    struct stub_model *model;
    uv_loop_t *loop;
    uv_tcp_t listener;
    char address[32];
    struct stub_conn *conns;
    /* the script */
    bool leads;
    char leader[128];    /* named in WELCOME, FAILED, PONG; empty: unknown */
    uint64_t version;    /* in WELCOME; 0: FRAME_VERSION */
    bool mute;           /* read, answer PING only */
    bool deaf;           /* read, answer nothing after WELCOME */
    bool no_welcome;     /* not even that */
    int garbage;         /* answer so many commands with bytes that are no frame */
    int malformed;       /* answer so many commands with a RESULT that is no result */
    int drop_before;     /* close the connection instead of carrying out so many commands */
    int drop_after;      /* close it after carrying out, before answering */
    uint64_t drop_each;  /* close it after carrying out each so many-th command */
    int fail, fail_code; /* answer so many commands FAILED with the code, not carried out */
    int refuse_session;  /* code for the next SESSION_OPEN */
    bool expire;         /* the session has expired: refuse it once */
    uint32_t tso_most;   /* grant at most so many a frame; 0: all */
    const char *freezes; /* how a freeze stands, a letter an answer: stub.c */
    /* what was seen */
    int hellos, commands, queries, tsos, pings, session_opens, session_closes;
    uint32_t last_type;
    char last_args[512]; /* of the last command or query: decode error, or "" */
};

void stub_open(struct stub *s, uv_loop_t *loop, struct stub_model *model);
/* Close every connection but stay open for new ones. */
void stub_hang_up(struct stub *s);
/* Stop listening, close everything; the loop must turn until it is done. */
void stub_close(struct stub *s);

#endif /* TESTS_STUB_H */

/* A state machine in a temporary directory, driven by one line per command, for tests.
 *
 *     struct sm_harness h;
 *     sm_harness_open(&h);
 *     assert_int_equal(sm_run(&h, COMMAND_TXN_BEGIN,
 * "{'xid':'t1','branches':[{'branch':'b','confirmUrl':'u',"
 *                                                    "'cancelUrl':'v','payload':{'amount':5}}]}"),
 * ASSENT_OK); assert_string_equal(sm_text(&h, "status"), "ACTIVE"); assert_int_equal(sm_ask(&h, QUERY_TXN,
 * "{'xid':'t1'}"), ASSENT_OK); assert_string_equal(sm_json(&h), "{\"xid\":\"t1\",...}"); sm_advance(&h,
 * 60000);                 // milliseconds: timers due by then fire with the next command sm_run(&h,
 * COMMAND_TICK, "{}"); sm_harness_close(&h);                  // removes the directory
 *
 * Arguments are JSON objects by the schema's names; ' may stand for ".  A mistake in the test (unknown field,
 * bad JSON) aborts with a message. */
#ifndef TESTS_SM_HARNESS_H
#define TESTS_SM_HARNESS_H

#include "command.h"
#include "statemachine.h"

struct sm_harness {
    struct sm *sm;
    uint64_t index;                 /* of the last applied entry */
    int64_t now_us;                 /* stamp of the next command */
    int64_t step_us;                /* how much a command adds to it; 1000 after open */
    struct command_session session; /* of the next commands, and the namespace of questions; SESSION_NONE
                                       after open.  A sequence is the caller's. */
    /* private */
    char dir[256];
    struct codec_arena arena;
    struct codec_writer encoded;
    struct result result;
    char *text;
};

void sm_harness_open(struct sm_harness *h);
void sm_harness_close(struct sm_harness *h);
/* The same as a fixture of cmocka: `*state` is the harness, one at a time. */
int sm_harness_setup(void **state);
int sm_harness_teardown(void **state);

/* Apply one command as its own log entry; the code of its result. */
int sm_run(struct sm_harness *h, uint32_t type, const char *args);
/* Ask; the code of the result. */
int sm_ask(struct sm_harness *h, uint32_t query, const char *args);
void sm_advance(struct sm_harness *h, int64_t ms);

/* Of the last result.  A path names map keys and list positions: "branches.0.status".  Texts and JSON are
 * borrowed until the next call of the same function; "" and 0 when the path leads nowhere. */
const struct codec_node *sm_node(struct sm_harness *h, const char *path);
uint64_t sm_uint(struct sm_harness *h, const char *path);
int64_t sm_int(struct sm_harness *h, const char *path);
bool sm_bool(struct sm_harness *h, const char *path);
const char *sm_text(struct sm_harness *h, const char *path); /* of a text, or of JSON */
uint32_t sm_count(struct sm_harness *h, const char *path);   /* members of a list or map */
const char *sm_json(struct sm_harness *h);                   /* the whole data, compact */
const char *sm_detail(struct sm_harness *h);                 /* the sentence of a refusal */

/* Dump the state, restore it into a fresh state machine, and go on with that one.  Aborts when the digests
 * differ. */
void sm_reincarnate(struct sm_harness *h);

/* Bytes of a command or query; borrowed until the writer is used again. */
struct assent_bytes sm_encode(struct codec_writer *w, bool query, uint32_t type,
                              const struct command_session *session, const char *args);

/* A new directory under $TMPDIR or /tmp; and away with it, files and all. */
void temp_dir_make(char *path, size_t size);
void temp_dir_remove(const char *path);

#endif /* TESTS_SM_HARNESS_H */

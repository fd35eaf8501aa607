/* What the rooms of the DTM door share: one conversation. */
#ifndef NODE_DTM_PRIVATE_H
#define NODE_DTM_PRIVATE_H

#include "dtm.h"
#include "dtm_commands.h"
#include "dtm_routes.h"
#include "node.h"

/* DTM's words for what came of a request. */
enum dtm_outcome {
    DTM_SUCCESS,
    DTM_FAILURE,     /* definite: nothing of it will happen */
    DTM_ONGOING,     /* it goes on */
    DTM_ERROR,       /* anything else; nobody knows, or it makes no sense */
    DTM_UNAVAILABLE, /* an election, a stop, too much work: try again */
    DTM_BAD          /* the body is of no use at all */
};

/* Where a conversation stands. */
enum dtm_stage {
    DTM_STAGE_FIRST, /* the command or query the path asks for */
    DTM_STAGE_BEGIN, /* submit of an unknown TCC or XA: begun, commit comes next */
    DTM_STAGE_AGAIN, /* the gid belongs to another mode: asked anew in that one */
    DTM_STAGE_FLAGS, /* abort: does the stored transaction want its result waited for? */
    DTM_STAGE_WATCH, /* wait_result: an event or the end of patience is awaited */
    DTM_STAGE_LOOK   /* and now the transaction says how it stands */
};

struct dtm_call {
    struct dtm *dtm;
    enum dtm_op op;
    enum dtm_stage stage;
    bool rpc;       /* over JSON-RPC */
    json_t *rpc_id; /* owned; NULL: none */
    struct dtm_defaults defaults;
    char ns[NAMESPACE_BYTES_MAX + 2]; /* of defaults */
    struct dtm_txn txn;
    struct dtm_branch branch;
    struct dtm_wait wait;
    uint64_t limit; /* of listings and bulk acts */
    char topic[ASSENT_NAME_BYTES_MAX + 1];
    char why[DTM_WHY_MAX];
    struct dtm_hook *hook; /* of a poll of the test suite; else NULL */
};

struct assent_bytes dtm_gid(const struct dtm_call *call);

/* dtm.c: how its steps end. */
extern const struct request_face dtm_face;

/* ---- dtm_read.c: steps ---- */

/* The command or query in the writer is the next step.  Whatever `data` an ended step gave is gone. */
enum request_next dtm_step(struct request *r, enum route_kind kind);
/* Ask for the transaction: QUERY_TXN or QUERY_TXN_STATUS. */
enum request_next dtm_ask_stage(struct request *r, uint32_t query, enum dtm_stage stage);
/* Submit call->txn, by its type; begin it, or only prepare it. */
enum request_next dtm_submit(struct request *r);
enum request_next dtm_begin_step(struct request *r, bool prepare);
/* No rows of the KV table. */
enum request_next dtm_no_kv(struct request *r);
/* 500. */
enum request_next dtm_refuse(struct request *r, const char *message);

/* ---- dtm_answer.c: what a client reads ---- */

/* `message` is written where the outcome has one.  Always REQUEST_ANSWERED. */
enum request_next dtm_answer(struct request *r, enum dtm_outcome outcome, const char *message);
/* An object of the answer's own; `json` is taken. */
enum request_next dtm_answer_json(struct request *r, json_t *json);
/* Plain text, as the framework writes it. */
enum request_next dtm_answer_text(struct request *r, int http_status, const char *body);
/* The operating error or refusal of a step. */
enum request_next dtm_answer_code(struct request *r, int code, struct assent_bytes detail);

/* ---- dtm_view.c: transactions as DTM shows them ---- */

/* DTM's five, and no transaction at all. */
enum dtm_status {
    DTM_STATUS_NONE,
    DTM_STATUS_PREPARED,
    DTM_STATUS_SUBMITTED,
    DTM_STATUS_ABORTING,
    DTM_STATUS_SUCCEED,
    DTM_STATUS_FAILED
};
const char *dtm_status_name(enum dtm_status status);
/* Of a status of ours; `stands` (may be empty): where a suspended one goes back to. */
enum dtm_status dtm_status_of(struct assent_bytes status, struct assent_bytes stands);
/* Of the mode of ours; TYPE_NR: none of DTM's. */
enum dtm_type dtm_type_of(struct assent_bytes mode);

/* `data`: what QUERY_TXN answers, or a row of QUERY_TXN_LIST.  The caller's. */
json_t *dtm_view_txn(const struct codec_node *data);
json_t *dtm_view_branches(const struct codec_node *data);
/* {"transaction", "progresses"} of what WORKFLOW_PREPARE answers. */
json_t *dtm_view_workflow(const struct codec_node *data);
/* Was it stored with wait_result? */
bool dtm_view_waits(const struct codec_node *data);
/* Rows of the KV table: a page of QUERY_TOPICS. */
json_t *dtm_view_topics(const struct codec_node *data);

/* ---- dtm_rpc.c ---- */

/* Read the envelope: call->op and call->rpc_id, and the parameters (borrowed from `*root`, which is the
 * caller's).  False: r->response is complete. */
bool dtm_rpc_read(struct request *r, struct assent_bytes body, json_t **root, json_t **params);
/* The reply's envelope around `result` (taken; NULL: null) or an error. */
void dtm_rpc_answer(struct request *r, json_t *result, int code, const char *message);

/* ---- dtm_hooks.c, in test builds only (ASSENT_TEST_HOOKS) ---- */

struct dtm_rounds *dtm_rounds_open(void);
void dtm_rounds_event(struct dtm_rounds *rounds, const struct sm_event *event);
enum request_next dtm_rounds_read(struct request *r);
/* Switch polling on or off, on every node; forget all transactions and topics.  One command each. */
enum request_next dtm_polling_read(struct request *r, bool on);
enum request_next dtm_wipe_read(struct request *r);
enum request_next dtm_poll_read(struct request *r, uint64_t now_s, uint64_t cron_s);
enum request_next dtm_poll_ended(struct request *r, int code, const struct codec_node *data,
                                 struct assent_bytes detail);
void dtm_hook_close(struct dtm_call *call);

/* ---- dtm_metrics.c ---- */

struct dtm_metrics *dtm_metrics_open(void);
void dtm_metrics_close(struct dtm_metrics *m);
void dtm_metrics_request(struct dtm_metrics *m, enum dtm_op op, int http_status, uint64_t took_us);
/* For struct dtm_waits: `dtm` a struct dtm. */
void dtm_metrics_page(const struct dtm *dtm, struct text *out);
void dtm_metrics_event(void *dtm, const struct sm_event *event);

#endif /* NODE_DTM_PRIVATE_H */

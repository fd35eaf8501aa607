/* From what a DTM client asks to commands and queries of the log.
 *
 * Each writes one encoded command into `w` (reset before).  0, or ASSENT_INVALID with a sentence in `why`;
 * what the state machine's own tables refuse is found by the caller's command_decode(). */
#ifndef NODE_DTM_COMMANDS_H
#define NODE_DTM_COMMANDS_H

#include "command.h"
#include "dtm_json.h"

/* What the server adds where a client says nothing; seconds. */
struct dtm_defaults {
    struct assent_bytes ns; /* namespace of all gids; empty: the default one */
    uint64_t retry_interval_s, retry_cap_s, timeout_to_fail_s, request_timeout_s;
};

/* A transaction object as the command that creates it, or finds it.  `prepare`: it only begins; else it goes
 * on.  TCC and XA begin in both cases: dtm_commit() follows. */
int dtm_begin(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t, bool prepare,
              char why[DTM_WHY_MAX]);
/* Submit and abort of what was prepared; options present in `t` count from now on. */
void dtm_commit(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t);
void dtm_rollback(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t);
int dtm_workflow_end(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_txn *t,
                     char why[DTM_WHY_MAX]);
int dtm_register(struct codec_writer *w, const struct dtm_defaults *d, const struct dtm_branch *b,
                 char why[DTM_WHY_MAX]);
/* What operators do: "force", "retry". */
void dtm_act(struct codec_writer *w, const struct dtm_defaults *d, struct assent_bytes gid, const char *act,
             const char *reason);
/* SUBSCRIBE, UNSUBSCRIBE and REMOVE of a topic; `url` and `remark` may be NULL. */
void dtm_topic(struct codec_writer *w, const struct dtm_defaults *d, uint32_t command, const char *topic,
               const char *url, const char *remark);
/* QUERY_TXN or QUERY_TXN_STATUS. */
void dtm_ask(struct codec_writer *w, const struct dtm_defaults *d, uint32_t query, struct assent_bytes gid);

/* Start an encoded command or query of `type` in the door's namespace; then the fields in order, each by its
 * number, and the end. */
struct dtm_writer {
    struct codec_writer *w;
    uint32_t at, n; /* fields written, fields in all */
};
struct dtm_writer dtm_write(struct codec_writer *w, const struct dtm_defaults *d, uint32_t type, bool query);
void dtm_field(struct dtm_writer *f, uint32_t field);                        /* the value follows */
void dtm_field_text(struct dtm_writer *f, uint32_t field, const char *text); /* NULL or empty: absent */
void dtm_field_uint(struct dtm_writer *f, uint32_t field, uint64_t v);
void dtm_field_bool(struct dtm_writer *f, uint32_t field, bool v); /* false: absent */
void dtm_write_end(struct dtm_writer *f);

#endif /* NODE_DTM_COMMANDS_H */

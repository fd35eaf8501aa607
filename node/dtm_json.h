/* What DTM clients send, decoded as tolerantly as they rely on: names in any case, null is absent, unknown
 * fields are ignored, an empty list where an empty object is meant; a wrong type is an error with a sentence.
 *
 * Source: dtm-protocol.md 2.1 and 3. */
#ifndef NODE_DTM_JSON_H
#define NODE_DTM_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "assent/limits.h"
#include "assent/types.h"

#define DTM_WHY_MAX 256

enum dtm_type { DTM_SAGA, DTM_TCC, DTM_XA, DTM_MSG, DTM_WORKFLOW, DTM_TYPE_NR };
const char *dtm_type_name(enum dtm_type type);
/* DTM_TYPE_NR: no such one. */
enum dtm_type dtm_type_by_name(const char *name);

/* A transaction object.  Texts are borrowed from `root`; NULL: absent. */
struct dtm_txn {
    json_t *root;                   /* owned */
    char gid[ASSENT_XID_BYTES_MAX]; /* cleaned of line ends and semicolons */
    size_t gid_size;                /* larger than the room: it was too long */
    enum dtm_type type;             /* TYPE_NR: missing or unknown */
    const json_t *steps;            /* list of objects of texts, or NULL */
    const json_t *payloads;         /* list of texts, or NULL */
    const json_t *headers;          /* object of texts, or NULL */
    const json_t *passthrough;      /* list of texts, or NULL */
    const char *query_prepared, *custom_data, *protocol, *rollback_reason;
    bool wait_result, concurrent;
    int64_t timeout_to_fail, request_timeout, retry_interval, retry_limit, retry_count; /* s, s, s */
    const char *end_status, *end_reason, *end_result;                                   /* of req_extra */
};

/* Decode a body, or an object that is parsed already (borrowed; `t` takes a reference).  0, or ASSENT_INVALID
 * with a sentence in `why`.  Close it in both cases. */
int dtm_txn_decode(struct dtm_txn *t, struct assent_bytes body, char why[DTM_WHY_MAX]);
int dtm_txn_take(struct dtm_txn *t, json_t *object, char why[DTM_WHY_MAX]);
void dtm_txn_close(struct dtm_txn *t);

/* Payload of step `i`: all payloads, then every non-empty step's `data`, count.  NULL: there are too few. */
const json_t *dtm_txn_payload(const struct dtm_txn *t, size_t i);

/* What custom_data says, by the transaction's type. */
struct dtm_custom {
    json_t *root; /* owned */
    bool concurrent;
    const json_t *orders; /* object, or list, of lists of numbers; NULL: none */
    uint64_t delay_s;
    const char *name; /* of a workflow */
    uint8_t *data;    /* of a workflow, decoded; owned */
    size_t data_size;
};
int dtm_custom_decode(struct dtm_custom *c, const struct dtm_txn *t, char why[DTM_WHY_MAX]);
void dtm_custom_close(struct dtm_custom *c);
/* Is step `before` among those that step `i` comes after?  `n` steps. */
const json_t *dtm_custom_before(const struct dtm_custom *c, size_t i);

/* The flat body of registerBranch.  Texts are borrowed from `root` and never NULL. */
struct dtm_branch {
    json_t *root; /* owned */
    char gid[ASSENT_XID_BYTES_MAX];
    size_t gid_size;
    enum dtm_type type;
    const char *branch_id, *data, *confirm, *cancel, *url, *op, *status;
};
int dtm_branch_decode(struct dtm_branch *b, struct assent_bytes body, char why[DTM_WHY_MAX]);
int dtm_branch_take(struct dtm_branch *b, json_t *object, char why[DTM_WHY_MAX]);
void dtm_branch_close(struct dtm_branch *b);

/* Take line ends and semicolons out of a gid.  The size it has, which may be above the room. */
size_t dtm_gid_clean(const char *gid, char out[ASSENT_XID_BYTES_MAX]);

/* Base64 (RFC 4648, with padding), as Go writes it.  Gives memory to free(); NULL: it is none. */
uint8_t *dtm_base64_decode(const char *text, size_t *size);
/* Room for 4 * ((size + 2) / 3) + 1 characters. */
void dtm_base64_encode(struct assent_bytes in, char *out);

#endif /* NODE_DTM_JSON_H */

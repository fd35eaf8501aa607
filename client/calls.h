/* The shape all typed calls share: build a request, call, read one thing from the reply. */
#ifndef CLIENT_CALLS_H
#define CLIENT_CALLS_H

#include "internal.h"

/* Call and close the request (NULL: out of memory).  On success the caller reads `reply`; either way it
 * closes it. */
static inline int calls_run(struct assent_client *client, struct assent_request *request,
                            struct assent_reply *reply)
{
    if (request == NULL) {
        reply_from_code(reply, ASSENT_NOMEM);
        return ASSENT_NOMEM;
    }
    int rc = assent_call(client, request, 0, reply);
    assent_request_close(request);
    return rc;
}

/* The same when only the code matters. */
static inline int calls_done(struct assent_client *client, struct assent_request *request)
{
    struct assent_reply reply;
    int rc = calls_run(client, request, &reply);
    assent_reply_close(&reply);
    return rc;
}

/* Copy a text member, NUL-terminated.  ASSENT_PROTOCOL: it is not there, or too long for `whole`. */
int calls_text(const struct assent_reply *reply, const char *key, char *out, size_t size, bool whole);
/* What every command that begins a transaction takes, the mode left out; either may be NULL. */
void calls_head(struct assent_request *r, const struct assent_txn_options *options);
/* The same as calls_done(), and the xid of the answer; `xid` may be NULL. */
int calls_xid(struct assent_client *client, struct assent_request *r, char xid[ASSENT_XID_BYTES_MAX + 1]);

/* Read an unsigned member.  ASSENT_PROTOCOL: a later server left it out. */
static inline int calls_uint(const struct assent_reply *reply, const char *key, uint64_t *out)
{
    const struct assent_value *v = assent_value_get(reply->data, key);
    enum assent_value_kind kind = assent_value_kind(v);
    if (kind != ASSENT_VALUE_UINT && !(kind == ASSENT_VALUE_INT && assent_value_int(v) >= 0)) {
        return ASSENT_PROTOCOL;
    }
    if (out != NULL) {
        *out = assent_value_uint(v);
    }
    return ASSENT_OK;
}

#endif /* CLIENT_CALLS_H */

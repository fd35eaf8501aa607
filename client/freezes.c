/* Typed calls of freezes: ask, and wait in line by asking how things stand. */
#include <string.h>

#include "calls.h"

/* Between two looks while in line: short waits are noticed at once, long ones cost ten reads a second. */
#define LOOK_MS_MIN 2
#define LOOK_MS_MAX 100

static bool text_is(const struct assent_reply *reply, const char *key, const char *word)
{
    struct assent_bytes text = assent_value_bytes(assent_value_get(reply->data, key));
    return text.size == strlen(word) && memcmp(text.base, word, text.size) == 0;
}

/* What an answer means for who asked for `mode`: OK with the token; FROZEN, not granted and not in line (any
 * more); or `*waits`. */
static int judge(const struct assent_reply *reply, enum assent_freeze_mode mode, bool *waits, uint64_t *token)
{
    *waits = false;
    if (text_is(reply, "status", "GRANTED") &&
        (mode == ASSENT_FREEZE_SHARED || text_is(reply, "mode", "exclusive"))) {
        return calls_uint(reply, "token", token);
    }
    *waits = text_is(reply, "waitingFor", "shared") || text_is(reply, "waitingFor", "exclusive");
    return *waits ? ASSENT_OK : ASSENT_FROZEN;
}

static struct assent_request *ask(const char *xid, const char *resource, enum assent_freeze_mode mode,
                                  uint32_t wait_ms)
{
    struct assent_request *r = request_new(COMMAND_FREEZE, false);
    if (r != NULL) {
        request_text(r, FREEZE_XID, xid);
        request_text(r, FREEZE_RESOURCE, resource);
        request_text(r, FREEZE_MODE, mode == ASSENT_FREEZE_SHARED ? "shared" : "exclusive");
        request_uint(r, FREEZE_WAIT_MS, wait_ms);
    }
    return r;
}

static struct assent_request *look(const char *xid, const char *resource)
{
    struct assent_request *r = request_new(QUERY_FREEZE, true);
    if (r != NULL) {
        request_text(r, QUERY_FREEZE_XID, xid);
        request_text(r, QUERY_FREEZE_RESOURCE_NAME, resource);
    }
    return r;
}

int assent_freeze(struct assent_client *client, const char *xid, const char *resource,
                  enum assent_freeze_mode mode, uint32_t wait_ms, uint64_t *token)
{
    struct assent_reply reply;
    bool waits = false;
    int rc = calls_run(client, ask(xid, resource, mode, wait_ms), &reply);
    if (rc == ASSENT_OK) {
        rc = judge(&reply, mode, &waits, token);
    }
    assent_reply_close(&reply);
    /* The deadline of log time ends this: from then on the answer is that it does not wait. */
    for (unsigned ms = LOOK_MS_MIN; rc == ASSENT_OK && waits;
         ms = ms < LOOK_MS_MAX / 2 ? 2 * ms : LOOK_MS_MAX) {
        uv_sleep(ms);
        rc = calls_run(client, look(xid, resource), &reply);
        if (rc == ASSENT_OK) {
            rc = judge(&reply, mode, &waits, token);
        }
        assent_reply_close(&reply);
    }
    return rc;
}

int assent_unfreeze(struct assent_client *client, const char *xid, const char *resource)
{
    struct assent_request *r = request_new(COMMAND_UNFREEZE, false);
    if (r != NULL) {
        request_text(r, UNFREEZE_XID, xid);
        request_text(r, UNFREEZE_RESOURCE, resource);
    }
    return calls_done(client, r);
}

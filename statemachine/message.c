/* Reliable messages: calls that are made if and only if the sender's local transaction committed.
 *
 *      (nothing) --prepare--> ACTIVE --submit, query SUCCESS--> COMMITTING --all delivered--> COMMITTED
 *          |                    |  ^                                ^
 *          |                    |  '-- query ONGOING, ERROR: later  |
 *          |                    '--rollback, query FAILURE----------+---------------> ROLLED_BACK
 *          '----------------------submit of a whole message---------'
 *
 * The sender prepares, commits its local transaction, submits.  If it dies in between, it is asked: the query
 * is a call of the message as a whole, due once the message is `timeoutMs` old.  Without a query URL it is
 * sent then.  Once submitted it never turns back: each delivery is repeated until it succeeds (phase_two.c),
 * one after the other or all at once, none before the message is `delayMs` old.
 *
 * A step whose URL is topic://name becomes one branch per subscriber, by the state at the position of the
 * command that brings the steps: NN with one subscriber, else NN-MM.
 * Source: the transactional outbox, with the coordinator in place of the relay; the back-query is RocketMQ's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "mark.h"
#include "planted.h"
#include "topic.h"

/* What the copies of a message's steps may weigh: a topic's subscribers each get one, in one command. */
#define COPIES_BYTES_MAX (16u * 1024 * 1024)
/* "NN-MM": two numbers and the mark between. */
#define NAME_ROOM (ASSENT_NAME_BYTES_MAX + 16)

/* The branches of a message; close it also after a refusal. */
struct message_plan {
    uint32_t n, room;
    struct branch_plan *branches;
    char (*names)[NAME_ROOM]; /* of branches, where the command has none or a topic has several */
    uint32_t topics_n;
    struct topic *topics; /* whose URLs the branches borrow */
    size_t bytes;
};

static const struct codec_node *steps_of(const struct apply *a)
{
    return codec_at(a->command->args, MESSAGE_STEPS);
}

static void plan_close(struct message_plan *p)
{
    for (uint32_t i = 0; i < p->topics_n; i++)
        topic_close(&p->topics[i]);
    free(p->topics);
    free(p->branches);
    free(p->names);
}

static size_t copy_size(const struct branch_plan *s)
{
    size_t size = s->payload.size;
    for (uint32_t i = 0; i < codec_size(s->header_map); i++)
        size += codec_as_bytes(codec_key_at(s->header_map, i)).size +
                codec_as_bytes(codec_value_at(s->header_map, i)).size;
    return size;
}

/* One more branch, named `step->name`, or that and the number of a subscriber. */
static int plan_add(struct apply *a, struct message_plan *p, const struct branch_plan *step, uint32_t number,
                    struct assent_bytes url)
{
    if (p->n == ASSENT_BRANCHES_MAX)
        return refuse(a, ASSENT_LIMIT, "more than %d deliveries", ASSENT_BRANCHES_MAX);
    p->bytes += copy_size(step);
    if (number > 0 && p->bytes > COPIES_BYTES_MAX)
        return refuse(a, ASSENT_LIMIT, "the copies for all subscribers are larger than %u bytes",
                      COPIES_BYTES_MAX);
    if (p->n == p->room) {
        p->room = p->room > 0 ? 2 * p->room : 16;
        p->branches = reallocarray(p->branches, p->room, sizeof(*p->branches));
        p->names = reallocarray(p->names, p->room, sizeof(*p->names));
        assert(p->branches != NULL && p->names != NULL);
    }
    int n = snprintf(p->names[p->n], NAME_ROOM, "%.*s", (int)step->name.size, (const char *)step->name.base);
    if (number > 0)
        n += snprintf(p->names[p->n] + n, (size_t)(NAME_ROOM - n), "-%02u", number);
    if (n > ASSENT_NAME_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "branch: at most %d bytes with a subscriber's number",
                      ASSENT_NAME_BYTES_MAX);
    p->branches[p->n] = *step;
    p->branches[p->n].url[SM_OP_ACTION] = url;
    p->n++;
    return ASSENT_OK;
}

/* A step as the command has it; `topic` is the name behind topic://, if that is where it goes. */
static int parse_step(struct apply *a, uint32_t i, char name[12], struct branch_plan *s,
                      struct assent_bytes *topic)
{
    const struct codec_node *args = codec_at(steps_of(a), i);
    *s = (struct branch_plan){
        .registered_us = a->now_us,
        .forward = SM_OP_ACTION,
        .name = codec_as_bytes(codec_at(args, SAGA_STEP_BRANCH)),
        .payload = codec_as_bytes(codec_at(args, SAGA_STEP_PAYLOAD)),
        .header_map = codec_at(args, SAGA_STEP_HEADERS),
        .timeout_ms = (uint32_t)codec_as_uint(codec_at(args, SAGA_STEP_TIMEOUT_MS)),
    };
    if (s->name.size == 0) {
        snprintf(name, 12, "%02u", i + 1);
        s->name = bytes_of(name);
    }
    if (codec_as_bytes(codec_at(args, SAGA_STEP_COMPENSATE_URL)).size > 0 ||
        codec_size(codec_at(args, SAGA_STEP_AFTER)) > 0 ||
        codec_as_uint(codec_at(args, SAGA_STEP_ACKNOWLEDGE_MS)) > 0)
        return refuse(a, ASSENT_INVALID,
                      "steps: a message never goes back, so no compensateUrl, after or acknowledgeMs");
    s->url[SM_OP_ACTION] = codec_as_bytes(codec_at(args, SAGA_STEP_ACTION_URL));
    if (topic_url(s->url[SM_OP_ACTION], topic))
        s->url[SM_OP_ACTION] = (struct assent_bytes){NULL, 0};
    return branch_plan_check(a, args, SAGA_STEP_OPTIONS, s);
}

static int plan_topic(struct apply *a, struct message_plan *p, const struct branch_plan *step,
                      struct assent_bytes name)
{
    struct topic *t = &p->topics[p->topics_n];
    bool there = topic_load(a, a->command->session.ns, name, t);
    p->topics_n += there;
    if (!there || t->n == 0)
        return refuse(a, ASSENT_NOT_FOUND, "topic not found: %.*s", (int)name.size, (const char *)name.base);
    for (uint32_t i = 0; i < t->n; i++) {
        int rv = plan_add(a, p, step, t->n > 1 ? i + 1 : 0, t->urls[i].url);
        if (rv != ASSENT_OK)
            return rv;
    }
    return ASSENT_OK;
}

/* Checks and expands what the command brings. */
static int plan_parse(struct apply *a, struct message_plan *p)
{
    uint32_t steps = codec_size(steps_of(a));
    int rv = ASSENT_OK;
    *p = (struct message_plan){.topics = calloc(steps + 1, sizeof(struct topic))};
    assert(p->topics != NULL);
    for (uint32_t i = 0; i < steps && rv == ASSENT_OK; i++) {
        struct branch_plan s;
        struct assent_bytes topic = {NULL, 0};
        char name[12];
        rv = parse_step(a, i, name, &s, &topic);
        if (rv == ASSENT_OK)
            rv = topic.size > 0 ? plan_topic(a, p, &s, topic) : plan_add(a, p, &s, 0, s.url[SM_OP_ACTION]);
    }
    for (uint32_t i = 0; i < p->n; i++) /* the room stands still now */
        p->branches[i].name = bytes_of(p->names[i]);
    return rv == ASSENT_OK && p->n > 0 ? txn_names_check(a, p->branches, p->n) : rv;
}

/* The stored branch `at` is the step, or (`copy` > 0) the copy for that subscriber of the topic it goes to.
 */
static bool step_is(struct apply *a, struct assent_bytes xid, uint32_t at, struct branch_plan step,
                    bool topic, uint32_t copy)
{
    char name[NAME_ROOM];
    struct branch_plan stored;
    if (!branch_plan_load(a->txn, xid, at, &stored))
        return false;
    if (copy > 0) {
        snprintf(name, sizeof(name), "%.*s-%02u", (int)step.name.size, (const char *)step.name.base, copy);
        step.name = bytes_of(name);
    }
    if (topic)
        step.url[SM_OP_ACTION] = stored.url[SM_OP_ACTION];
    return branch_same(a->txn, xid, at, &step);
}

/* Does the stored message have the steps of the command?  Who gets a topic may have changed since. */
static int steps_same(struct apply *a, struct assent_bytes xid, const struct txn *there, bool *same)
{
    uint32_t at = 0;
    *same = false;
    for (uint32_t i = 0; i < codec_size(steps_of(a)); i++) {
        struct branch_plan s;
        struct assent_bytes topic = {NULL, 0};
        char name[12];
        int rv = parse_step(a, i, name, &s, &topic);
        if (rv != ASSENT_OK)
            return rv;
        if (step_is(a, xid, at, s, topic.size > 0, 0)) {
            at++;
            continue;
        }
        uint32_t copies = 0;
        while (topic.size > 0 && step_is(a, xid, at, s, true, copies + 1))
            at++, copies++;
        if (copies == 0)
            return ASSENT_OK;
    }
    *same = at == there->begun;
    return ASSENT_OK;
}

/* The head: `prepare` says whether its sender may have to be asked. */
static int head_parse(struct apply *a, struct txn *t)
{
    const struct command *c = a->command;
    struct assent_bytes url = arg_bytes(c, MESSAGE_QUERY_URL);
    int rv = txn_parse(a, t, TXN_MODE_MESSAGE, MESSAGE_OPTIONS);
    if (rv != ASSENT_OK)
        return rv;
    if (url.size > 0 && !branch_url_ok(url))
        return refuse(a, ASSENT_INVALID, "queryUrl: http:// or https://, at most %d bytes, no spaces",
                      ASSENT_URL_BYTES_MAX);
    if (arg_present(c, MESSAGE_OPTIONS + OPTION_ORDER) || t->parent.size > 0)
        return refuse(a, ASSENT_INVALID,
                      "order, parent: a message goes forward or is concurrent, and is nested in nothing");
    t->timeout_ms = arg_uint(c, TXN_BEGIN_TIMEOUT_MS, TXN_TIMEOUT_MS_DEFAULT);
    t->deadline_us = 0;
    t->order = arg_bool(c, MESSAGE_CONCURRENT, false) ? TXN_PARALLEL : TXN_FORWARD;
    t->delay_ms = arg_uint(c, MESSAGE_DELAY_MS, 0);
    t->callback = url.size > 0;
    return ASSENT_OK;
}

static int message_same(struct apply *a, struct assent_bytes xid, const struct txn *there,
                        const struct txn *t, bool *same)
{
    struct assent_bytes url = {NULL, 0};
    if (there->callback) {
        struct assent_bytes row = txn_row_get(a->txn, xid, TXN_ROW_CALLBACK);
        url = row_take_bytes(&row);
    }
    *same = txn_head_same(a, xid, there, t) && there->delay_ms == t->delay_ms &&
            bytes_equal(url, arg_bytes(a->command, MESSAGE_QUERY_URL));
    return *same ? steps_same(a, xid, there, same) : ASSENT_OK;
}

/* Write a new message, ACTIVE; `prepared`: until something submits it.  Does not save. */
static void message_write(struct apply *a, struct assent_bytes xid, struct txn *t,
                          const struct message_plan *p, bool prepared)
{
    struct assent_bytes url = arg_bytes(a->command, MESSAGE_QUERY_URL);
    int64_t ask_us = t->timeout_ms > 0 ? t->created_us + (int64_t)t->timeout_ms * 1000 : 0;
    if (prepared && !t->callback)
        t->deadline_us = ask_us;
    txn_write(a, xid, t, p->branches, p->n, MESSAGE_OPTIONS);
    if (t->callback)
        txn_callback_put(a->txn, xid, url, (struct assent_bytes){NULL, 0}, (struct assent_bytes){NULL, 0});
    if (prepared && t->callback && ask_us > 0)
        txn_whole_due(a, xid, t, SM_OP_QUERY, ask_us);
}

static int message_create(struct apply *a, struct assent_bytes xid, struct txn *t, bool prepare)
{
    struct message_plan plan;
    int rv = plan_parse(a, &plan);
    if (rv == ASSENT_OK) {
        message_write(a, xid, t, &plan, prepare);
        if (!prepare)
            txn_decide(a, xid, t, TXN_COMMITTING);
        txn_save(a, xid, t);
        txn_answer_begin(a, xid, t, true);
    }
    plan_close(&plan);
    return rv;
}

int message_submit_check(struct apply *a)
{
    struct txn t;
    int rv = head_parse(a, &t);
    for (uint32_t i = 0; i < codec_size(steps_of(a)) && rv == ASSENT_OK; i++) {
        struct branch_plan s;
        struct assent_bytes topic;
        char name[12];
        rv = parse_step(a, i, name, &s, &topic);
    }
    return rv;
}

/* Submit a stored message.  One that is submitted answers as the first submission did; with `keep` one that
 * cannot be answers as it stands. */
static int message_go(struct apply *a, struct assent_bytes xid, struct txn *t, bool keep)
{
    bool paused = t->status == TXN_SUSPENDED && t->suspended_from == TXN_ACTIVE;
    if (!keep && (t->status == TXN_ROLLED_BACK || t->status == TXN_STOPPED))
        return txn_decided(a, t);
    if (!keep && paused)
        return refuse(a, ASSENT_CONFLICT, "the transaction waits for an operator");
    if (t->status == TXN_ACTIVE) {
        int rv = keep ? txn_calls_change(a, xid, t, MESSAGE_OPTIONS + OPTION_HEADERS,
                                         MESSAGE_OPTIONS + OPTION_CALL_TIMEOUT_MS, TXN_BEGIN_RETRY_BASE_MS)
                      : ASSENT_OK;
        if (rv != ASSENT_OK)
            return rv;
        txn_decide(a, xid, t, TXN_COMMITTING);
        txn_save(a, xid, t);
    }
    return txn_answer_begin(a, xid, t, false);
}

/* Both commands: idempotent by xid and content, or by xid alone (`keep`, and a submission without steps). */
static int message_take(struct apply *a, bool prepare)
{
    char made[TXN_MADE_BYTES];
    struct assent_bytes xid = txn_xid(a, made);
    struct txn t, there;
    bool found = txn_load(a->txn, xid, &there);
    bool alone = !prepare && !arg_present(a->command, MESSAGE_STEPS);
    bool keep = arg_bool(a->command, MESSAGE_OPTIONS + OPTION_KEEP, false), same = alone || keep;
    if (alone && !arg_present(a->command, TXN_BEGIN_XID))
        return refuse(a, ASSENT_INVALID, "steps: what to send, or xid: a message that was prepared");
    if (alone && (!found || there.mode != TXN_MODE_MESSAGE))
        return txn_not_found(a, xid);
    if (!found || !same) {
        int rv = head_parse(a, &t);
        if (rv == ASSENT_OK && found)
            rv = message_same(a, xid, &there, &t, &same);
        if (rv != ASSENT_OK)
            return rv;
    }
    if (!found)
        return message_create(a, xid, &t, prepare);
    if (!same)
        return txn_exists(a, xid, &there);
    if (prepare || there.mode != TXN_MODE_MESSAGE)
        return txn_answer_begin(a, xid, &there, false);
    return message_go(a, xid, &there, keep);
}

int message_prepare(struct apply *a)
{
    return message_take(a, true);
}

int message_submit(struct apply *a)
{
    return message_take(a, false);
}

void message_query_report(struct apply *a, struct assent_bytes xid, struct txn *t, const struct report *r)
{
    if (r->outcome == SM_OUTCOME_SUCCESS || (PLANTED(QUERY_ERROR_SENDS) && r->outcome == SM_OUTCOME_ERROR)) {
        MARK(QUERY_SENDS);
        txn_decide(a, xid, t, TXN_COMMITTING);
    } else if (r->outcome == SM_OUTCOME_FAILURE) {
        MARK(QUERY_TAKES_BACK);
        char reason[TXN_ERROR_BYTES_MAX + 16];
        snprintf(reason, sizeof(reason), "query: %.*s", (int)t->error.size, (const char *)t->error.base);
        t->reason = txn_shortened(bytes_of(reason), TXN_REASON_BYTES_MAX);
        txn_decide(a, xid, t, TXN_ROLLING_BACK);
        txn_save(a, xid, t);
        return; /* `reason` ends here */
    } else {
        txn_whole_again(a, xid, t, r, 0);
    }
    txn_save(a, xid, t);
}

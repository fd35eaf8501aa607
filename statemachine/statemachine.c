/* The state machine: one store transaction per batch of commands, and the tables that name every function.
 *
 * Order within a command: its time is fixed, timers due by then fire, its session is asked, its function
 * runs, its reply is stored.  Nothing here depends on how commands are gathered into batches: replicas cut
 * them differently and must still agree on every byte. */
#include "statemachine.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"
#include "nest.h"
#include "session.h"

#define MAP_BYTES_DEFAULT (UINT64_C(64) << 30)

struct sm {
    struct store *store;
    struct session_book *sessions;
    struct store_place place;
    uint64_t digest;
    uint64_t cluster_tag;
    int64_t next_due_us;   /* of the timers, as of `timer_writes` */
    uint64_t timer_writes; /* of the table when next_due_us was read */
    bool polls;            /* hooks.h */
    struct codec_arena arena;
    struct codec_writer results; /* of one sm_apply(), one behind the other */
    struct codec_writer scratch; /* what timers write */
    struct store_txn *read;      /* on the newest state, when `fresh` */
    bool fresh;
    struct codec_arena query_arena;
    struct codec_writer answer;
    struct sm_metrics metrics;
    struct nest_queue nest;
    void (*on_event)(void *data, const struct sm_event *event);
    void *on_event_data;
};

static int tick(struct apply *a)
{
    (void)a;
    return ASSENT_OK;
}

static const apply_fn commands[COMMAND_NR] = {
    [COMMAND_TICK] = tick,
    [COMMAND_SESSION_OPEN] = session_open,
    [COMMAND_SESSION_CLOSE] = session_close,
    [COMMAND_NODE_REGISTER] = node_register,
    [COMMAND_NODE_HEARTBEAT] = node_heartbeat,
    [COMMAND_NODE_REMOVE] = node_remove,
    [COMMAND_SEQUENCE_NEXT] = sequence_next,
    [COMMAND_TSO_WINDOW] = tso_window,
    [COMMAND_LAMPORT_TICK] = lamport_tick,
    [COMMAND_LAMPORT_SYNC] = lamport_sync,
    [COMMAND_VECTOR_TICK] = vector_tick,
    [COMMAND_VECTOR_SYNC] = vector_sync,
    [COMMAND_VECTOR_JOIN] = vector_join,
    [COMMAND_VECTOR_RETIRE] = vector_retire,
    [COMMAND_VECTOR_OBSERVE] = vector_observe,
    [COMMAND_VERSION_INCREMENT] = version_increment,
    [COMMAND_VERSION_MERGE] = version_merge,
    [COMMAND_VERSION_DECLARE] = version_declare,
    [COMMAND_VERSION_RESOLVE] = version_resolve,
    [COMMAND_TIMESTAMP_EVENT] = timestamp_event,
    [COMMAND_TIMESTAMP_SYNC] = timestamp_sync,
    [COMMAND_TXN_BEGIN] = txn_begin,
    [COMMAND_TXN_BRANCH] = txn_branch,
    [COMMAND_TXN_COMMIT] = txn_commit,
    [COMMAND_TXN_ROLLBACK] = txn_rollback,
    [COMMAND_BRANCH_REPORT] = branch_report,
    [COMMAND_SAGA_SUBMIT] = saga_submit,
    [COMMAND_TXN_RESUME] = txn_resume,
    [COMMAND_BRANCH_REPORTS] = branch_reports,
    [COMMAND_BRANCH_ACKNOWLEDGE] = branch_acknowledge,
    [COMMAND_MESSAGE_PREPARE] = message_prepare,
    [COMMAND_MESSAGE_SUBMIT] = message_submit,
    [COMMAND_WORKFLOW_PREPARE] = workflow_prepare,
    [COMMAND_WORKFLOW_STEP] = workflow_step,
    [COMMAND_WORKFLOW_END] = workflow_end,
    [COMMAND_TXN_ACT] = txn_act,
    [COMMAND_TXN_ACT_MANY] = txn_act_many,
    [COMMAND_SETTINGS_PUT] = settings_put,
    [COMMAND_AUDIT] = audit_command,
    [COMMAND_TOPIC_SUBSCRIBE] = topic_subscribe,
    [COMMAND_TOPIC_UNSUBSCRIBE] = topic_unsubscribe,
    [COMMAND_TOPIC_REMOVE] = topic_remove,
    [COMMAND_BUSINESS_PUT] = business_put,
    [COMMAND_BUSINESS_REMOVE] = business_remove,
    [COMMAND_BUSINESS_EXECUTE] = business_execute,
    [COMMAND_FREEZE] = freeze,
    [COMMAND_UNFREEZE] = unfreeze,
    [COMMAND_TEST_WIPE] = test_wipe,
    [COMMAND_TEST_POLLING] = test_polling,
};

static const query_fn queries[QUERY_NR] = {
    [QUERY_NODES] = query_nodes,
    [QUERY_SEQUENCE] = query_sequence,
    [QUERY_LAMPORT] = query_lamport,
    [QUERY_VECTOR] = query_vector,
    [QUERY_VECTOR_COMPARE] = query_vector_compare,
    [QUERY_VERSION] = query_version,
    [QUERY_VERSION_COMPARE] = query_version_compare,
    [QUERY_VERSION_HISTORY] = query_version_history,
    [QUERY_TIMESTAMP_COMPARE] = query_timestamp_compare,
    [QUERY_TIMESTAMP_EVENTS] = query_timestamp_events,
    [QUERY_TXN_STATUS] = query_txn_status,
    [QUERY_TXN] = query_txn,
    [QUERY_TXN_TREE] = query_txn_tree,
    [QUERY_TXN_LIST] = query_txn_list,
    [QUERY_TXN_COUNTS] = query_txn_counts,
    [QUERY_TOPICS] = query_topics,
    [QUERY_BUSINESS] = query_business,
    [QUERY_STATISTICS] = query_statistics,
    [QUERY_FREEZE] = query_freeze,
    [QUERY_FREEZE_RESOURCE] = query_freeze_resource,
    [QUERY_FREEZE_TXN] = query_freeze_txn,
    [QUERY_FREEZE_LIST] = query_freeze_list,
    [QUERY_AUDIT] = query_audit,
    [QUERY_SETTINGS] = query_settings,
};

static const timer_fn timers[TIMER_KIND_NR] = {
    [TIMER_SESSION] = session_expire,        [TIMER_REPLY] = reply_expire, [TIMER_NODE] = node_timer,
    [TIMER_ACKNOWLEDGE] = acknowledge_timer, [TIMER_TXN] = txn_timer,      [TIMER_RETENTION] = txn_retention,
    [TIMER_FREEZE] = freeze_timer,           [TIMER_AUDIT] = audit_expire,
};

static_assert(COMMAND_NR <= 128, "sm_metrics counts 128 types");

void apply_explain(struct apply *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->detail, sizeof a->detail, format, args);
    va_end(args);
}

void apply_event(struct apply *a, struct sm_event *event)
{
    event->position = a->position;
    event->number = a->events++;
    event->time_us = a->now_us;
    if (a->sm->on_event != NULL)
        a->sm->on_event(a->sm->on_event_data, event);
}

bool apply_polls(const struct apply *a)
{
    return a->sm->polls;
}

void apply_polls_set(struct apply *a, bool polls)
{
    a->sm->polls = polls;
    a->sm->timer_writes = UINT64_MAX; /* the next timer is another one, or none */
}

bool sm_polls(const struct sm *sm)
{
    return sm->polls;
}

void sm_on_event(struct sm *sm, void (*callback)(void *data, const struct sm_event *event), void *data)
{
    sm->on_event = callback;
    sm->on_event_data = data;
}

/* ---- open, close, what stands where */

static void next_due(struct sm *sm, struct store_txn *txn)
{
    struct assent_bytes key, value;
    uint64_t due_us = INT64_MAX;
    uint64_t writes = store_writes(sm->store, STORE_TIMERS);
    if (writes == sm->timer_writes)
        return;
    if (sm->polls && store_first(txn, STORE_TIMERS, &key, &value)) {
        bool whole = key_take_u64(&key, &due_us);
        assert(whole);
    }
    sm->next_due_us = (int64_t)due_us;
    sm->timer_writes = writes;
}

/* After open and restore: everything kept in memory comes from the store. */
static void load(struct sm *sm)
{
    struct store_txn *read = sm_read(sm);
    sm->place = store_place(read);
    sm->digest = store_digest(read);
    session_book_load(sm->sessions, &sm->place);
    sm->polls = hooks_polling_load(read);
    sm->timer_writes = UINT64_MAX;
    next_due(sm, read);
}

static void let_go(struct sm *sm)
{
    if (sm->fresh)
        store_reset_read(sm->read);
    sm->fresh = false;
}

void sm_on_broken(void (*callback)(void *data, const char *sentence), void *data)
{
    store_on_broken(callback, data);
}

int sm_open(struct sm **out, const struct sm_config *config, char *err, size_t err_size)
{
    bool clean;
    struct sm *sm = calloc(1, sizeof *sm);
    *out = NULL;
    if (sm == NULL) {
        snprintf(err, err_size, "out of memory");
        return ASSENT_NOMEM;
    }
    int code =
        store_open(&sm->store, config->dir, config->map_bytes != 0 ? config->map_bytes : MAP_BYTES_DEFAULT,
                   &clean, err, err_size);
    if (code != ASSENT_OK) {
        free(sm);
        return code;
    }
    sm->cluster_tag = config->cluster_tag;
    sm->sessions = session_book_open();
    codec_arena_init(&sm->arena);
    codec_arena_init(&sm->query_arena);
    codec_writer_init(&sm->results);
    codec_writer_init(&sm->scratch);
    codec_writer_init(&sm->answer);
    load(sm);
    *out = sm;
    return ASSENT_OK;
}

void sm_set_cluster_tag(struct sm *sm, uint64_t cluster_tag)
{
    assert(cluster_tag != 0 && (sm->cluster_tag == 0 || sm->cluster_tag == cluster_tag));
    sm->cluster_tag = cluster_tag;
}

void sm_close(struct sm *sm, bool clean)
{
    if (sm == NULL)
        return;
    store_end_read(sm->read);
    store_close(sm->store, clean);
    session_book_close(sm->sessions);
    codec_arena_close(&sm->arena);
    codec_arena_close(&sm->query_arena);
    codec_writer_close(&sm->results);
    codec_writer_close(&sm->scratch);
    codec_writer_close(&sm->answer);
    nest_queue_close(&sm->nest);
    free(sm);
}

uint64_t sm_applied_index(const struct sm *sm)
{
    return sm->place.index;
}

int64_t sm_time_us(const struct sm *sm)
{
    return sm->place.time_us;
}

uint64_t sm_digest(const struct sm *sm)
{
    return sm->digest;
}

int64_t sm_next_due_us(const struct sm *sm)
{
    return sm->next_due_us;
}

struct store *sm_store(const struct sm *sm)
{
    return sm->store;
}

struct store_txn *sm_read(const struct sm *sm)
{
    struct sm *own = (struct sm *)(uintptr_t)sm; /* what is kept for speed is no part of the state */
    if (own->read == NULL)
        own->read = store_begin_read(own->store);
    else if (!own->fresh)
        store_renew_read(own->read);
    own->fresh = true;
    return own->read;
}

uint64_t sm_tso_bound(const struct sm *sm)
{
    struct assent_bytes row, key = {(const uint8_t *)"tso_bound", sizeof "tso_bound" - 1};
    uint64_t bound;
    if (!store_get(sm_read(sm), STORE_META, key, &row))
        return 0;
    bool whole = key_take_u64(&row, &bound);
    assert(whole);
    return bound;
}

void sm_metrics(const struct sm *sm, struct sm_metrics *out)
{
    *out = sm->metrics;
    out->store_bytes = store_bytes(sm->store);
}

/* ---- applying */

/* A committed command nobody can read: another replica may have read it, so going on would break agreement.
 */
static void undecodable(const struct sm_command *c, const char *why) __attribute__((noreturn));

static void undecodable(const struct sm_command *c, const char *why)
{
    char sentence[256];
    snprintf(sentence, sizeof sentence, "command %u of log entry %llu cannot be applied: %s", c->slot,
             (unsigned long long)c->index, why);
    store_give_up(sentence);
}

static void fire_timers(struct sm *sm, struct apply *a)
{
    next_due(sm, a->txn);
    for (int i = 0; i < TIMERS_PER_COMMAND_MAX && sm->next_due_us <= a->now_us; i++) {
        struct assent_bytes key, value;
        struct store_key timer = {.size = 0};
        uint64_t due_us;
        uint8_t kind;
        bool found = store_first(a->txn, STORE_TIMERS, &key, &value);
        assert(found);
        key_tail(&timer, key);
        struct assent_bytes id = key_bytes(&timer);
        found = key_take_u64(&id, &due_us) && key_take_u8(&id, &kind);
        assert(found && kind < TIMER_KIND_NR && timers[kind] != NULL);
        store_del(a->txn, STORE_TIMERS, key_bytes(&timer));
        codec_writer_reset(&sm->scratch);
        timers[kind](a, id);
        nest_settle(a);
        sm->metrics.timers_fired++;
        next_due(sm, a->txn);
    }
}

/* Run the command's function; its result [code, data, detail] goes behind what `out` holds. */
static int execute(struct apply *a)
{
    size_t start = codec_written(a->out).size;
    codec_list(a->out, 3);
    codec_uint(a->out, ASSENT_OK);
    size_t data = codec_written(a->out).size;
    int code = commands[a->command->type](a);
    nest_settle(a);
    if (code == ASSENT_OK) {
        if (codec_written(a->out).size == data)
            codec_nil(a->out);
        codec_nil(a->out);
    } else {
        codec_truncate(a->out, start);
        result_refusal(a->out, code, a->detail);
    }
    return code;
}

/* The same under a session: once, and from then on the stored reply. */
static int execute_once(struct sm *sm, struct apply *a)
{
    struct assent_bytes reply;
    size_t start = codec_written(a->out).size;
    int code = ASSENT_OK;
    switch (session_check(a, &reply, &code)) {
    case SESSION_REPEAT:
        sm->metrics.replies_repeated++;
        codec_raw(a->out, reply);
        return ASSENT_OK;
    case SESSION_REFUSE:
        result_refusal(a->out, code, a->detail);
        return code;
    case SESSION_EXECUTE:
        break;
    }
    code = execute(a);
    reply = codec_written(a->out);
    session_store(a, (struct assent_bytes){reply.base + start, reply.size - start});
    return code;
}

static void apply_one(struct sm *sm, struct store_txn *txn, struct sm_command *c)
{
    struct command command;
    char why[128] = "";
    if (command_decode(&sm->arena, c->command, false, false, &command, why, sizeof why) != ASSENT_OK)
        undecodable(c, why);
    assert(c->slot < ASSENT_ENTRY_COMMANDS_MAX);
    int64_t time_us = c->time_us > sm->place.time_us ? c->time_us : sm->place.time_us + 1;
    struct apply a;
    a.txn = txn;
    a.command = NULL;
    a.position = assent_position(c->index, c->slot);
    a.now_us = time_us;
    a.cluster_tag = sm->cluster_tag;
    a.out = &sm->scratch;
    a.detail[0] = '\0';
    a.sessions = sm->sessions;
    a.sm = sm;
    a.events = 0;
    a.nest = &sm->nest;
    a.audits = 0;
    sm->place.time_us = time_us;
    fire_timers(sm, &a);
    a.detail[0] = '\0';
    a.command = &command;
    a.out = &sm->results;
    size_t start = codec_written(a.out).size;
    bool once = command.session.kind != SESSION_NONE && command.type != COMMAND_SESSION_CLOSE;
    int code = once ? execute_once(sm, &a) : execute(&a);
    sm->metrics.commands++;
    sm->metrics.command_count[command.type]++;
    sm->metrics.refusals += code != ASSENT_OK;
    if (c->awaited)
        c->result.size = codec_written(a.out).size - start;
    else
        codec_truncate(a.out, start);
}

void sm_apply(struct sm *sm, struct sm_command *cmds, uint32_t n, uint64_t index)
{
    codec_writer_reset(&sm->results);
    for (uint32_t i = 0; i < n; i++)
        cmds[i].result = (struct assent_bytes){NULL, 0};
    if (index <= sm->place.index)
        return;
    let_go(sm);
    uint64_t applied = sm->place.index;
    struct store_txn *txn = store_begin(sm->store);
    for (uint32_t i = 0; i < n; i++) {
        assert(cmds[i].index <= index && (i == 0 || cmds[i].index >= cmds[i - 1].index));
        if (cmds[i].index > applied)
            apply_one(sm, txn, &cmds[i]);
    }
    next_due(sm, txn);
    sm->place.index = index;
    session_book_save(sm->sessions, txn, &sm->place);
    store_set_place(txn, &sm->place);
    sm->digest = store_digest(txn);
    store_commit(txn);
    /* The buffer stands still now: results lie in it one behind the other. */
    const uint8_t *at = codec_written(&sm->results).base;
    for (uint32_t i = 0; i < n; i++) {
        if (cmds[i].result.size > 0) {
            cmds[i].result.base = at;
            at += cmds[i].result.size;
        }
    }
}

/* ---- queries */

struct assent_bytes sm_query(struct sm *sm, struct assent_bytes query)
{
    struct command command;
    char why[128] = "";
    codec_writer_reset(&sm->answer);
    int code = command_decode(&sm->query_arena, query, true, true, &command, why, sizeof why);
    if (code != ASSENT_OK) {
        result_refusal(&sm->answer, code, why);
        return codec_written(&sm->answer);
    }
    struct apply a = {.txn = sm_read(sm), .command = &command, .now_us = sm->place.time_us};
    a.cluster_tag = sm->cluster_tag;
    a.out = &sm->answer;
    codec_list(&sm->answer, 3);
    codec_uint(&sm->answer, ASSENT_OK);
    size_t data = codec_written(&sm->answer).size;
    code = queries[command.type](&a);
    if (code == ASSENT_OK) {
        if (codec_written(&sm->answer).size == data)
            codec_nil(&sm->answer);
        codec_nil(&sm->answer);
    } else {
        codec_writer_reset(&sm->answer);
        result_refusal(&sm->answer, code, a.detail);
    }
    return codec_written(&sm->answer);
}

/* ---- snapshots */

void *sm_pin(struct sm *sm)
{
    return store_begin_read(sm->store);
}

void sm_unpin(struct sm *sm, void *pin)
{
    (void)sm;
    store_end_read(pin);
}

int sm_dump(struct sm *sm, void *pin, const char *path, uint64_t *size, uint64_t *digest)
{
    char err[256];
    int code = store_dump(pin, path, size, digest, err, sizeof err);
    sm_unpin(sm, pin);
    return code;
}

int sm_image_check(const char *path, uint64_t offset, struct sm_image *out, char *err, size_t err_size)
{
    return store_image_check(path, offset, out, err, err_size);
}

int sm_restore(struct sm *sm, const char *path, char *err, size_t err_size)
{
    let_go(sm);
    int code = store_restore(sm->store, path, err, err_size);
    load(sm);
    return code;
}

/* A follower's requests on their way to the leader, and the leader's answers. */
#include "forward.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "leader_call.h"
#include "node.h"

#define MESSAGE_VERSION   1
#define RECORD_HEAD_BYTES 13u /* size, kind, id */
#define CALL_HEAD_BYTES   4u
#define ANSWER_HEAD_BYTES 24u
#define RECORD_BYTES_MAX  (ASSENT_COMMAND_BYTES_MAX + 64u * 1024)

enum record_kind { RECORD_CALL = 1, RECORD_ANSWER = 2 };

static_assert(RECORD_BYTES_MAX + FORWARD_MESSAGE_BYTES_TARGET <= ASSENT_FRAME_BYTES_MAX,
              "one record more than the target still fits a message");

/* What this node performs for another. */
struct forward_job {
    struct leader_call call;
    struct forward *forward;
    uint64_t from, id;
    struct forward_job *next;
};

void forward_init(struct forward *f, struct node *node)
{
    memset(f, 0, sizeof *f);
    f->node = node;
    /* Ids of an earlier life of this process must not meet waiters of this one. */
    f->next_id = (uint64_t)node_now_us() << 8;
}

void forward_close(struct forward *f)
{
    for (uint32_t i = 0; i < f->outboxes; i++)
        text_close(&f->outbox[i].message);
    f->outboxes = 0;
    while (f->spare != NULL) {
        struct forward_job *job = f->spare;
        f->spare = job->next;
        free(job);
    }
}

/* ---- writing ---- */

static void put_u32(struct text *t, uint32_t v)
{
    char b[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    text_put(t, b, sizeof b);
}

static void put_u64(struct text *t, uint64_t v)
{
    put_u32(t, (uint32_t)(v >> 32));
    put_u32(t, (uint32_t)v);
}

static void put_record(struct text *t, enum record_kind kind, uint64_t id, size_t size)
{
    put_u32(t, (uint32_t)(size + RECORD_HEAD_BYTES - 4));
    text_char(t, (char)kind);
    put_u64(t, id);
}

static int send_outbox(struct forward *f, struct forward_outbox *box)
{
    if (box->message.size == 0)
        return ASSENT_OK;
    int status =
        box->message.overflow
            ? ASSENT_TOO_LARGE
            : raftlog_post(f->node->log, box->to,
                           (struct assent_bytes){(const uint8_t *)box->message.base, box->message.size});
    text_reset(&box->message);
    return status;
}

/* Where records for `to` gather; one with room. */
static struct forward_outbox *outbox(struct forward *f, uint64_t to)
{
    struct forward_outbox *box = NULL;
    for (uint32_t i = 0; i < f->outboxes && box == NULL; i++) {
        if (f->outbox[i].to == to || f->outbox[i].message.size == 0)
            box = &f->outbox[i];
    }
    if (box == NULL) {
        if (f->outboxes == ASSENT_NODES_MAX)
            return NULL;
        box = &f->outbox[f->outboxes++];
        text_init(&box->message, ASSENT_FRAME_BYTES_MAX);
    }
    box->to = to;
    if (box->message.size > FORWARD_MESSAGE_BYTES_TARGET)
        (void)send_outbox(f, box); /* lost like any message: the asker's deadline tells */
    if (box->message.size == 0)
        text_char(&box->message, MESSAGE_VERSION);
    return box;
}

void forward_turn(struct forward *f)
{
    for (uint32_t i = 0; i < f->outboxes; i++) {
        uint64_t to = f->outbox[i].to;
        int status = send_outbox(f, &f->outbox[i]);
        if (status != ASSENT_OK)
            log_write(&f->node->logger, LOG_DEBUG, "forward_lost", "to=%llu error=%s", (unsigned long long)to,
                      assent_error_name(status));
    }
}

/* ---- asking ---- */

static struct forward_wait **find(struct forward *f, uint64_t id)
{
    struct forward_wait **at = &f->bucket[id % FORWARD_BUCKETS];
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static void unlink_wait(struct forward *f, struct forward_wait **at)
{
    *at = (*at)->next;
    f->waiting--;
}

int forward_call(struct forward *f, struct forward_wait *wait, uint64_t to, uint32_t special,
                 struct assent_bytes bytes, forward_cb cb)
{
    struct raftlog_peer peer;
    if (bytes.size > ASSENT_COMMAND_BYTES_MAX)
        return ASSENT_TOO_LARGE;
    if (!raftlog_peer(f->node->log, to, &peer) || !peer.connected)
        return ASSENT_UNREACHABLE;
    struct forward_outbox *box = outbox(f, to);
    if (box == NULL)
        return ASSENT_UNREACHABLE;
    wait->id = f->next_id++;
    wait->to = to;
    wait->cb = cb;
    put_record(&box->message, RECORD_CALL, wait->id, CALL_HEAD_BYTES + bytes.size);
    put_u32(&box->message, special);
    text_put(&box->message, (const char *)bytes.base, bytes.size);
    struct forward_wait **at = &f->bucket[wait->id % FORWARD_BUCKETS];
    wait->next = *at;
    *at = wait;
    f->waiting++;
    f->sent++;
    node_wake(f->node);
    return ASSENT_OK;
}

void forward_cancel(struct forward *f, struct forward_wait *wait)
{
    struct forward_wait **at = find(f, wait->id);
    if (*at == wait)
        unlink_wait(f, at);
}

void forward_abandon(struct forward *f, uint64_t leader)
{
    struct forward_wait *lost = NULL;
    for (uint32_t i = 0; i < FORWARD_BUCKETS && f->waiting > 0; i++) {
        for (struct forward_wait **at = &f->bucket[i]; *at != NULL;) {
            struct forward_wait *wait = *at;
            if (leader != 0 && wait->to == leader) {
                at = &wait->next;
                continue;
            }
            unlink_wait(f, at);
            wait->next = lost;
            lost = wait;
        }
    }
    while (lost != NULL) {
        struct forward_wait *wait = lost;
        lost = wait->next;
        wait->cb(wait, ASSENT_UNKNOWN_OUTCOME, (struct assent_bytes){NULL, 0},
                 (struct assent_bytes){NULL, 0});
    }
}

/* ---- performing for others ---- */

static void send_answer(struct forward *f, uint64_t from, uint64_t id, int status, uint64_t index,
                        uint64_t term, struct assent_bytes result, const char *detail)
{
    struct forward_outbox *box = outbox(f, from);
    if (box == NULL)
        return; /* the asker's deadline tells */
    size_t sentence = detail != NULL ? strlen(detail) : 0;
    put_record(&box->message, RECORD_ANSWER, id, ANSWER_HEAD_BYTES + sentence + result.size);
    put_u32(&box->message, (uint32_t)status);
    put_u64(&box->message, index);
    put_u64(&box->message, term);
    put_u32(&box->message, (uint32_t)sentence);
    text_put(&box->message, detail, sentence);
    text_put(&box->message, (const char *)result.base, result.size);
    node_wake(f->node);
}

static void job_free(struct forward_job *job)
{
    struct forward *f = job->forward;
    job->next = f->spare;
    f->spare = job;
    f->jobs--;
}

static void on_job(struct leader_call *call, int status, struct assent_bytes result, const char *detail)
{
    struct forward_job *job = call->data;
    send_answer(job->forward, job->from, job->id, status, call->index, call->term, result, detail);
    job_free(job);
}

static void perform(struct forward *f, uint64_t from, uint64_t id, uint32_t special,
                    struct assent_bytes bytes)
{
    struct assent_bytes none = {NULL, 0};
    f->served++;
    if (f->jobs >= FORWARD_JOBS_MAX || f->node->state != NODE_RUNNING) {
        send_answer(f, from, id, f->jobs >= FORWARD_JOBS_MAX ? ASSENT_BUSY : ASSENT_NOT_LEADER, 0, 0, none,
                    NULL);
        return;
    }
    struct forward_job *job = f->spare;
    if (job != NULL)
        f->spare = job->next;
    else if ((job = malloc(sizeof *job)) == NULL)
        abort();
    f->jobs++;
    job->forward = f;
    job->from = from;
    job->id = id;
    job->call.data = job;
    int status = leader_call_start(&job->call, f->node, special, bytes, on_job);
    if (status != ASSENT_OK) {
        send_answer(f, from, id, status, 0, 0, none, NULL);
        job_free(job);
    }
}

/* ---- reading ---- */

static uint32_t get_u32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint64_t get_u64(const uint8_t *b)
{
    return (uint64_t)get_u32(b) << 32 | get_u32(b + 4);
}

static bool receive_answer(struct forward *f, uint64_t from, uint64_t id, struct assent_bytes body)
{
    if (body.size < ANSWER_HEAD_BYTES)
        return false;
    uint32_t sentence = get_u32(body.base + 20);
    if (sentence > body.size - ANSWER_HEAD_BYTES)
        return false;
    struct forward_wait **at = find(f, id), *wait = *at;
    if (wait == NULL || wait->to != from)
        return true; /* too late: answered otherwise already */
    unlink_wait(f, at);
    wait->index = get_u64(body.base + 4);
    wait->term = get_u64(body.base + 12);
    const uint8_t *rest = body.base + ANSWER_HEAD_BYTES;
    wait->cb(wait, (int)get_u32(body.base),
             (struct assent_bytes){rest + sentence, body.size - ANSWER_HEAD_BYTES - sentence},
             (struct assent_bytes){rest, sentence});
    return true;
}

static bool receive_record(struct forward *f, uint64_t from, uint8_t kind, uint64_t id,
                           struct assent_bytes body)
{
    if (kind == RECORD_ANSWER)
        return receive_answer(f, from, id, body);
    if (kind != RECORD_CALL || body.size < CALL_HEAD_BYTES)
        return false;
    perform(f, from, id, get_u32(body.base),
            (struct assent_bytes){body.base + CALL_HEAD_BYTES, body.size - CALL_HEAD_BYTES});
    return true;
}

void forward_receive(struct forward *f, uint64_t from, struct assent_bytes message)
{
    bool good = message.size > 0 && message.base[0] == MESSAGE_VERSION;
    const uint8_t *at = message.base + 1, *end = message.base + message.size;
    while (good && at < end) {
        uint32_t size = end - at >= RECORD_HEAD_BYTES ? get_u32(at) : 0;
        good = size >= RECORD_HEAD_BYTES - 4 && size <= (size_t)(end - at) - 4;
        if (good) {
            struct assent_bytes body = {at + RECORD_HEAD_BYTES, size - (RECORD_HEAD_BYTES - 4)};
            good = receive_record(f, from, at[4], get_u64(at + 5), body);
            at += 4 + (size_t)size;
        }
    }
    if (!good) {
        f->malformed++;
        log_write(&f->node->logger, LOG_WARNING, "forward_malformed", "from=%llu bytes=%zu",
                  (unsigned long long)from, message.size);
    }
}

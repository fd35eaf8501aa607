/* One HTTP request from its bytes to its answer: decode, find who does it, wait, try again, give up in time.
 *
 * The happy path on the leader: START encodes nothing again, it proposes (CALLING) and the callback's result
 * is rendered.  On a follower the same bytes travel to the leader (FORWARDED).  A query waits for a confirmed
 * read index (READING) and runs here.  The failures: nobody leads (HELD until the hold time is over, then
 * 503), the leader was lost with the command under way (504 UNKNOWN_OUTCOME, or another try when an
 * Idempotency-Key makes it safe), time ran out (504; what is under way below is abandoned, not stopped). */
#include "request.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "local.h"
#include "node.h"
#include "request_private.h"

#define BIT(n) (1u << (n))
/* How often held requests are tried again without any news, and deadlines are looked at. */
#define REQUEST_TIMER_MS 20

#define AFTER (BIT(REQUEST_START) | BIT(REQUEST_WATCHING) | BIT(REQUEST_DONE)) /* a road that was taken */
static const uint8_t request_next[REQUEST_STATE_NR] = {
    [REQUEST_START] = BIT(REQUEST_CALLING) | BIT(REQUEST_FORWARDED) | BIT(REQUEST_READING) |
                      BIT(REQUEST_HELD) | BIT(REQUEST_DONE),
    [REQUEST_CALLING] = BIT(REQUEST_HELD) | AFTER,
    [REQUEST_FORWARDED] = BIT(REQUEST_HELD) | AFTER,
    [REQUEST_READING] = BIT(REQUEST_HELD) | AFTER,
    [REQUEST_HELD] = BIT(REQUEST_START) | BIT(REQUEST_DONE),
    [REQUEST_WATCHING] = AFTER,
    [REQUEST_DONE] = 0,
};
static_assert(REQUEST_STATE_NR <= 8, "request_next holds one bit per state");

void request_move(struct request *r, enum request_state to)
{
    assert(request_next[r->state] & BIT(to));
    struct requests *rs = &r->node->requests;
    rs->held += to == REQUEST_HELD;
    rs->held -= r->state == REQUEST_HELD;
    rs->watching += to == REQUEST_WATCHING;
    rs->watching -= r->state == REQUEST_WATCHING;
    r->state = to;
}

/* ---- answers ---- */

void response_error(struct response *response, int code, struct assent_bytes detail)
{
    response->http_status = assent_error_http(code);
    response->content_type = "application/json";
    enum assent_retry retry = assent_error_retry(code);
    response->retry_later = response->http_status == 503;
    struct text *t = &response->body;
    text_reset(t);
    text_cstr(t, "{\"success\":false,\"error\":{\"code\":\"");
    text_cstr(t, assent_error_name(code));
    text_cstr(t, "\",\"message\":");
    json_quote(t, detail.size > 0 ? detail : cstr_bytes(assent_error_sentence(code)));
    text_cstr(t, retry == ASSENT_RETRY_NEVER ? ",\"retryable\":false}}" : ",\"retryable\":true}}");
}

static void start(struct request *r);

/* The face says how it goes on. */
static void face_ended(struct request *r, int code, const struct codec_node *data, struct assent_bytes detail)
{
    switch (r->face->ended(r, code, data, detail)) {
    case REQUEST_ANSWERED:
        request_move(r, REQUEST_DONE);
        break;
    case REQUEST_AGAIN:
        request_move(r, REQUEST_START);
        r->uncertain = false;
        start(r);
        break;
    case REQUEST_WATCH:
        request_move(r, REQUEST_WATCHING);
        break;
    }
}

static void answer_error(struct request *r, int code, struct assent_bytes detail)
{
    if (r->face != NULL) {
        face_ended(r, code, NULL, detail);
        return;
    }
    response_error(&r->response, code, detail);
    request_move(r, REQUEST_DONE);
}

void request_answer(struct request *r, const struct codec_node *data)
{
    struct text *t = &r->response.body;
    r->response.http_status = 200;
    r->response.content_type = "application/json";
    text_reset(t);
    text_cstr(t, "{\"success\":true,\"data\":");
    if (data == NULL)
        text_cstr(t, "{}");
    else
        json_value(t, data);
    text_cstr(t, ",\"timestamp\":");
    text_int(t, node_now_us() / 1000);
    text_char(t, '}');
    if (t->overflow)
        response_error(&r->response, ASSENT_TOO_LARGE,
                       cstr_bytes("the answer is larger than the limit; ask for fewer rows"));
}

static void answer_result(struct request *r, struct assent_bytes bytes)
{
    struct result result;
    if (!result_decode(&r->node->requests.arena, bytes, &result)) {
        answer_error(r, ASSENT_PROTOCOL, nothing);
        return;
    }
    if (result.code != ASSENT_OK) {
        answer_error(r, result.code, result.detail);
        return;
    }
    if (r->face != NULL) {
        face_ended(r, ASSENT_OK, result.data, nothing);
        return;
    }
    request_answer(r, result.data);
    request_move(r, REQUEST_DONE);
}

/* The leader performs it: say where that is. */
static void answer_redirect(struct request *r)
{
    char address[256];
    if (!node_leader_address(r->node, "http", address, sizeof address)) {
        answer_error(r, ASSENT_NO_LEADER, nothing);
        return;
    }
    answer_error(r, ASSENT_NOT_LEADER, nothing);
    if (asprintf(&r->response.location, "http://%s%.*s", address, (int)r->uri.size,
                 (const char *)r->uri.base) < 0)
        abort();
    r->response.http_status = 307;
    r->response.retry_later = false;
}

static void answer_query(struct request *r)
{
    struct node *node = r->node;
    if (!node_sm_enter(node)) {
        answer_error(r, ASSENT_BUSY, cstr_bytes("a snapshot is being restored on this node"));
        return;
    }
    struct assent_bytes bytes = {r->bytes, r->bytes_size};
    answer_result(r, sm_query(node->sm, bytes));
    node_sm_leave(node);
}

/* How old the local state may be: since the newest entry's stamp, or since a read was confirmed. */
static void answer_stale(struct request *r)
{
    struct node *node = r->node;
    if (!node_sm_enter(node)) {
        answer_error(r, ASSENT_BUSY, cstr_bytes("a snapshot is being restored on this node"));
        return;
    }
    int64_t stamp_age = (node_now_us() - sm_time_us(node->sm)) / 1000;
    node_sm_leave(node);
    uint64_t age = stamp_age > 0 ? (uint64_t)stamp_age : 0;
    if (node->reads.fresh_ms > 0 && uv_now(node->loop) - node->reads.fresh_ms < age)
        age = uv_now(node->loop) - node->reads.fresh_ms;
    r->response.aged = true;
    r->response.age_ms = age;
    answer_query(r);
}

/* ---- roads ---- */

static void request_tick(struct request *r);
static void finish(struct request *r);

static void on_call(struct leader_call *call, int status, struct assent_bytes result, const char *detail)
{
    struct request *r = call->data;
    r->pending = false;
    if (r->state == REQUEST_DONE) { /* abandoned */
        r->idle(r);
        return;
    }
    r->status = status;
    r->index = call->index;
    r->term = call->term;
    r->result = result;
    r->detail = detail != NULL ? cstr_bytes(detail) : nothing;
    request_tick(r);
}

static void on_forward(struct forward_wait *wait, int status, struct assent_bytes result,
                       struct assent_bytes detail)
{
    struct request *r = wait->data;
    r->pending = false;
    r->status = status;
    r->index = wait->index;
    r->term = wait->term;
    r->result = result;
    r->detail = detail;
    request_tick(r);
}

static void on_read(struct read_wait *wait, int status)
{
    struct request *r = wait->data;
    r->pending = false;
    if (r->state == REQUEST_DONE) { /* abandoned */
        r->idle(r);
        return;
    }
    r->status = status;
    r->index = wait->index;
    r->term = wait->term;
    request_tick(r);
}

/* May it be done again although an earlier try may have succeeded? */
static bool is_repeatable(const struct request *r)
{
    return r->keyed || r->kind == ROUTE_QUERY || r->special == SPECIAL_TSO ||
           (r->face != NULL && r->face->repeatable);
}

/* Nobody does it now: wait for news, or give up. */
static void hold(struct request *r)
{
    if (r->status == ASSENT_UNKNOWN_OUTCOME && r->kind == ROUTE_COMMAND)
        r->uncertain = true;
    uint64_t waited_ms = uv_now(r->node->loop) - r->started_ms;
    bool give_up =
        r->never_forward || r->node->state != NODE_RUNNING || waited_ms >= r->node->config->hold_ms;
    if (!give_up)
        request_move(r, REQUEST_HELD);
    else if (r->uncertain)
        answer_error(r, ASSENT_UNKNOWN_OUTCOME, nothing);
    else
        answer_error(r, r->node->state != NODE_RUNNING ? ASSENT_SHUTDOWN : ASSENT_NO_LEADER, nothing);
}

/* A road ended, or could not be taken: `status` says how. */
static void judge(struct request *r)
{
    switch (r->status) {
    case ASSENT_OK:
        if (r->state == REQUEST_READING)
            answer_query(r);
        else
            answer_result(r, r->result);
        return;
    case ASSENT_UNKNOWN_OUTCOME:
        if (!is_repeatable(r)) {
            answer_error(r, ASSENT_UNKNOWN_OUTCOME, r->detail);
            return;
        }
        hold(r);
        return;
    case ASSENT_NOT_LEADER:
    case ASSENT_NO_LEADER:
    case ASSENT_UNREACHABLE:
        hold(r);
        return;
    case ASSENT_TIMEOUT:
        if (r->state == REQUEST_READING) {
            hold(r);
            return;
        }
        break;
    default:
        break;
    }
    answer_error(r, r->uncertain ? ASSENT_UNKNOWN_OUTCOME : r->status, r->detail);
}

/* This node leads: do it here. */
static void call(struct request *r)
{
    r->wait.call.data = r;
    r->status = leader_call_start(&r->wait.call, r->node, r->special,
                                  (struct assent_bytes){r->bytes, r->bytes_size}, on_call);
    if (r->status != ASSENT_OK) {
        judge(r);
        return;
    }
    r->pending = true;
    request_move(r, REQUEST_CALLING);
}

static void forward(struct request *r)
{
    r->wait.forward.data = r;
    r->status = forward_call(&r->node->forward, &r->wait.forward, r->node->leader, r->special,
                             (struct assent_bytes){r->bytes, r->bytes_size}, on_forward);
    if (r->status != ASSENT_OK) {
        judge(r);
        return;
    }
    r->pending = true;
    request_move(r, REQUEST_FORWARDED);
}

static void start(struct request *r)
{
    struct node *node = r->node;
    r->detail = nothing;
    if (node->state >= NODE_DRAINING) {
        answer_error(r, r->uncertain ? ASSENT_UNKNOWN_OUTCOME : ASSENT_SHUTDOWN, nothing);
    } else if (r->kind == ROUTE_QUERY) {
        if (r->stale) {
            answer_stale(r);
            return;
        }
        r->wait.read.data = r;
        r->pending = true;
        request_move(r, REQUEST_READING);
        read_gate_wait(&node->reads, &r->wait.read, on_read);
    } else if (node->role == RAFTLOG_LEADER) {
        call(r);
    } else if (node->leader != 0 && node->leader != node->config->id) {
        if (r->never_forward)
            answer_redirect(r);
        else
            forward(r);
    } else {
        r->status = ASSENT_NO_LEADER;
        judge(r);
    }
}

/* All control flow after decoding.  Callbacks store what they got and come here. */
static void request_tick(struct request *r)
{
    switch (r->state) {
    case REQUEST_HELD:
        request_move(r, REQUEST_START);
        start(r);
        break;
    case REQUEST_START:
        start(r);
        break;
    case REQUEST_CALLING:
    case REQUEST_FORWARDED:
    case REQUEST_READING:
        judge(r);
        break;
    case REQUEST_WATCHING:
        face_ended(r, ASSENT_OK, NULL, nothing);
        break;
    case REQUEST_DONE:
    case REQUEST_STATE_NR:
        assert(0 && "a finished request is not ticked");
    }
    if (r->state == REQUEST_DONE)
        finish(r);
}

/* ---- all requests of the node ---- */

static void enlist(struct requests *rs, struct request *r)
{
    r->listed = true;
    r->next = NULL;
    r->prev = rs->last;
    if (rs->last != NULL)
        rs->last->next = r;
    else
        rs->first = r;
    rs->last = r;
    rs->active++;
}

static void unlist(struct requests *rs, struct request *r)
{
    if (!r->listed)
        return;
    r->listed = false;
    *(r->prev ? &r->prev->next : &rs->first) = r->next;
    *(r->next ? &r->next->prev : &rs->last) = r->prev;
    rs->active--;
}

static void finish(struct request *r)
{
    unlist(&r->node->requests, r);
    if (!r->response.placed) {
        r->response.placed = true;
        r->response.index = r->index > 0 ? r->index : r->node->applied_index;
        r->response.term = r->term > 0 ? r->term : r->node->term;
    }
    if (r->bytes != r->small)
        free(r->bytes);
    r->bytes = NULL;
    if (r->face != NULL)
        r->face->closed(r);
    else
        metrics_http(&r->node->metrics, r->route, r->response.http_status,
                     uv_hrtime() / 1000 - r->started_us);
    bool idle = !r->pending;
    r->done(r);
    if (idle)
        r->idle(r);
}

/* Its time is over, whatever it waits for. */
static void abandon(struct request *r, int code)
{
    bool under_way = r->state == REQUEST_CALLING || r->state == REQUEST_FORWARDED;
    if (r->state == REQUEST_FORWARDED) {
        forward_cancel(&r->node->forward, &r->wait.forward);
        r->pending = false;
    }
    if (r->uncertain || (under_way && !is_repeatable(r)) || (under_way && r->keyed))
        code = ASSENT_UNKNOWN_OUTCOME;
    answer_error(r, code, nothing);
    finish(r);
}

void request_resume(struct request *r)
{
    if (r->state == REQUEST_WATCHING)
        request_tick(r);
}

/* Whose patience is over looks by itself. */
static void watches_end(struct requests *rs, uint64_t now_ms)
{
    for (struct request *r = rs->first, *next; r != NULL && rs->watching > 0; r = next) {
        next = r->next; /* a tick may end `r`, never another request */
        if (r->state == REQUEST_WATCHING && now_ms >= r->watch_until_ms)
            request_tick(r);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct requests *rs = timer->data;
    uint64_t now_ms = uv_now(rs->node->loop), limit_ms = rs->node->config->request_timeout_ms;
    while (rs->first != NULL && now_ms - rs->first->started_ms >= limit_ms)
        abandon(rs->first, ASSENT_TIMEOUT);
    if (rs->held > 0)
        requests_wake(rs);
    if (rs->watching > 0)
        watches_end(rs, now_ms);
    if (rs->active == 0)
        uv_timer_stop(&rs->timer);
}

void requests_init(struct requests *rs, struct node *node)
{
    *rs = (struct requests){.node = node};
    arguments_init(&rs->arguments);
    codec_writer_init(&rs->writer);
    codec_arena_init(&rs->arena);
    uv_timer_init(node->loop, &rs->timer);
    rs->timer.data = rs;
}

void requests_close(struct requests *rs)
{
    assert(rs->active == 0);
    arguments_close(&rs->arguments);
    codec_writer_close(&rs->writer);
    codec_arena_close(&rs->arena);
    uv_close((uv_handle_t *)&rs->timer, NULL);
}

void requests_wake(struct requests *rs)
{
    for (struct request *r = rs->first, *next; r != NULL && rs->held > 0; r = next) {
        next = r->next; /* a tick may end `r`, never another request */
        if (r->state == REQUEST_HELD)
            request_tick(r);
    }
}

void requests_shutdown(struct requests *rs)
{
    while (rs->first != NULL)
        abandon(rs->first, ASSENT_SHUTDOWN);
}

static void refuse(struct request *r, int status)
{
    const char *why = r->node->requests.arguments.why;
    answer_error(r, status, cstr_bytes(why));
    finish(r);
}

void request_start(struct request *r, struct node *node, const struct request_input *input,
                   request_done_cb done, request_idle_cb idle)
{
    struct requests *rs = &node->requests;
    r->node = node;
    r->state = REQUEST_START;
    r->done = done;
    r->idle = idle;
    r->keyed = r->stale = r->pending = r->uncertain = r->listed = false;
    r->never_forward = input->never_forward;
    r->uri = input->uri;
    r->bytes = NULL;
    r->index = r->term = 0;
    r->result = r->detail = nothing;
    r->route = NULL;
    r->face = NULL;
    r->door = NULL;
    r->special = 0;
    r->started_ms = uv_now(node->loop);
    r->started_us = uv_hrtime() / 1000;
    r->response.placed = r->response.aged = r->response.retry_later = false;
    r->response.allow[0] = 0;
    r->response.location = NULL;
    r->response.file = NULL;
    r->response.stream = NULL;
    int status = request_decode(r, input);
    if (r->state == REQUEST_DONE) { /* the door has answered */
        finish(r);
        return;
    }
    if (status != ASSENT_OK) {
        refuse(r, status);
        return;
    }
    if (r->face == NULL && (r->route->kind == ROUTE_LOCAL || r->route->kind == ROUTE_PLAIN)) {
        local_answer(node, r->route, r->captured, &r->response);
        request_move(r, REQUEST_DONE);
        finish(r);
        return;
    }
    if (r->response.stream != NULL) {
        r->response.http_status = 200;
        r->response.content_type = "text/event-stream";
        request_move(r, REQUEST_DONE);
        finish(r);
        return;
    }
    enlist(rs, r);
    if (!uv_is_active((uv_handle_t *)&rs->timer))
        uv_timer_start(&rs->timer, on_timer, REQUEST_TIMER_MS, REQUEST_TIMER_MS);
    request_tick(r);
}

/* One call: from a loaded piece of work to its outcome. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "assent/error.h"
#include "executor_private.h"

static int64_t monotonic_us(void)
{
    return (int64_t)(uv_hrtime() / 1000);
}

static void call_finished(struct call *c, enum sm_outcome outcome, const char *error)
{
    struct executor *ex = c->ex;
    struct host *h = c->host;
    int64_t took_us = monotonic_us() - c->started_us;
    uint32_t bucket = 0;
    while (bucket < EXECUTOR_BUCKETS && took_us > (1000ll << bucket))
        bucket++;
    ex->metrics.latency[bucket]++;
    ex->metrics.latency_sum_us += (uint64_t)(took_us > 0 ? took_us : 0);
    ex->metrics.calls++;
    ex->metrics.in_flight--;
    c->outcome = outcome;
    snprintf(c->error, sizeof(c->error), "%s", error);
    c->host = NULL;
    h->calling--;
    host_update(ex, h);
    if (outcome != SM_OUTCOME_SUCCESS) {
        ex->metrics.failures++;
        struct executor_failure f = {call_xid(c), call_branch(c), sm_op_name(c->op), c->error, c->attempt};
        if (ex->config.failed != NULL)
            ex->config.failed(ex->config.data, &f);
    }
    call_report(c);
    wake_in(ex, 0); /* a slot is free */
}

/* What an answer means.  A saga's participant says more than yes and no; the first rule that fits wins (DTM's
 * order): 425, 202 or ONGOING in the body; 409 or FAILURE in the body; 2xx; anything else is unknown. */
static enum sm_outcome classify(const struct caller_call *http, enum sm_op op, int status, const char *error)
{
    if (is_saga(op) && status != 0) {
        if (status == 425 || status == 202 || caller_answer_has(http, "ONGOING"))
            return SM_OUTCOME_ONGOING;
        if (status == 409 || caller_answer_has(http, "FAILURE"))
            return SM_OUTCOME_FAILURE;
    }
    return error[0] == 0 ? SM_OUTCOME_SUCCESS : SM_OUTCOME_ERROR;
}

static void on_called(struct caller_call *http, int status, const char *error)
{
    struct call *c = http->data;
    char text[CALLER_ERROR_BYTES_MAX];
    enum sm_outcome outcome = classify(http, c->op, status, error);
    if (outcome != SM_OUTCOME_SUCCESS && error[0] == 0) { /* 2xx, but its body says otherwise */
        caller_answer_text(http, status, text, sizeof(text));
        error = text;
    }
    c->http = NULL;
    call_finished(c, outcome, error);
    free(http);
}

static bool trace_ok(struct assent_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.base[i] < ' ' || text.base[i] >= 0x7f)
            return false;
    return text.size > 0;
}

static struct assent_bytes bytes_of(const char *text)
{
    return (struct assent_bytes){(const uint8_t *)text, strlen(text)};
}

void call_start(struct call *c, struct host *h, const struct sm_work *work)
{
    struct executor *ex = c->ex;
    struct caller_header headers[CALLER_HEADERS_MAX];
    char token[24], attempt[16];
    uint32_t n = 0;
    snprintf(token, sizeof(token), "%llu", (unsigned long long)work->token);
    snprintf(attempt, sizeof(attempt), "%u", (unsigned)work->attempt);
    headers[n++] = (struct caller_header){bytes_of("Assent-Xid"), work->xid};
    headers[n++] = (struct caller_header){bytes_of("Assent-Branch"), work->branch};
    headers[n++] = (struct caller_header){bytes_of("Assent-Op"), bytes_of(sm_op_name(work->op))};
    headers[n++] = (struct caller_header){bytes_of("Assent-Token"), bytes_of(token)};
    headers[n++] = (struct caller_header){bytes_of("Assent-Attempt"), bytes_of(attempt)};
    if (trace_ok(work->traceparent))
        headers[n++] = (struct caller_header){bytes_of("traceparent"), work->traceparent};
    struct assent_bytes rest = work->headers;
    bool content_type = false;
    while (n + 1 < CALLER_HEADERS_MAX && sm_work_header(&rest, &headers[n].name, &headers[n].value)) {
        content_type =
            content_type || (headers[n].name.size == 12 &&
                             strncasecmp((const char *)headers[n].name.base, "content-type", 12) == 0);
        n++;
    }
    if (!content_type)
        headers[n++] = (struct caller_header){bytes_of("Content-Type"), bytes_of("application/json")};
    struct caller_request request = {
        .url = work->url,
        .body = work->payload,
        .headers = headers,
        .n_headers = n,
        .timeout_ms = work->timeout_ms > 0 ? work->timeout_ms : ex->config.timeout_ms,
    };
    c->attempt = work->attempt;
    c->urgent = work->urgent;
    c->host = h;
    c->state = CALL_CALLING;
    c->started_us = monotonic_us();
    h->calling++;
    ex->metrics.in_flight++;
    c->http = calloc(1, sizeof(*c->http));
    assert(c->http != NULL);
    c->http->data = c;
    int rv = caller_post(ex->caller, c->http, &request, on_called);
    if (rv == ASSENT_OK)
        return;
    free(c->http);
    c->http = NULL;
    call_finished(c, SM_OUTCOME_ERROR,
                  rv == ASSENT_INVALID ? "the call cannot be made: bad URL or header" : "out of memory");
}

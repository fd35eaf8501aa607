/* Alerts: one HTTP POST to `alert-url` when a transaction fails again and again, or for good. */
#include "alert.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

static bool is(const char *text, const char *what)
{
    return text != NULL && strcmp(text, what) == 0;
}

/* ---- what is told ---- */

/* NULL: not worth an alert. */
static const char *alert_of(const struct sm_event *e, uint64_t after)
{
    static const char timeout[] = "timeout";
    if (e->kind == SM_EVENT_CALL)
        return e->outcome != SM_OUTCOME_ONGOING && e->failures >= after ? "failing" : NULL;
    if (e->kind != SM_EVENT_STATUS)
        return NULL;
    if (is(e->status, "SUSPENDED"))
        return "suspended";
    if (is(e->status, "STOPPED"))
        return "stopped";
    bool timed_out =
        e->detail.size >= sizeof timeout - 1 && memcmp(e->detail.base, timeout, sizeof timeout - 1) == 0;
    return is(e->status, "ROLLED_BACK") && !e->asked && (e->error.size > 0 || timed_out) ? "rolled_back"
                                                                                         : NULL;
}

/* The status in DTM's words, for receivers written for its web hook. */
static const char *dtm_status(const struct sm_event *e)
{
    if (e->kind == SM_EVENT_STATUS)
        return is(e->status, "SUSPENDED") ? "suspended" : "failed";
    if (is(e->op, "cancel") || is(e->op, "compensate"))
        return "aborting";
    return is(e->op, "query") || is(e->op, "callback") ? "prepared" : "submitted";
}

static void put(struct text *out, const char *name, struct assent_bytes value)
{
    text_printf(out, ",\"%s\":", name);
    json_quote(out, value);
}

static void put_alert(struct text *out, const struct sm_event *e, const char *alert)
{
    char id[EVENT_ID_TEXT_MAX];
    struct assent_bytes ns, xid = scoped_name(e->xid, &ns);
    bool call = e->kind == SM_EVENT_CALL;
    struct assent_bytes mode = {(const uint8_t *)e->mode, e->mode != NULL ? strlen(e->mode) : 0};
    event_id_text(event_id_of(e), id);
    text_cstr(out, "{\"gid\":");
    json_quote(out, xid);
    text_printf(out, ",\"status\":\"%s\"", dtm_status(e));
    put(out, "branch", e->url.size > 0 ? e->url : e->branch);
    put(out, "error", call ? e->detail : e->error);
    text_printf(out, ",\"retry_count\":%u,\"alert\":\"%s\",\"eventId\":\"%s\"", call ? e->failures : 0, alert,
                id);
    put(out, "namespace", ns);
    put(out, "branchName", e->branch);
    put(out, "mode", mode);
    put(out, "businessType", e->business_type);
    put(out, "reason", call ? (struct assent_bytes){NULL, 0} : e->detail);
    text_printf(out, ",\"op\":\"%s\",\"timeMs\":%lld}", e->op != NULL ? e->op : "",
                (long long)(e->time_us / 1000));
}

/* ---- sending, one at a time ---- */

static void send_first(struct alerts *al);

static void on_timer(uv_timer_t *timer)
{
    send_first(timer->data);
}

static void drop_first(struct alerts *al)
{
    free((void *)(uintptr_t)al->queue[al->first].base);
    al->first = (al->first + 1) % ALERT_QUEUE_MAX;
    al->queued--;
    al->tries = 0;
}

/* A try ended without the answer that ends the matter. */
static void again_or_never(struct alerts *al, const char *why)
{
    if (al->tries < ALERT_TRIES) {
        uv_timer_start(&al->timer, on_timer, (uint64_t)ALERT_RETRY_MS << (al->tries - 1), 0);
        return;
    }
    log_write(&al->node->logger, LOG_WARNING, "alert_failed", "tries=%u err=%s", al->tries, why);
    al->failed++;
    drop_first(al);
    if (al->queued > 0)
        uv_timer_start(&al->timer, on_timer, 0, 0);
}

static void on_answer(struct caller_call *call, int status, const char *error)
{
    (void)status;
    struct alerts *al = call->data;
    al->calling = false;
    if (error[0] != 0) {
        again_or_never(al, error);
        return;
    }
    al->sent++;
    drop_first(al);
    if (al->queued > 0)
        uv_timer_start(&al->timer, on_timer, 0, 0);
}

static void send_first(struct alerts *al)
{
    static const struct caller_header type = {{(const uint8_t *)"Content-Type", 12},
                                              {(const uint8_t *)"application/json", 16}};
    assert(al->queued > 0 && !al->calling);
    const char *url = al->node->config->alert_url;
    struct caller_request request = {.url = {(const uint8_t *)url, strlen(url)},
                                     .body = al->queue[al->first],
                                     .headers = &type,
                                     .n_headers = 1,
                                     .timeout_ms = ALERT_TIMEOUT_MS};
    al->call.data = al;
    al->tries++;
    int status = caller_start(al->caller, &al->call, &request, on_answer);
    al->calling = status == ASSENT_OK;
    if (!al->calling)
        again_or_never(al, assent_error_name(status));
}

static void on_event(void *data, const struct sm_event *e)
{
    struct alerts *al = data;
    struct node *node = al->node;
    if (e == NULL || node->role != RAFTLOG_LEADER || !node->ready)
        return;
    const char *alert = alert_of(e, node->config->alert_after);
    if (alert == NULL)
        return;
    struct text body;
    text_init(&body, ALERT_BYTES_MAX);
    put_alert(&body, e, alert);
    if (al->queued == ALERT_QUEUE_MAX || body.overflow) {
        al->dropped++;
        text_close(&body);
        return;
    }
    /* the text's memory is the queue's from here on */
    al->queue[(al->first + al->queued++) % ALERT_QUEUE_MAX] =
        (struct assent_bytes){(const uint8_t *)body.base, body.size};
    if (al->queued == 1)
        uv_timer_start(&al->timer, on_timer, 0, 0);
}

int alerts_open(struct alerts *al, struct node *node)
{
    const struct config *c = node->config;
    struct caller_config config = {.ca_file = c->tls_ca_file, .insecure = c->branch_insecure};
    *al = (struct alerts){.node = node};
    if (c->alert_url == NULL)
        return ASSENT_OK;
    al->queue = calloc(ALERT_QUEUE_MAX, sizeof *al->queue);
    if (al->queue == NULL)
        return ASSENT_NOMEM;
    int status = caller_open(&al->caller, node->loop, &config);
    if (status != ASSENT_OK) {
        free(al->queue);
        al->caller = NULL;
        return status;
    }
    uv_timer_init(node->loop, &al->timer);
    al->timer.data = al;
    events_listen(&node->events, &al->listener, on_event, al);
    return ASSENT_OK;
}

static void forget(void *data)
{
    (void)data;
}

void alerts_close(struct alerts *al)
{
    if (al->caller == NULL)
        return;
    events_unlisten(&al->node->events, &al->listener);
    while (al->queued > 0)
        drop_first(al);
    free(al->queue);
    uv_close((uv_handle_t *)&al->timer, NULL);
    caller_close(al->caller, forget, NULL);
    al->caller = NULL;
}

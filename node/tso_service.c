/* Timestamps of the leader: windows in the log, grants in memory, leadership confirmed per batch.
 *
 * A grant is unique because it lies in a window this leader had committed, and every later leader starts
 * above the committed bound.  It is *strict* (larger than everything answered before the request came)
 * because a quorum confirmed after the request came that nobody else led.  Without that check a deposed
 * leader could still hand out numbers of its window after the next leader has answered larger ones. Source:
 * reference of Percolator's and TiDB PD's oracles; Raft dissertation 6.4 for the confirmation. */
#include "tso_service.h"

#include <assert.h>

#include "command.h"
#include "node.h"

/* How long a confirmed request waits for a window. */
#define GRANT_WAIT_MS 2000
/* How often a grant that found no room is tried again: time must pass, or a window commit. */
#define GRANT_RETRY_MS 1

static void list_init(struct tso_list *list)
{
    *list = (struct tso_list){.last = &list->first};
}

static void list_push(struct tso_list *list, struct tso_wait *wait)
{
    wait->next = NULL;
    *list->last = wait;
    list->last = &wait->next;
}

static struct tso_wait *list_pop(struct tso_list *list)
{
    struct tso_wait *wait = list->first;
    if (wait != NULL) {
        list->first = wait->next;
        if (list->first == NULL)
            list->last = &list->first;
    }
    return wait;
}

static void list_move(struct tso_list *to, struct tso_list *from)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    list_init(from);
}

/* Answer everybody who is in the list now; a callback may queue again. */
static void list_fail(struct tso_list *list, int status)
{
    struct tso_list now;
    list_init(&now);
    list_move(&now, list);
    for (struct tso_wait *wait; (wait = list_pop(&now)) != NULL;)
        wait->cb(wait, status, 0);
}

static uint64_t now_ms(void)
{
    return (uint64_t)(node_now_us() / 1000);
}

static void grant(struct tso_service *s);

static void on_timer(uv_timer_t *timer)
{
    grant(timer->data);
}

void tso_service_init(struct tso_service *s, struct node *node)
{
    *s = (struct tso_service){.node = node};
    list_init(&s->gathered);
    list_init(&s->confirming);
    list_init(&s->granting);
    s->read.data = s;
    s->window.data = s;
    uv_timer_init(node->loop, &s->timer);
    s->timer.data = s;
}

void tso_service_fail(struct tso_service *s, int status)
{
    list_fail(&s->gathered, status);
    if (!s->reading)
        list_fail(&s->confirming, status);
    list_fail(&s->granting, status);
}

void tso_service_close(struct tso_service *s)
{
    tso_service_fail(s, ASSENT_SHUTDOWN);
    uv_close((uv_handle_t *)&s->timer, NULL);
}

/* ---- windows ---- */

static void on_window(struct raftlog_propose *req, int status, struct assent_bytes result)
{
    struct tso_service *s = req->data;
    s->proposing = false;
    if (s->term == 0 || s->term != s->window_term || status != ASSENT_OK)
        return; /* the leadership that asked has ended, or the next turn asks again */
    struct codec_arena arena;
    codec_arena_init(&arena);
    struct result r;
    bool decoded = result_decode(&arena, result, &r);
    int code = decoded ? r.code : ASSENT_MALFORMED;
    codec_arena_close(&arena);
    if (code == ASSENT_OK) {
        s->windows++;
        tso_window_committed(&s->tso, s->window_bound);
    } else if (node_sm_enter(s->node)) { /* WINDOW_PASSED: start behind the newest one */
        tso_begin(&s->tso, sm_tso_bound(s->node->sm), now_ms());
        node_sm_leave(s->node);
    }
    grant(s);
}

static void propose_window(struct tso_service *s)
{
    if (s->proposing || s->term == 0)
        return;
    uint64_t bound = tso_want_window(&s->tso, now_ms());
    if (bound == 0)
        return;
    struct codec_writer w;
    codec_writer_init(&w);
    struct command_session none = {.kind = SESSION_NONE};
    command_begin(&w, COMMAND_TSO_WINDOW, &none, 1);
    codec_uint(&w, bound);
    if (raftlog_propose(s->node->log, &s->window, codec_written(&w), on_window) == ASSENT_OK) {
        s->proposing = true;
        s->window_bound = bound;
        s->window_term = s->term;
    }
    codec_writer_close(&w);
}

/* ---- grants ---- */

static void grant(struct tso_service *s)
{
    while (s->granting.first != NULL) {
        struct tso_wait *wait = s->granting.first;
        uint64_t first;
        if (s->term == 0 || wait->term != s->term) {
            list_pop(&s->granting);
            wait->cb(wait, ASSENT_NOT_LEADER, 0);
            continue;
        }
        if (!tso_grant(&s->tso, now_ms(), wait->count, &first)) {
            if (uv_now(s->node->loop) < wait->deadline_ms)
                break;
            list_pop(&s->granting);
            wait->cb(wait, ASSENT_BUSY, 0);
            continue;
        }
        list_pop(&s->granting);
        s->granted += wait->count;
        wait->cb(wait, ASSENT_OK, first);
    }
    propose_window(s);
    if (s->granting.first != NULL && !uv_is_closing((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, on_timer, GRANT_RETRY_MS, 0);
}

static void on_confirmed(struct read_wait *read, int status)
{
    struct tso_service *s = read->data;
    s->reading = false;
    /* Confirmed by this node, as leader of the very leadership whose window we grant from. */
    if (status == ASSENT_OK && (!read->local || read->term != s->term))
        status = ASSENT_NOT_LEADER;
    if (status != ASSENT_OK) {
        list_fail(&s->confirming, status);
    } else {
        s->batches++;
        list_move(&s->granting, &s->confirming);
        grant(s);
    }
    if (s->gathered.first != NULL)
        node_wake(s->node);
}

int tso_service_wait(struct tso_service *s, struct tso_wait *wait, uint32_t count, bool strict,
                     tso_wait_cb cb)
{
    if (count == 0 || count > ASSENT_COUNT_MAX)
        return ASSENT_INVALID;
    if (s->term == 0)
        return s->node->role == RAFTLOG_LEADER ? ASSENT_NO_LEADER : ASSENT_NOT_LEADER;
    wait->count = count;
    wait->term = s->term;
    wait->cb = cb;
    wait->deadline_ms = uv_now(s->node->loop) + GRANT_WAIT_MS;
    list_push(strict ? &s->gathered : &s->granting, wait);
    node_wake(s->node);
    return ASSENT_OK;
}

void tso_service_turn(struct tso_service *s)
{
    if (s->gathered.first != NULL && !s->reading) {
        list_move(&s->confirming, &s->gathered);
        s->reading = true;
        read_gate_wait(&s->node->reads, &s->read, on_confirmed);
    }
    if (s->granting.first != NULL)
        grant(s);
}

void tso_service_role(struct tso_service *s)
{
    const struct node *node = s->node;
    bool leads = node->role == RAFTLOG_LEADER && node->ready;
    if (leads && s->term != node->term) {
        s->term = node->term;
        if (node_sm_enter(s->node)) {
            tso_begin(&s->tso, sm_tso_bound(node->sm), now_ms());
            node_sm_leave(s->node);
        }
        propose_window(s);
    } else if (!leads && s->term != 0) {
        s->term = 0;
        tso_end(&s->tso);
        tso_service_fail(s, ASSENT_NOT_LEADER);
    }
}

/* Hosts: each has its share of slots and of memory, and those that can start a call take turns.
 *
 * A host that does not answer is left alone for a while:
 *
 *   CLOSED --- `breaker_failures` calls in a row without an answer ---> OPEN --- `breaker_open_ms` --->
 * HALF_OPEN ^                                                                  ^ | | '--------- no answer
 * -----------|
 *     '----------------------------------- any answer ---------------------------------------------------'
 *
 * CLOSED: calls are made.  OPEN: none are.  HALF_OPEN: one at a time.
 *
 * Work that is due beyond a host's share of the table (all of it while OPEN) is passed over; of it only the
 * time of the first piece is remembered, and a walk goes back there when there is room (executor.c).  So a
 * host with any amount of due work costs the memory of its share, and one that is OPEN its name. */
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"
#include "mark.h"

#define HOSTS_IDLE_MAX 1024u /* hosts only remembered for their failures */
#define SHARE          1024u /* pieces of one host in the table */
#define SHARE_CROWDED  64u   /* when the table is half full */
static_assert(SHARE + SHARE_CROWDED < KNOWN_MAX / 2, "a host leaves room for others");

/* ---- lists: a host is in one at most ---- */

static void list_move(struct executor *ex, struct host *h, enum host_list to)
{
    if (h->list == to)
        return;
    struct host_ends *from = &ex->lists[h->list], *ends = &ex->lists[to];
    if (h->list != HOSTS_NOWHERE) {
        *(h->list_prev != NULL ? &h->list_prev->list_next : &from->first) = h->list_next;
        *(h->list_next != NULL ? &h->list_next->list_prev : &from->last) = h->list_prev;
        from->n--;
    }
    h->list = to;
    h->list_prev = h->list_next = NULL;
    if (to == HOSTS_NOWHERE)
        return;
    h->list_prev = ends->last;
    *(ends->last != NULL ? &ends->last->list_next : &ends->first) = h;
    ends->last = h;
    ends->n++;
}

/* ---- finding ---- */

/* Scheme and authority of a URL. */
static struct assent_bytes host_of(struct assent_bytes url)
{
    const uint8_t *p = memmem(url.base, url.size, "://", 3);
    if (p == NULL)
        return url;
    size_t n = (size_t)(p - url.base) + 3;
    while (n < url.size && url.base[n] != '/' && url.base[n] != '?' && url.base[n] != '#')
        n++;
    return (struct assent_bytes){url.base, n};
}

static struct host **host_slot(struct executor *ex, const char *name, size_t size)
{
    struct host **slot = &ex->hosts[hash_bytes(2166136261u, name, size) & (HOST_TABLE_SIZE - 1)];
    while (*slot != NULL && ((*slot)->name_size != size || memcmp((*slot)->name, name, size) != 0))
        slot = &(*slot)->next;
    return slot;
}

static void host_forget(struct executor *ex, struct host *h)
{
    assert(h->calling == 0 && h->queued == 0 && h->skipped_us == INT64_MAX && !h->ready);
    struct host **slot = host_slot(ex, h->name, h->name_size);
    assert(*slot == h);
    *slot = h->next;
    list_move(ex, h, HOSTS_NOWHERE);
    ex->metrics.hosts--;
    ex->metrics.hosts_half_open -= h->breaker == BREAKER_HALF_OPEN;
    free(h);
}

struct host *host_get(struct executor *ex, struct assent_bytes url)
{
    char name[ASSENT_URL_BYTES_MAX];
    struct assent_bytes text = host_of(url);
    assert(text.size <= sizeof(name));
    for (size_t i = 0; i < text.size; i++) {
        char b = (char)text.base[i];
        name[i] = b >= 'A' && b <= 'Z' ? (char)(b - 'A' + 'a') : b;
    }
    struct host **slot = host_slot(ex, name, text.size);
    if (*slot != NULL)
        return *slot;
    if (ex->metrics.hosts >= ex->config.hosts_max) {
        if (ex->lists[HOSTS_IDLE].first == NULL)
            return NULL;
        host_forget(ex, ex->lists[HOSTS_IDLE].first);
        slot = host_slot(ex, name, text.size);
    }
    struct host *h = calloc(1, sizeof(*h) + text.size);
    assert(h != NULL);
    h->skipped_us = INT64_MAX;
    h->name_size = (uint32_t)text.size;
    memcpy(h->name, name, text.size);
    *slot = h;
    ex->metrics.hosts++;
    return h;
}

bool hosts_full(const struct executor *ex)
{
    return ex->metrics.hosts >= ex->config.hosts_max && ex->lists[HOSTS_IDLE].first == NULL;
}

/* ---- shares ---- */

static uint32_t host_share(const struct executor *ex, const struct host *h)
{
    uint32_t share = ex->known < KNOWN_MAX / 2 ? SHARE : SHARE_CROWDED;
    if (h->breaker == BREAKER_OPEN)
        return 0;
    if (h->breaker == BREAKER_HALF_OPEN)
        return 1;
    return share > ex->config.per_host_max ? share : ex->config.per_host_max;
}

bool host_has_room(const struct executor *ex, const struct host *h)
{
    return h->calling + h->queued < host_share(ex, h);
}

bool host_has_slot(const struct executor *ex, const struct host *h)
{
    return h->calling < (h->breaker == BREAKER_CLOSED      ? ex->config.per_host_max
                         : h->breaker == BREAKER_HALF_OPEN ? 1
                                                           : 0);
}

static void ready_update(struct executor *ex, struct host *h)
{
    bool ready = h->first != NULL && host_has_slot(ex, h);
    if (ready && !h->ready) {
        if (ex->ready == NULL) {
            ex->ready = h->ready_prev = h->ready_next = h;
        } else { /* behind all others */
            h->ready_next = ex->ready;
            h->ready_prev = ex->ready->ready_prev;
            h->ready_prev->ready_next = h;
            ex->ready->ready_prev = h;
        }
    } else if (!ready && h->ready) {
        if (ex->ready == h)
            ex->ready = h->ready_next == h ? NULL : h->ready_next;
        h->ready_prev->ready_next = h->ready_next;
        h->ready_next->ready_prev = h->ready_prev;
    }
    h->ready = ready;
}

void host_update(struct executor *ex, struct host *h)
{
    uint32_t has = h->calling + h->queued;
    ready_update(ex, h);
    if (h->breaker == BREAKER_OPEN || h->list == HOSTS_SEEKING)
        return;
    if (h->skipped_us != INT64_MAX) {
        list_move(ex, h, has <= host_share(ex, h) / 4 ? HOSTS_HUNGRY : HOSTS_NOWHERE);
    } else if (has > 0) {
        list_move(ex, h, HOSTS_NOWHERE);
    } else if (h->failures > 0) {
        list_move(ex, h, HOSTS_IDLE);
        if (ex->lists[HOSTS_IDLE].n > HOSTS_IDLE_MAX)
            host_forget(ex, ex->lists[HOSTS_IDLE].first);
    } else {
        host_forget(ex, h);
    }
}

void host_skip(struct executor *ex, struct host *h, int64_t due_us, bool refill)
{
    if (due_us < h->skipped_us)
        h->skipped_us = due_us;
    if (refill && h->list == HOSTS_SEEKING) /* it has what it sought */
        list_move(ex, h, HOSTS_NOWHERE);
    host_update(ex, h);
}

int64_t hosts_seek(struct executor *ex)
{
    struct host *h;
    int64_t from_us = INT64_MAX;
    while ((h = ex->lists[HOSTS_HUNGRY].first) != NULL) {
        if (h->skipped_us < from_us)
            from_us = h->skipped_us;
        h->skipped_us = INT64_MAX;
        list_move(ex, h, HOSTS_SEEKING);
    }
    return from_us;
}

void hosts_sought(struct executor *ex)
{
    struct host *h;
    while ((h = ex->lists[HOSTS_SEEKING].first) != NULL) {
        list_move(ex, h, HOSTS_NOWHERE);
        host_update(ex, h);
    }
}

/* ---- the queue ---- */

void host_push(struct executor *ex, struct host *h, struct call *c)
{
    c->host = h;
    c->queue_next = NULL;
    c->queue_prev = h->last;
    *(h->last != NULL ? &h->last->queue_next : &h->first) = c;
    h->last = c;
    h->queued++;
    ex->metrics.queued++;
    host_update(ex, h);
}

static void queue_remove(struct executor *ex, struct host *h, struct call *c)
{
    assert(c->state == CALL_QUEUED && c->host == h && h->queued > 0);
    *(c->queue_prev != NULL ? &c->queue_prev->queue_next : &h->first) = c->queue_next;
    *(c->queue_next != NULL ? &c->queue_next->queue_prev : &h->last) = c->queue_prev;
    c->queue_next = c->queue_prev = NULL;
    c->host = NULL;
    h->queued--;
    ex->metrics.queued--;
}

struct call *host_pop(struct executor *ex, struct host *h)
{
    struct call *c = h->first;
    assert(c != NULL);
    queue_remove(ex, h, c);
    return c;
}

void host_drop(struct executor *ex, struct call *c)
{
    struct host *h = c->host;
    queue_remove(ex, h, c);
    host_update(ex, h);
    call_free(c);
}

/* ---- the breaker ---- */

static void breaker_move(struct executor *ex, struct host *h, enum breaker to)
{
    ex->metrics.hosts_open -= h->breaker == BREAKER_OPEN;
    ex->metrics.hosts_half_open -= h->breaker == BREAKER_HALF_OPEN;
    h->breaker = to;
    ex->metrics.hosts_open += to == BREAKER_OPEN;
    ex->metrics.hosts_half_open += to == BREAKER_HALF_OPEN;
}

/* What waits in memory goes back to being due work in the store. */
static void breaker_open(struct executor *ex, struct host *h)
{
    MARK_IF(BREAKER_OPENS_AGAIN, h->breaker == BREAKER_HALF_OPEN);
    MARK(BREAKER_OPENS);
    breaker_move(ex, h, BREAKER_OPEN);
    ex->metrics.breaker_opened++;
    h->open_until_ms = uv_now(ex->config.loop) + ex->config.breaker_open_ms;
    if (h->list == HOSTS_SEEKING && ex->refill_us < h->skipped_us)
        h->skipped_us = ex->refill_us;
    list_move(ex, h, HOSTS_OPEN);
    while (h->first != NULL) {
        struct call *c = h->first;
        if (c->due_us < h->skipped_us)
            h->skipped_us = c->due_us;
        queue_remove(ex, h, c);
        call_free(c);
    }
    ready_update(ex, h);
    wake_in(ex, ex->config.breaker_open_ms);
}

void host_judge(struct executor *ex, struct host *h, bool answered)
{
    assert(h->calling > 0); /* else it might be forgotten here */
    if (ex->config.breaker_failures == 0)
        return;
    if (answered) {
        h->failures = 0;
        if (h->breaker == BREAKER_CLOSED)
            return;
        if (h->breaker == BREAKER_OPEN)
            list_move(ex, h, HOSTS_NOWHERE);
        MARK(BREAKER_CLOSES);
        breaker_move(ex, h, BREAKER_CLOSED);
        host_update(ex, h);
        return;
    }
    h->failures += h->failures < UINT32_MAX;
    if (h->breaker == BREAKER_HALF_OPEN ||
        (h->breaker == BREAKER_CLOSED && h->failures >= ex->config.breaker_failures))
        breaker_open(ex, h);
}

void hosts_turn(struct executor *ex)
{
    struct host *h; /* in the order in which they opened: their time is the same */
    uint64_t now_ms = uv_now(ex->config.loop);
    while ((h = ex->lists[HOSTS_OPEN].first) != NULL && h->open_until_ms <= now_ms) {
        breaker_move(ex, h, BREAKER_HALF_OPEN);
        list_move(ex, h, HOSTS_NOWHERE);
        host_update(ex, h);
    }
    if (h != NULL)
        wake_in(ex, h->open_until_ms - now_ms);
}

void hosts_clear(struct executor *ex)
{
    for (uint32_t i = 0; i < HOST_TABLE_SIZE; i++) {
        struct host *next;
        for (struct host *h = ex->hosts[i]; h != NULL; h = next) {
            next = h->next;
            free(h);
        }
        ex->hosts[i] = NULL;
    }
    memset(ex->lists, 0, sizeof(ex->lists));
    ex->ready = NULL;
    ex->metrics.hosts = ex->metrics.hosts_open = ex->metrics.hosts_half_open = 0;
}

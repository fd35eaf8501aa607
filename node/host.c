/* Queues of calls by host and port: each has its share of slots, and those that can start one take turns. */
#include <stdlib.h>
#include <string.h>

#include "executor_private.h"

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
    if (*slot == NULL) {
        struct host *h = calloc(1, sizeof(*h) + text.size);
        assert(h != NULL);
        h->name_size = (uint32_t)text.size;
        memcpy(h->name, name, text.size);
        *slot = h;
        ex->metrics.hosts++;
    }
    return *slot;
}

void host_update(struct executor *ex, struct host *h)
{
    bool ready = h->first != NULL && h->calling < ex->config.per_host_max;
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
    if (h->calling > 0 || h->queued > 0)
        return;
    struct host **slot = host_slot(ex, h->name, h->name_size);
    assert(*slot == h);
    *slot = h->next;
    ex->metrics.hosts--;
    free(h);
}

void host_push(struct executor *ex, struct host *h, struct call *c)
{
    c->host = h;
    c->queue_next = NULL;
    if (h->last != NULL)
        h->last->queue_next = c;
    else
        h->first = c;
    h->last = c;
    h->queued++;
    ex->metrics.queued++;
    host_update(ex, h);
}

struct call *host_pop(struct executor *ex, struct host *h)
{
    struct call *c = h->first;
    assert(c != NULL && c->state == CALL_QUEUED);
    h->first = c->queue_next;
    if (h->first == NULL)
        h->last = NULL;
    h->queued--;
    ex->metrics.queued--;
    return c;
}

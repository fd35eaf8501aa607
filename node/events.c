/* What happened to transactions lately, and who is told of what happens next. */
#include "events.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One event and its texts behind it, in one piece. */
struct event_record {
    struct sm_event event;
    size_t size;
    uint8_t bytes[];
};

/* ---- ids ---- */

int event_id_compare(struct event_id a, struct event_id b)
{
    if (a.position != b.position)
        return a.position < b.position ? -1 : 1;
    return a.number < b.number ? -1 : a.number > b.number;
}

void event_id_text(struct event_id id, char out[EVENT_ID_TEXT_MAX])
{
    snprintf(out, EVENT_ID_TEXT_MAX, "%llu.%u", (unsigned long long)id.position, id.number);
}

/* Decimal digits up to `max`; false: none, others, or too large. */
static bool take_decimal(struct assent_bytes text, uint64_t max, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.base[i] - '0';
        if (digit > 9 || *out > (max - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return text.size > 0;
}

bool event_id_parse(struct assent_bytes text, struct event_id *out)
{
    const uint8_t *dot = text.size > 0 ? memchr(text.base, '.', text.size) : NULL;
    uint64_t number;
    if (dot == NULL)
        return false;
    size_t head = (size_t)(dot - text.base);
    if (!take_decimal((struct assent_bytes){text.base, head}, UINT64_MAX, &out->position) ||
        !take_decimal((struct assent_bytes){dot + 1, text.size - head - 1}, UINT32_MAX, &number))
        return false;
    out->number = (uint32_t)number;
    return true;
}

struct event_id event_id_of(const struct sm_event *event)
{
    return (struct event_id){event->position, event->number};
}

struct event_id event_id_end(uint64_t index)
{
    return (struct event_id){assent_position(index + 1, 0) - 1, UINT32_MAX};
}

/* ---- the ring ---- */

void events_init(struct events *es, uint64_t kept, uint64_t applied)
{
    assert(kept > 0);
    *es = (struct events){.kept = kept, .floor = event_id_end(applied)};
    es->ring = calloc(kept, sizeof *es->ring);
    if (es->ring == NULL)
        abort();
}

static void drop_first(struct events *es)
{
    struct event_record **slot = &es->ring[es->first % es->kept];
    es->bytes -= (*slot)->size;
    es->floor = event_id_of(&(*slot)->event);
    free(*slot);
    *slot = NULL;
    es->first++;
}

void events_close(struct events *es)
{
    assert(es->listeners == NULL);
    while (es->first < es->end)
        drop_first(es);
    free(es->ring);
    es->ring = NULL;
}

static void keep_text(struct event_record *r, size_t *at, struct assent_bytes *text)
{
    if (text->size > 0)
        memcpy(r->bytes + *at, text->base, text->size);
    text->base = r->bytes + *at;
    *at += text->size;
}

void events_record(void *events, const struct sm_event *event)
{
    struct events *es = events;
    size_t texts = event->xid.size + event->business_type.size + event->branch.size + event->detail.size +
                   event->url.size + event->error.size;
    struct event_record *r = malloc(sizeof *r + texts);
    if (r == NULL)
        abort();
    r->event = *event;
    r->size = sizeof *r + texts;
    size_t at = 0;
    keep_text(r, &at, &r->event.xid);
    keep_text(r, &at, &r->event.business_type);
    keep_text(r, &at, &r->event.branch);
    keep_text(r, &at, &r->event.detail);
    keep_text(r, &at, &r->event.url);
    keep_text(r, &at, &r->event.error);
    assert(at == texts && r->size <= EVENTS_BYTES_MAX);
    assert(event_id_compare(event_id_of(event), es->floor) > 0);
    while (es->end - es->first == es->kept || es->bytes + r->size > EVENTS_BYTES_MAX)
        drop_first(es);
    es->ring[es->end % es->kept] = r;
    es->end++;
    es->bytes += r->size;
}

void events_gap(struct events *es, uint64_t index)
{
    while (es->first < es->end)
        drop_first(es);
    /* one sequence nobody can read: who has not passed it learns that it has lost something */
    es->first = ++es->end;
    es->floor = event_id_end(index);
    es->gaps++;
}

bool events_cover(const struct events *es, struct event_id id)
{
    return event_id_compare(id, es->floor) >= 0;
}

uint64_t events_after(const struct events *es, struct event_id id)
{
    uint64_t low = es->first, high = es->end;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (event_id_compare(event_id_of(&es->ring[mid % es->kept]->event), id) > 0)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

uint64_t events_end(const struct events *es)
{
    return es->end;
}

const struct sm_event *events_get(const struct events *es, uint64_t sequence)
{
    assert(sequence < es->end);
    return sequence < es->first ? NULL : &es->ring[sequence % es->kept]->event;
}

/* ---- listeners ---- */

void events_listen(struct events *es, struct event_listener *l, events_cb cb, void *data)
{
    assert(!l->listening);
    *l = (struct event_listener){.cb = cb, .data = data, .sequence = es->end, .listening = true};
    l->next = es->listeners;
    if (l->next != NULL)
        l->next->prev = l;
    es->listeners = l;
}

void events_unlisten(struct events *es, struct event_listener *l)
{
    if (!l->listening)
        return;
    l->listening = false;
    if (es->at == l)
        es->at = l->next;
    *(l->prev != NULL ? &l->prev->next : &es->listeners) = l->next;
    if (l->next != NULL)
        l->next->prev = l->prev;
}

bool events_pending(const struct events *es)
{
    return es->listeners != NULL && es->told < es->end;
}

/* The callback may end the listening, and with it the listener: it is not touched afterwards unless it is
 * the one at hand still. */
static void tell_one(struct events *es, struct event_listener *l, uint64_t end)
{
    es->at = l;
    while (es->at == l && l->listening && l->sequence < end) {
        if (l->sequence < es->first) {
            l->sequence = es->first < end ? es->first : end;
            l->cb(l->data, NULL);
        } else {
            l->cb(l->data, events_get(es, l->sequence++));
        }
    }
    if (es->at == l)
        es->at = l->next;
}

void events_turn(struct events *es)
{
    assert(!es->telling);
    uint64_t end = es->end;
    es->telling = true;
    for (es->at = es->listeners; es->at != NULL;)
        tell_one(es, es->at, end);
    es->telling = false;
    es->told = end;
}

/* What happened to transactions lately, and who is told of what happens next.
 *
 * The state machine tells of events while it applies entries; they are copied into a ring, and the end of the
 * loop's turn tells the listeners, outside any callback of the log: a listener may propose, answer and close.
 * An event's id is "<position>.<number>": the place of its command in the log and its number among the events
 * of that command.  Ids are the same on every node and grow, so who knows the last id it has seen goes on at
 * any node.  The ring is this process's memory only: it begins where the process began to apply, loses its
 * oldest events at its limits, and everything when the state is replaced by a snapshot.
 *
 * All on the loop thread. */
#ifndef NODE_EVENTS_H
#define NODE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "statemachine.h"

/* Memory of all kept events together: at the usual 200 to 300 bytes each, the default count fits. */
#define EVENTS_BYTES_MAX (64u * 1024 * 1024)
/* Longest id as text, with its end: two numbers and a dot. */
#define EVENT_ID_TEXT_MAX 32

/* The place of an event among all others. */
struct event_id {
    uint64_t position;
    uint32_t number;
};
/* Less than, equal to, greater than 0. */
int event_id_compare(struct event_id a, struct event_id b);
void event_id_text(struct event_id id, char out[EVENT_ID_TEXT_MAX]);
/* False: not an id. */
bool event_id_parse(struct assent_bytes text, struct event_id *out);
/* Behind every event of entry `index`, before every one of the next. */
struct event_id event_id_end(uint64_t index);
struct event_id event_id_of(const struct sm_event *event);

/* One event, borrowed until return; NULL: some were lost, so what the listener knows must be read anew. */
typedef void (*events_cb)(void *data, const struct sm_event *event);

/* Embed it, zeroed before its first use. */
struct event_listener {
    events_cb cb; /* private from here on */
    void *data;
    struct event_listener *next, *prev;
    uint64_t sequence; /* of the next event it is told */
    bool listening;
};

struct event_record;

struct events {
    /* private */
    struct event_record **ring; /* record of sequence s at s % kept */
    uint64_t kept;
    uint64_t first, end;                   /* sequences in the ring */
    uint64_t told;                         /* sequences below have been told to all listeners */
    size_t bytes;                          /* of all records */
    struct event_id floor;                 /* every event behind it is in the ring, or did not happen yet */
    uint64_t gaps;                         /* how often the state was replaced */
    struct event_listener *listeners, *at; /* `at`: told next, while telling */
    bool telling;
};

/* `kept`: how many events at most, 1 or more; `applied`: the last entry applied before the first event. */
void events_init(struct events *es, uint64_t kept, uint64_t applied);
void events_close(struct events *es);

/* For sm_on_event(), `events` a struct events. */
void events_record(void *events, const struct sm_event *event);
/* The state was replaced by one that includes entry `index`: what happened in between is not known. */
void events_gap(struct events *es, uint64_t index);
/* Is there something to tell?  Then events_turn() is wanted. */
bool events_pending(const struct events *es);
/* End of the turn: tell the listeners, each everything new in order. */
void events_turn(struct events *es);

/* From now on: every event applied after this call.  `cb` never fires inside. */
void events_listen(struct events *es, struct event_listener *l, events_cb cb, void *data);
/* Safe in any callback, and for one that does not listen. */
void events_unlisten(struct events *es, struct event_listener *l);

/* ---- reading the ring at the reader's own pace ---- */

/* Are all events behind `id` here, as far as this node has applied?  A later id than all is. */
bool events_cover(const struct events *es, struct event_id id);
/* Sequence of the first event behind `id`: events_end() when there is none yet. */
uint64_t events_after(const struct events *es, struct event_id id);
uint64_t events_end(const struct events *es);
/* Borrowed until the next entry is applied; NULL: lost (`sequence` < events_end()). */
const struct sm_event *events_get(const struct events *es, uint64_t sequence);

#endif /* NODE_EVENTS_H */

/* What the files of libassent share: a call, a session, the handle.  Nothing here is installed. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include <uv.h>

#include "assent/client.h"
#include "command.h"
#include "retry.h"
#include "transport.h"

/* ---- lists: a ring through the members, its head a member too */

struct ring {
    struct ring *next, *prev;
};
static inline void ring_init(struct ring *head)
{
    head->next = head->prev = head;
}
static inline bool ring_empty(const struct ring *head)
{
    return head->next == head;
}
static inline void ring_remove(struct ring *member)
{
    member->next->prev = member->prev;
    member->prev->next = member->next;
    ring_init(member);
}
static inline void ring_append(struct ring *head, struct ring *member)
{
    member->prev = head->prev;
    member->next = head;
    head->prev->next = member;
    head->prev = member;
}
static inline void ring_prepend(struct ring *head, struct ring *member)
{
    ring_append(head->next, member);
}

/* ---- requests (request.c) */

struct request_field {
    uint8_t *bytes; /* encoded value, or the members of a list */
    size_t size;
    uint32_t members;               /* of LIST, TEXTS, OBJECTS */
    struct assent_request *objects; /* of OBJECTS, in order */
    struct assent_request *last;
};

struct assent_request {
    const struct field *fields;
    uint32_t fields_n, type;
    bool query, stale;
    struct assent_request *next;   /* the next object of a list */
    struct request_field values[]; /* as many as `fields` */
};

struct assent_request *request_new(uint32_t type, bool query);
/* By position of command.h; our own code names only fields that exist. NULL texts and empty vectors are left
 * out. */
void request_uint(struct assent_request *r, uint32_t i, uint64_t value);
void request_bool(struct assent_request *r, uint32_t i, bool value);
void request_text(struct assent_request *r, uint32_t i, const char *value);
void request_json(struct assent_request *r, uint32_t i, const char *value);
void request_vector(struct assent_request *r, uint32_t i, const struct assent_vector *v);
/* Append the values up to the last one set; returns how many. */
uint32_t request_encode(const struct assent_request *r, struct codec_writer *w);

/* ---- replies (value.c) */

/* Fill `reply` from the body of a RESULT frame; the tree lives in `arena` and `body`.  `detail` takes the
 * sentence. False: not a result. */
bool reply_from_result(struct assent_reply *reply, const struct codec_node *list, char *detail,
                       size_t detail_size);
/* A reply that no node's answer stands behind. */
void reply_from_code(struct assent_reply *reply, int code);
/* A copy with memory of its own.  `body` is the RESULT frame behind `from`, or empty.  False: out of memory.
 */
bool reply_copy(struct assent_reply *to, const struct assent_reply *from, struct assent_bytes body);

/* ---- calls (client.c) */

enum call_kind { CALL_COMMAND, CALL_QUERY, CALL_TSO };

struct call {
    struct ring ring; /* in a queue of waiting calls, in `sent`, or in a timestamp frame */
    enum call_kind kind;
    uint32_t type; /* of command.h */
    uint32_t args_n;
    uint8_t *args; /* encoded arguments */
    size_t args_size;
    bool stale;
    bool on_wire;              /* sent on the present connection, unanswered */
    bool uncertain;            /* an earlier sending may have been carried out */
    int last_code;             /* why it waits again; 0: not tried */
    uint64_t client, sequence; /* its place in a session; sequence 0: none yet */
    uint32_t count;            /* of CALL_TSO */
    uint32_t slot;
    uint64_t id; /* of the last sending */
    uint64_t deadline_ms;
    uint32_t heap_at;
    assent_async_cb cb;
    void *data;
};

/* ---- sessions (session.c): which sequence numbers are out, which were answered */

/* Commands of a session under way at once; the state machine keeps so many unacknowledged replies and refuses
 * more (statemachine/session.h). */
#define SESSION_WINDOW 1024

enum session_state { SESSION_ABSENT, SESSION_OPENING, SESSION_READY };

struct session {
    enum session_state state;
    uint64_t client;                        /* id the cluster gave */
    uint64_t next;                          /* sequence of the next new command, from 1 */
    uint64_t acknowledged;                  /* every sequence <= it was answered or given up */
    uint64_t used_ms;                       /* when the cluster last confirmed a use */
    uint64_t open_id;                       /* frame id of the SESSION_OPEN under way */
    uint64_t answered[SESSION_WINDOW / 64]; /* bit s % WINDOW: s was answered */
};
void session_begin(struct session *s, uint64_t client, uint64_t now_ms);
/* Whether one more sequence fits behind the oldest unanswered one. */
bool session_has_room(const struct session *s);
uint64_t session_take(struct session *s);
void session_answered(struct session *s, uint64_t client, uint64_t sequence);

/* ---- timestamps (tso.c): waiting requests share frames */

#define TSO_FRAMES_MAX                                                                                       \
    4 /* under way at once: one travels, one is confirmed, one comes back, one to spare                      \
       */

struct tso_frame {
    uint64_t id; /* 0: free */
    struct ring calls;
};

/* ---- the link (link.c): which node, and how the conversation with it stands */

/*   IDLE -> CONNECTING -> GREETING -> READY        READY: this node leads, calls flow
 *     ^         |             |  \      |          WATCHING: no leader known; old answers only, then
 * elsewhere |         v             v   v     v
 *     +------ PAUSED <------ WATCHING <-+          PAUSED: no connection until `event_ms` */
enum link_state {
    LINK_IDLE,
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_READY,
    LINK_WATCHING,
    LINK_PAUSED,
    LINK_CLOSED
};

struct link {
    enum link_state state;
    struct transport *transport;
    char address[RETRY_ADDRESS_BYTES]; /* of the present attempt */
    char leader[RETRY_ADDRESS_BYTES];  /* where the leader is said to be; empty: unknown */
    uint32_t cursor;                   /* next endpoint of the list */
    uint32_t tries;                    /* in a row without reaching a leader */
    uint64_t event_ms;                 /* when the present state has lasted too long; UINT64_MAX: never */
    uint64_t heard_ms;                 /* last frame, or since when an answer is due */
    bool pinged;                       /* asked after a silence */
    bool leave;                        /* move once the present read is digested */
    int why;                           /* what a call that was never sent is told at its limit */
};

struct assent_async {
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_prepare_t prepare; /* runs while something is to be sent: a turn's calls leave together */
    uint32_t handles;     /* of ours, not closed yet */
    uint32_t transports;
    bool closing, in_pump;
    void (*closed)(void *data);
    void *closed_data;
    struct assent_options options; /* texts point into the two below */
    char name[ASSENT_NAME_BYTES_MAX + 1];
    char endpoints[ASSENT_ENDPOINTS_MAX][RETRY_ADDRESS_BYTES];
    uint32_t endpoints_n;

    struct call **slots; /* [inflight_max] */
    uint32_t *free_slots;
    uint32_t free_n;
    struct call **heap; /* by deadline */
    uint32_t pending;
    size_t pending_bytes;
    uint64_t generation;                   /* of frame ids */
    struct ring commands, queries, stamps; /* waiting, oldest first */
    struct ring sent;                      /* commands and queries on the wire, in the order of sending */
    struct tso_frame frames[TSO_FRAMES_MAX];
    uint64_t hold_until_ms; /* the node asked for patience */
    struct retry_backoff backoff, patience;
    struct session session;
    struct link link;
    struct codec_writer scratch;
    struct assent_bytes body; /* of the RESULT being delivered, for reply_copy() */
    char detail[512];
    struct assent_stats stats;
};

#define ID_SLOT_BITS  17
#define ID_SLOT_TSO   (1u << 16) /* slots from here on are timestamp frames */
#define ID_SLOT_OPEN  (ID_SLOT_TSO + TSO_FRAMES_MAX)
#define ID_SLOT_PLAIN (ID_SLOT_OPEN + 1) /* HELLO and PING: nobody waits */
static_assert(ASSENT_INFLIGHT_MAX <= ID_SLOT_TSO, "every call has a slot below the timestamp frames");
static_assert(ID_SLOT_PLAIN < 1u << ID_SLOT_BITS, "an id holds every slot");

uint64_t client_now(const struct assent_async *c);
uint64_t client_next_id(struct assent_async *c, uint32_t slot);
/* Something may be sent: do it at the end of this turn. */
void client_wake(struct assent_async *c);
/* Send what can be sent now. */
void client_pump(struct assent_async *c);
/* Set the timer to the next thing that falls due. */
void client_schedule(struct assent_async *c);
/* Give the answer and free the call. */
void client_finish(struct assent_async *c, struct call *call, const struct assent_reply *reply);
void client_fail(struct assent_async *c, struct call *call, int code);
/* A frame of the node that is no part of the handshake. */
void client_frame(struct assent_async *c, enum frame_kind kind, uint64_t id, const struct codec_node *list,
                  struct assent_bytes body);
/* The connection is gone: what was on the wire waits again, or is of unknown outcome. */
void client_requeue_all(struct assent_async *c);
/* Whether anything on the wire waits for an answer. */
bool client_expects(const struct assent_async *c);
void client_transport_gone(struct assent_async *c);

void tso_send(struct assent_async *c, struct codec_writer *w);
void tso_answer(struct assent_async *c, uint32_t frame, uint64_t id, uint64_t first, uint32_t count);
void tso_failed(struct assent_async *c, uint32_t frame, uint64_t id, int code);
void tso_requeue_all(struct assent_async *c);
bool tso_under_way(const struct assent_async *c);

/* A call waits: connect if we are not. */
void link_want(struct assent_async *c);
void link_timer(struct assent_async *c, uint64_t now_ms);
/* A node said who leads (empty: unknown) while it does not itself: go there after this read. */
void link_redirect(struct assent_async *c, struct assent_bytes leader);
/* The node did something useful. */
void link_proved(struct assent_async *c);
void link_close(struct assent_async *c);

/* Shared checks of options. */
int options_check(struct assent_async *c, const struct assent_options *options);

#endif /* CLIENT_INTERNAL_H */

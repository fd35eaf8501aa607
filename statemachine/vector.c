/* Vector clocks (Fidge 1988, Mattern 1989): what every member of a named clock has seen.
 *
 * The service keeps one vector per member.  `tick` is an event of the member; `sync` is an event that
 * received a stamp; `observe` takes a stamp's knowledge without an event.  Members may also tick on their
 * own: a counter first shown by somebody else's stamp is accepted and never handed out again.  Membership,
 * epochs and retirement: domain.h. */
#include "counters.h"
#include "domain.h"
#include "planted.h"
#include "row.h"

static struct assent_vector *stamp_of_counts(struct counters *s, const struct domain *d,
                                             const struct domain_counts *counts)
{
    s->vector = (struct assent_vector){s->room, 0, ASSENT_VECTOR_MEMBERS_MAX};
    for (uint32_t i = 0; i < d->n; i++) {
        if (counts->at[i] > 0) {
            s->room[s->vector.n++] = (struct assent_counter){d->members[i].name, counts->at[i]};
        }
    }
    bool sorted = assent_vector_sort(&s->vector);
    assert(sorted);
    return &s->vector;
}

static int twice(struct apply *a)
{
    return refuse(a, ASSENT_INVALID, "a member stands twice in the vector");
}

static int reply(struct apply *a, const struct domain *d, struct assent_bytes node,
                 const struct domain_counts *counts)
{
    struct counters s;
    codec_map(a->out, 4);
    codec_pair_text(a->out, "clock", d->clock);
    codec_pair_text(a->out, "node", node);
    codec_pair_uint(a->out, "epoch", d->epoch);
    counters_write(a->out, "vector", stamp_of_counts(&s, d, counts));
    return ASSENT_OK;
}

/* ---- a member's call: tick, sync, observe, join ---- */

struct call {
    struct apply *a;
    struct assent_bytes node;
    const struct assent_vector *received; /* or NULL; brought forward to the current epoch */
    uint32_t self;                        /* place of `node` */
    bool joined;                          /* by this call */
    uint32_t known;                       /* members before this call; later ones joined by it */
    struct domain_counts before, seen;    /* of self */
    struct domain_counts shown;           /* `received` by place */
};

static int retired(struct apply *a, struct assent_bytes name)
{
    return refuse(a, ASSENT_MEMBER_RETIRED, "%.*s has been retired; join makes it a member again",
                  (int)name.size, (const char *)name.base);
}

static int full(struct apply *a)
{
    return refuse(a, ASSENT_LIMIT, "a clock has at most %d members", ASSENT_VECTOR_MEMBERS_MAX);
}

/* Find the caller among the live members, or let it join: anybody on a first call, a retired one only by
 * `join`. */
static int call_member(struct call *c, struct domain *d, bool may_join, bool join)
{
    struct apply *a = c->a;
    uint64_t epoch, final;
    int32_t place = domain_find(d, c->node);
    c->known = d->n;
    c->joined = place < 0;
    if (place >= 0) {
        c->self = (uint32_t)place;
        if (!d->members[place].leaving) {
            return ASSENT_OK;
        }
        return join ? refuse(a, ASSENT_CONFLICT,
                             "%.*s is still leaving: %u members have not seen its last event",
                             (int)c->node.size, (const char *)c->node.base, d->members[place].pending)
                    : retired(a, c->node);
    }
    if (!may_join) {
        return refuse(a, ASSENT_NOT_FOUND, "%.*s is no member of this clock", (int)c->node.size,
                      (const char *)c->node.base);
    }
    if (!join && domain_dropped(d, a->txn, c->node, &epoch, &final)) {
        return retired(a, c->node);
    }
    place = domain_join(d, c->node);
    if (place < 0) {
        return full(a);
    }
    c->self = (uint32_t)place;
    return ASSENT_OK;
}

/* Give every entry of the received stamp its place; names nobody has heard of become members. */
static int call_receive(struct call *c, struct domain *d)
{
    for (uint32_t i = 0; i < c->received->n; i++) {
        struct assent_counter entry = c->received->entries[i];
        uint64_t epoch, final;
        int32_t place = domain_find(d, entry.member);
        if (place < 0) {
            if (domain_dropped(d, c->a->txn, entry.member, &epoch, &final)) {
                return retired(c->a, entry.member); /* the stamp is older than the epoch it names */
            }
            place = domain_join(d, entry.member);
            if (place < 0) {
                return full(c->a);
            }
        }
        const struct domain_member *m = &d->members[place];
        if (m->leaving && entry.count > m->final) {
            return refuse(c->a, ASSENT_MEMBER_RETIRED, "%.*s left with counter %llu, the stamp has %llu",
                          (int)m->name.size, (const char *)m->name.base, (unsigned long long)m->final,
                          (unsigned long long)entry.count);
        }
        c->shown.at[place] = entry.count;
    }
    return ASSENT_OK;
}

/* The stamp showed events of others that never came here: keep it for those members, so that their counters
 * are not handed out again and their retirement knows what the last event knew. */
static void call_keep_shown(struct call *c, struct domain *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        if (i == c->self || c->shown.at[i] <= c->before.at[i]) {
            continue; /* nothing the caller did not know */
        }
        if (i < c->known && c->shown.at[i] <= domain_counter(d, c->a->txn, i)) {
            continue; /* nothing the service did not know */
        }
        assert(!d->members[i].leaving);
        struct domain_counts kept;
        domain_counts_load(d, c->a->txn, DOMAIN_SHOWN, i, &kept);
        for (uint32_t j = 0; j < d->n; j++) {
            kept.at[j] = kept.at[j] > c->shown.at[j] ? kept.at[j] : c->shown.at[j];
        }
        domain_counts_save(d, c->a->txn, DOMAIN_SHOWN, i, &kept);
        d->dirty |= !d->members[i].shown;
        d->members[i].shown = true;
    }
}

/* The caller's own next counter lies above every counter of it that anybody has shown. */
static bool call_tick(struct call *c, const struct domain *d)
{
    uint64_t *own = &c->seen.at[c->self];
    if (d->members[c->self].shown) {
        uint64_t counter = domain_counter(d, c->a->txn, c->self);
        *own = counter > *own ? counter : *own;
    }
    if (*own >= COUNTER_MAX) {
        return false;
    }
    ++*own;
    return true;
}

enum { CALL_TICK = 1, CALL_MAY_JOIN = 2, CALL_JOIN = 4 };

/* `received` may be NULL. */
static int call_run(struct apply *a, struct domain *d, struct assent_bytes node,
                    const struct assent_vector *received, unsigned flags)
{
    struct call c = {.a = a, .node = node, .received = received};
    int rc = call_member(&c, d, (flags & CALL_MAY_JOIN) != 0, (flags & CALL_JOIN) != 0);
    if (rc == ASSENT_OK && received != NULL) {
        rc = call_receive(&c, d);
    }
    if (rc != ASSENT_OK) {
        return rc;
    }
    domain_seen(d, a->txn, c.self, &c.before);
    c.seen = c.before;
    for (uint32_t i = 0; received != NULL && i < d->n && !PLANTED(VECTOR_DEAF); i++) {
        c.seen.at[i] = c.shown.at[i] > c.seen.at[i] ? c.shown.at[i] : c.seen.at[i];
    }
    if ((flags & CALL_TICK) && !call_tick(&c, d)) {
        return ASSENT_OVERFLOW;
    }
    /* Nothing is refused from here on. */
    if (received != NULL) {
        call_keep_shown(&c, d);
    }
    domain_progress(d, c.self, &c.before, &c.seen);
    domain_counts_save(d, a->txn, DOMAIN_SEEN, c.self, &c.seen);
    domain_drop(d, a->txn, &c.seen);
    domain_save(d, a->txn);
    return reply(a, d, node, &c.seen);
}

static int call_with_stamp(struct apply *a, uint32_t stamp_field, uint32_t epoch_field,
                           struct assent_bytes clock, struct assent_bytes node, unsigned flags)
{
    struct domain d;
    struct counters s;
    bool behind = false;
    domain_load(&d, a->txn, clock);
    if (!counters_read(&s, codec_at(a->command->args, stamp_field))) {
        return twice(a);
    }
    uint64_t epoch = arg_uint(a->command, epoch_field, d.epoch);
    int rc = domain_forward(a, &d, &s.vector, epoch, d.epoch, &behind);
    return rc == ASSENT_OK ? call_run(a, &d, node, &s.vector, flags) : rc;
}

int vector_tick(struct apply *a)
{
    struct domain d;
    domain_load(&d, a->txn, arg_bytes(a->command, VECTOR_TICK_CLOCK));
    return call_run(a, &d, arg_bytes(a->command, VECTOR_TICK_NODE), NULL, CALL_TICK | CALL_MAY_JOIN);
}

int vector_sync(struct apply *a)
{
    return call_with_stamp(a, VECTOR_SYNC_RECEIVED, VECTOR_SYNC_EPOCH,
                           arg_bytes(a->command, VECTOR_SYNC_CLOCK), arg_bytes(a->command, VECTOR_SYNC_NODE),
                           CALL_TICK | CALL_MAY_JOIN);
}

int vector_observe(struct apply *a)
{
    return call_with_stamp(a, VECTOR_OBSERVE_SEEN, VECTOR_OBSERVE_EPOCH,
                           arg_bytes(a->command, VECTOR_OBSERVE_CLOCK),
                           arg_bytes(a->command, VECTOR_OBSERVE_NODE), 0);
}

/* Joining again while a member changes nothing. */
int vector_join(struct apply *a)
{
    struct domain d;
    domain_load(&d, a->txn, arg_bytes(a->command, VECTOR_JOIN_CLOCK));
    return call_run(a, &d, arg_bytes(a->command, VECTOR_JOIN_NODE), NULL, CALL_MAY_JOIN | CALL_JOIN);
}

static int retire_reply(struct apply *a, const struct domain *d, struct assent_bytes node, uint64_t final,
                        uint32_t waiting)
{
    codec_map(a->out, 6);
    codec_pair_text(a->out, "clock", d->clock);
    codec_pair_text(a->out, "node", node);
    codec_pair_uint(a->out, "epoch", d->epoch);
    codec_pair_uint(a->out, "final", final);
    codec_pair_cstr(a->out, "status", waiting > 0 ? "LEAVING" : "RETIRED");
    codec_pair_uint(a->out, "waiting", waiting);
    return ASSENT_OK;
}

/* Retiring twice changes nothing. */
int vector_retire(struct apply *a)
{
    struct domain d;
    struct assent_bytes node = arg_bytes(a->command, VECTOR_RETIRE_NODE);
    domain_load(&d, a->txn, arg_bytes(a->command, VECTOR_RETIRE_CLOCK));
    int32_t place = domain_find(&d, node);
    if (place < 0) {
        uint64_t epoch, final;
        if (domain_dropped(&d, a->txn, node, &epoch, &final)) {
            return retire_reply(a, &d, node, final, 0);
        }
        return refuse(a, ASSENT_NOT_FOUND, "%.*s is no member of this clock", (int)node.size,
                      (const char *)node.base);
    }
    struct domain_member *m = &d.members[place];
    if (!m->leaving) {
        domain_retire(&d, a->txn, (uint32_t)place);
    }
    uint64_t final = m->final;
    uint32_t waiting = m->pending;
    domain_drop(&d, a->txn, NULL);
    domain_save(&d, a->txn);
    return retire_reply(a, &d, node, final, waiting);
}

/* ---- queries ---- */

static int unknown_clock(struct apply *a, struct assent_bytes clock)
{
    return refuse(a, ASSENT_NOT_FOUND, "no vector clock is named %.*s", (int)clock.size,
                  (const char *)clock.base);
}

/* The largest counter of every member, or what one member has seen. */
static int counts_for(struct apply *a, const struct domain *d, struct assent_bytes node,
                      struct domain_counts *out)
{
    if (node.size == 0) {
        for (uint32_t i = 0; i < d->n; i++) {
            out->at[i] = d->members[i].leaving ? d->members[i].final : domain_counter(d, a->txn, i);
        }
        return ASSENT_OK;
    }
    int32_t place = domain_find(d, node);
    if (place < 0) {
        return refuse(a, ASSENT_NOT_FOUND, "%.*s is no member of this clock", (int)node.size,
                      (const char *)node.base);
    }
    domain_seen(d, a->txn, (uint32_t)place, out);
    return ASSENT_OK;
}

/* Names of the live members that have not seen the last event of members[leaving]. */
static void write_waiting(struct apply *a, const struct domain *d, uint32_t leaving)
{
    codec_cstr(a->out, "waitingFor");
    codec_list(a->out, d->members[leaving].pending);
    for (uint32_t i = 0; i < d->n && d->members[leaving].pending > 0; i++) {
        struct domain_counts seen;
        if (d->members[i].leaving) {
            continue;
        }
        domain_seen(d, a->txn, i, &seen);
        if (seen.at[leaving] < d->members[leaving].final) {
            codec_text(a->out, d->members[i].name);
        }
    }
}

int query_vector(struct apply *a)
{
    struct domain d;
    struct domain_counts counts;
    struct counters s;
    struct assent_bytes node = arg_bytes(a->command, QUERY_VECTOR_NODE);
    domain_load(&d, a->txn, arg_bytes(a->command, QUERY_VECTOR_CLOCK));
    if (!d.exists) {
        return unknown_clock(a, d.clock);
    }
    int rc = counts_for(a, &d, node, &counts);
    if (rc != ASSENT_OK) {
        return rc;
    }
    if (node.size > 0) {
        return reply(a, &d, node, &counts);
    }
    codec_map(a->out, 5);
    codec_pair_text(a->out, "clock", d.clock);
    codec_pair_uint(a->out, "epoch", d.epoch);
    codec_pair_uint(a->out, "oldestEpoch", d.oldest);
    counters_write(a->out, "vector", stamp_of_counts(&s, &d, &counts));
    codec_cstr(a->out, "members");
    codec_list(a->out, d.n);
    for (uint32_t i = 0; i < d.n; i++) {
        codec_map(a->out, d.members[i].leaving ? 4 : 3);
        codec_pair_text(a->out, "node", d.members[i].name);
        codec_pair_cstr(a->out, "status", d.members[i].leaving ? "LEAVING" : "ACTIVE");
        codec_pair_uint(a->out, "counter", counts.at[i]);
        if (d.members[i].leaving) {
            write_waiting(a, &d, i);
        }
    }
    return ASSENT_OK;
}

static int compare_reply(struct apply *a, enum assent_order order)
{
    codec_map(a->out, 1);
    codec_pair_cstr(a->out, "order", assent_order_name(order));
    return ASSENT_OK;
}

/* Two vectors as they are: no clock, so no epochs. */
static int compare_plain(struct apply *a, struct counters *left, struct counters *right)
{
    const struct command *c = a->command;
    if (!arg_present(c, QUERY_VECTOR_COMPARE_B)) {
        return refuse(a, ASSENT_INVALID, "b is missing, and no clock is named to take it from");
    }
    if (arg_present(c, QUERY_VECTOR_COMPARE_NODE) ||
        arg_uint(c, QUERY_VECTOR_COMPARE_EPOCH_A, 0) != arg_uint(c, QUERY_VECTOR_COMPARE_EPOCH_B, 0)) {
        return refuse(a, ASSENT_INVALID, "epochs and members need the name of their clock");
    }
    if (!counters_read(right, codec_at(c->args, QUERY_VECTOR_COMPARE_B))) {
        return twice(a);
    }
    return compare_reply(a, assent_vector_compare(&left->vector, &right->vector));
}

/* Two stamps of one clock: the older one is brought forward to the epoch of the newer. */
static int compare_stamps(struct apply *a, const struct domain *d, struct assent_vector *left,
                          uint64_t left_epoch, struct assent_vector *right, uint64_t right_epoch)
{
    bool left_behind = false, right_behind = false;
    uint64_t newer = left_epoch > right_epoch ? left_epoch : right_epoch;
    if (newer > d->epoch) {
        return refuse(a, ASSENT_INVALID, "epoch %llu has not begun; the clock is in epoch %llu",
                      (unsigned long long)newer, (unsigned long long)d->epoch);
    }
    int rc = domain_forward(a, d, left, left_epoch, newer, &left_behind);
    if (rc == ASSENT_OK) {
        rc = domain_forward(a, d, right, right_epoch, newer, &right_behind);
    }
    if (rc != ASSENT_OK) {
        return rc;
    }
    enum assent_order order = assent_vector_compare(left, right);
    bool less = left_behind || order == ASSENT_BEFORE || order == ASSENT_CONCURRENT;
    bool more = right_behind || order == ASSENT_AFTER || order == ASSENT_CONCURRENT;
    return compare_reply(a, less && more ? ASSENT_CONCURRENT
                            : less       ? ASSENT_BEFORE
                            : more       ? ASSENT_AFTER
                                         : ASSENT_EQUAL);
}

int query_vector_compare(struct apply *a)
{
    const struct command *c = a->command;
    struct domain d;
    struct domain_counts counts;
    struct counters left, right;
    if (!counters_read(&left, codec_at(c->args, QUERY_VECTOR_COMPARE_A))) {
        return twice(a);
    }
    if (!arg_present(c, QUERY_VECTOR_COMPARE_CLOCK)) {
        return compare_plain(a, &left, &right);
    }
    domain_load(&d, a->txn, arg_bytes(c, QUERY_VECTOR_COMPARE_CLOCK));
    if (!d.exists) {
        return unknown_clock(a, d.clock);
    }
    uint64_t right_epoch = d.epoch;
    if (arg_present(c, QUERY_VECTOR_COMPARE_B)) {
        right_epoch = arg_uint(c, QUERY_VECTOR_COMPARE_EPOCH_B, d.epoch);
        if (!counters_read(&right, codec_at(c->args, QUERY_VECTOR_COMPARE_B))) {
            return twice(a);
        }
    } else {
        int rc = counts_for(a, &d, arg_bytes(c, QUERY_VECTOR_COMPARE_NODE), &counts);
        if (rc != ASSENT_OK) {
            return rc;
        }
        stamp_of_counts(&right, &d, &counts);
    }
    return compare_stamps(a, &d, &left.vector, arg_uint(c, QUERY_VECTOR_COMPARE_EPOCH_A, d.epoch),
                          &right.vector, right_epoch);
}

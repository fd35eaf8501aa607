/* Clients of vector clocks and of versions, held against the true graph of what happened (C17 of the
 * specification).
 *
 *   vector   an event of one's own, or one that received a stamp of somebody else; comparisons
 *   version  read an object and write it knowing what was read: nothing is lost, nothing that was overwritten
 *            knowingly comes back */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "assent/error.h"
#include "clients.h"

#define MEMBERS 10 /* clients; more take no part */
#define STAMPS  64 /* the newest are sent around and compared */

struct counters {
    uint64_t at[MEMBERS];
};

static void write_counters(struct codec_writer *w, const struct counters *v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < MEMBERS; i++)
        n += v->at[i] > 0;
    codec_map(w, n);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%u", i);
        if (v->at[i] > 0)
            codec_pair_uint(w, name, v->at[i]);
    }
}

/* False: there is a member nobody knows of. */
static bool read_counters(const struct codec_node *map, struct counters *v)
{
    *v = (struct counters){{0}};
    for (uint32_t i = 0; i < codec_size(map); i++) {
        struct assent_bytes name = codec_as_bytes(codec_key_at(map, i));
        if (name.size != 2 || name.base[0] != 'n' || name.base[1] < '0' || name.base[1] > '9')
            return false;
        v->at[name.base[1] - '0'] = codec_as_uint(codec_value_at(map, i));
    }
    return true;
}

static bool covers(const struct counters *a, const struct counters *b)
{
    for (uint32_t i = 0; i < MEMBERS; i++)
        if (a->at[i] < b->at[i])
            return false;
    return true;
}

static void print_counters(char *out, size_t size, const struct counters *v)
{
    size_t n = 0;
    for (uint32_t i = 0; i < MEMBERS && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, " %" PRIu64, v->at[i]);
}

/* ---- vector clocks ---- */

struct vectors {
    struct counters truth[MEMBERS]; /* what each member has seen */
    struct counters stamps[STAMPS];
    uint32_t n;
};

struct event {
    struct counters received, a, b;
    bool synced, compares;
};

static struct vectors *vectors_of(struct world *w)
{
    return clients_room(w, &client_vector, sizeof(struct vectors));
}

static const struct counters *some_stamp(struct client *c)
{
    const struct vectors *v = vectors_of(c->world);
    uint32_t n = v->n < STAMPS ? v->n : STAMPS;
    return &v->stamps[client_random(c, n)];
}

static void write_event(struct client *c, const struct event *e)
{
    char name[8];
    snprintf(name, sizeof name, "n%u", c->id);
    client_head(c, e->synced ? COMMAND_VECTOR_SYNC : COMMAND_VECTOR_TICK, e->synced ? 3 : 2);
    codec_cstr(&c->command, "clock");
    codec_cstr(&c->command, name);
    if (e->synced)
        write_counters(&c->command, &e->received);
}

static void vector_begin(struct client *c)
{
    const struct vectors *v = vectors_of(c->world);
    struct event *e = client_script(c, sizeof *e);
    uint64_t what = v->n == 0 ? 0 : client_random(c, 5);
    if (c->id >= MEMBERS) {
        client_done(c);
        return;
    }
    e->synced = what == 2 || what == 3;
    e->compares = what == 4;
    if (e->synced)
        e->received = *some_stamp(c);
    if (e->compares) {
        e->a = *some_stamp(c);
        e->b = *some_stamp(c);
        client_query(c, QUERY_VECTOR_COMPARE, QUERY_VECTOR_COMPARE_B + 1);
        codec_cstr(&c->command, "clock");
        write_counters(&c->command, &e->a);
        write_counters(&c->command, &e->b);
    } else {
        write_event(c, e);
    }
    client_send(c);
}

static const char *order_of(const struct counters *a, const struct counters *b)
{
    bool below = covers(b, a), above = covers(a, b);
    return below && above ? "EQUAL" : below ? "BEFORE" : above ? "AFTER" : "CONCURRENT";
}

static void judge_event(struct client *c, const struct event *e, const struct result *r)
{
    struct vectors *v = vectors_of(c->world);
    struct counters *truth = &v->truth[c->id], said;
    char is[128], must[128];
    for (uint32_t i = 0; i < MEMBERS; i++)
        if (e->received.at[i] > truth->at[i])
            truth->at[i] = e->received.at[i];
    truth->at[c->id]++;
    bool read = r->code == ASSENT_OK && read_counters(codec_get(r->data, "vector"), &said);
    if (!read || memcmp(&said, truth, sizeof said) != 0) {
        print_counters(is, sizeof is, read ? &said : &(struct counters){{0}});
        print_counters(must, sizeof must, truth);
        cluster_fail(c->world->cluster, "vector of n%u is%s, what happened is%s (code %d)", c->id, is, must,
                     r->code);
    }
    v->stamps[v->n++ % STAMPS] = *truth;
}

static void vector_answered(struct client *c, const struct result *r)
{
    const struct event *e = c->script;
    char order[16];
    if (!e->compares)
        judge_event(c, e, r);
    else if (strcmp(client_word(r, "order", order, sizeof order), order_of(&e->a, &e->b)) != 0)
        cluster_fail(c->world->cluster, "two stamps compare as %s, they are %s", order,
                     order_of(&e->a, &e->b));
    client_done(c);
}

const struct client_kind client_vector = {"vector", 2, vector_begin, vector_answered, NULL};

/* ---- versions ---- */

#define OBJECTS    2
#define WRITES_MAX 2048

struct write {
    uint32_t object, node;
    uint64_t counter;        /* 0: not answered yet */
    struct counters context; /* what its writer had read */
};
struct writes {
    uint32_t n;
    struct write writes[WRITES_MAX];
};
struct edit {
    uint32_t object, told, write; /* `told`: writes there were when it was sent */
    uint64_t answered[WRITES_MAX / 64];
    struct counters version; /* what was read */
};

enum { STEP_READ, STEP_WRITE };

static struct writes *writes_of(struct world *w)
{
    return clients_room(w, &client_version, sizeof(struct writes));
}

/* What is answered by now, a read must know. */
static void remember(struct client *c, struct edit *e)
{
    const struct writes *all = writes_of(c->world);
    e->told = all->n;
    for (uint32_t i = 0; i < all->n; i++)
        if (all->writes[i].counter > 0)
            e->answered[i / 64] |= UINT64_C(1) << i % 64;
}

static void version_begin(struct client *c)
{
    char name[8];
    struct edit *e = client_script(c, sizeof *e);
    if (c->id >= MEMBERS || writes_of(c->world)->n == WRITES_MAX) {
        client_done(c);
        return;
    }
    e->object = (uint32_t)client_random(c, OBJECTS);
    snprintf(name, sizeof name, "o%u", e->object);
    c->step = STEP_READ;
    remember(c, e);
    client_query(c, QUERY_VERSION, 1);
    codec_cstr(&c->command, name);
    client_send(c);
}

static bool among_siblings(const struct codec_node *siblings, const struct write *x)
{
    for (uint32_t i = 0; i < codec_size(siblings); i++) {
        struct counters dot;
        if (read_counters(codec_get(codec_at(siblings, i), "dot"), &dot) && dot.at[x->node] == x->counter)
            return true;
    }
    return false;
}

/* Has somebody written knowing of it?  `answered_only`: and was that answered when the read began? */
static bool overwritten(const struct writes *all, const struct edit *e, const struct write *x, bool answered)
{
    for (uint32_t i = 0; i < all->n; i++) {
        const struct write *y = &all->writes[i];
        bool counts = !answered || (i < e->told && (e->answered[i / 64] & UINT64_C(1) << i % 64) != 0);
        if (y->object == x->object && counts && y->context.at[x->node] >= x->counter)
            return true;
    }
    return false;
}

static void judge_object(struct client *c, const struct edit *e, const struct result *r)
{
    const struct writes *all = writes_of(c->world);
    const struct codec_node *siblings = codec_get(r->data, "siblings");
    for (uint32_t i = 0; i < e->told; i++) {
        const struct write *x = &all->writes[i];
        if (x->object != e->object || (e->answered[i / 64] & UINT64_C(1) << i % 64) == 0)
            continue;
        bool there = among_siblings(siblings, x);
        if (e->version.at[x->node] < x->counter || (!there && !overwritten(all, e, x, false)))
            cluster_fail(c->world->cluster, "o%u has lost the write n%u.%" PRIu64, x->object, x->node,
                         x->counter);
        if (there && overwritten(all, e, x, true))
            cluster_fail(c->world->cluster, "o%u shows n%u.%" PRIu64 ", which was overwritten knowingly",
                         x->object, x->node, x->counter);
    }
}

/* It thinks about what it has read, while others write. */
static void write_object(struct client *c)
{
    struct writes *all = writes_of(c->world);
    struct edit *e = c->script;
    if (all->n == WRITES_MAX) {
        client_done(c);
        return;
    }
    char object[8], node[8], value[32];
    snprintf(object, sizeof object, "o%u", e->object);
    snprintf(node, sizeof node, "n%u", c->id);
    snprintf(value, sizeof value, "%u", c->serial);
    e->write = all->n++;
    all->writes[e->write] = (struct write){e->object, c->id, 0, e->version};
    c->step = STEP_WRITE;
    client_head(c, COMMAND_VERSION_INCREMENT, VERSION_INCREMENT_CONTEXT + 1);
    codec_cstr(&c->command, object);
    codec_cstr(&c->command, node);
    codec_json(&c->command, client_text(value));
    write_counters(&c->command, &e->version);
    client_send(c);
}

static void judge_write(struct client *c, const struct edit *e, const struct result *r)
{
    struct writes *all = writes_of(c->world);
    struct counters dot;
    struct write *x = &all->writes[e->write];
    if (r->code != ASSENT_OK || !read_counters(codec_get(r->data, "dot"), &dot) || dot.at[c->id] == 0) {
        cluster_fail(c->world->cluster, "a write of o%u was refused with %d", e->object, r->code);
        return;
    }
    for (uint32_t i = 0; i < all->n; i++) {
        const struct write *y = &all->writes[i];
        if (y->object == x->object && y->node == x->node && y->counter >= dot.at[c->id])
            cluster_fail(c->world->cluster, "o%u: n%u writes %" PRIu64 " behind %" PRIu64, e->object, c->id,
                         dot.at[c->id], y->counter);
    }
    x->counter = dot.at[c->id];
}

static void version_answered(struct client *c, const struct result *r)
{
    struct edit *e = c->script;
    if (c->step == STEP_WRITE) {
        judge_write(c, e, r);
        client_done(c);
        return;
    }
    if (r->code == ASSENT_OK && !read_counters(codec_get(r->data, "version"), &e->version))
        cluster_fail(c->world->cluster, "o%u knows of a node nobody knows", e->object);
    judge_object(c, e, r);
    client_later(c, 1 + client_random(c, 300000), write_object);
}

const struct client_kind client_version = {"version", 2, version_begin, version_answered, NULL};

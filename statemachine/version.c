/* Version vectors of objects: writes with their causal context, conflicts, resolution, history.  The model is
 * in object.h; Parker et al. 1983, Preguica et al. 2010. */
#include "counters.h"
#include "object.h"
#include "row.h"

/* A history page stops here: what a frame holds, less room for its frame. */
#define PAGE_BYTES_MAX (4 * 1024 * 1024)

static int version_read(struct apply *a, uint32_t field, struct counters *v)
{
    return counters_read(v, codec_at(a->command->args, field))
               ? ASSENT_OK
               : refuse(a, ASSENT_INVALID, "a node stands twice in a version");
}

/* A dot is a map with one member. */
static int dot_read(struct apply *a, uint32_t field, struct dot *dot)
{
    const struct codec_node *map = codec_at(a->command->args, field);
    if (codec_size(map) != 1 || codec_as_uint(codec_value_at(map, 0)) == 0) {
        return refuse(a, ASSENT_INVALID, "a dot is one node with its counter, 1 or more");
    }
    *dot = (struct dot){codec_as_bytes(codec_key_at(map, 0)), codec_as_uint(codec_value_at(map, 0))};
    return ASSENT_OK;
}

/* ---- replies ---- */

static void write_dot(struct codec_writer *out, struct dot dot)
{
    codec_cstr(out, "dot");
    codec_map(out, 1);
    codec_text(out, dot.node);
    codec_uint(out, dot.counter);
}

static void write_record(struct apply *a, const struct object *o, uint64_t position, uint32_t more)
{
    struct record r;
    object_record(o, a->txn, position, &r);
    codec_map(a->out, 5 + more);
    write_dot(a->out, r.dot);
    counters_write(a->out, "past", &r.past);
    codec_pair_json(a->out, "value", object_value(o, a->txn, position));
    codec_pair_int(a->out, "timeUs", r.time_us);
    codec_pair_uint(a->out, "position", position);
}

static void write_siblings(struct apply *a, const struct object *o)
{
    codec_cstr(a->out, "siblings");
    codec_list(a->out, o->siblings_n);
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        write_record(a, o, o->siblings[i].position, 0);
    }
}

/* `version` is a context for the next write, and a context claims to have seen the values: so a reply that
 * carries it carries every sibling the caller did not write itself. */
static int reply_write(struct apply *a, const struct object *o, struct dot dot, const char *order)
{
    bool alone = o->siblings_n == 1 && o->siblings[0].position == a->position;
    codec_map(a->out, 4u + (order != NULL ? 1u : 0u) + (alone ? 0u : 1u));
    codec_pair_text(a->out, "object", o->name);
    write_dot(a->out, dot);
    if (order != NULL) {
        codec_pair_cstr(a->out, "order", order);
    }
    counters_write(a->out, "version", &o->seen);
    codec_pair_bool(a->out, "conflict", o->siblings_n > 1);
    if (!alone) {
        write_siblings(a, o);
    }
    return ASSENT_OK;
}

static int reply_object(struct apply *a, const struct object *o)
{
    codec_map(a->out, 6);
    codec_pair_text(a->out, "object", o->name);
    counters_write(a->out, "version", &o->seen);
    codec_pair_bool(a->out, "conflict", o->siblings_n > 1);
    codec_pair_cstr(a->out, "resolution", object_resolution_name(o->resolution));
    codec_pair_uint(a->out, "history", o->history);
    write_siblings(a, o);
    return ASSENT_OK;
}

/* ---- commands ---- */

/* What a node that names no context has seen: its own writes, and what it had seen when it made the last of
 * them.  `last` holds the record the names borrow from. */
static void own_context(struct apply *a, const struct object *o, struct assent_bytes node,
                        struct record *last, struct counters *v)
{
    v->vector = (struct assent_vector){v->room, 0, ASSENT_VECTOR_MEMBERS_MAX};
    uint64_t counter = object_counter(o, node);
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        const struct sibling *s = &o->siblings[i];
        if (s->dot.counter == counter && s->dot.node.size == node.size &&
            memcmp(s->dot.node.base, node.base, node.size) == 0) {
            object_record(o, a->txn, s->position, last);
            bool merged = assent_vector_merge(&v->vector, &last->past);
            assert(merged);
        }
    }
    /* A context of 1024 others leaves no room for the node; object_write() then refuses it by LIMIT. */
    if (counter > 0) {
        (void)assent_vector_set(&v->vector, node, counter);
    }
}

static int write_here(struct apply *a, struct object *o, enum object_op op, struct assent_bytes node,
                      const struct assent_vector *context, struct assent_bytes value, bool all)
{
    uint64_t counter = object_counter(o, node), claimed = assent_vector_get(context, node);
    counter = claimed > counter ? claimed : counter;
    if (counter >= COUNTER_MAX) {
        return ASSENT_OVERFLOW;
    }
    struct dot dot = {node, counter + 1};
    int rc = object_write(a, o, op, dot, context, value, all);
    return rc == ASSENT_OK ? reply_write(a, o, dot, NULL) : rc;
}

int version_increment(struct apply *a)
{
    struct object o;
    struct counters context;
    struct record last;
    struct assent_bytes node = arg_bytes(a->command, VERSION_INCREMENT_NODE);
    object_load(&o, a->txn, arg_bytes(a->command, VERSION_INCREMENT_OBJECT));
    if (arg_present(a->command, VERSION_INCREMENT_CONTEXT)) {
        int rc = version_read(a, VERSION_INCREMENT_CONTEXT, &context);
        if (rc != ASSENT_OK) {
            return rc;
        }
    } else {
        own_context(a, &o, node, &last, &context);
    }
    return write_here(a, &o, OBJECT_INCREMENT, node, &context.vector,
                      arg_bytes(a->command, VERSION_INCREMENT_VALUE), false);
}

/* Without a context the new value stands for all there are. */
int version_resolve(struct apply *a)
{
    struct object o;
    struct counters context;
    bool all = !arg_present(a->command, VERSION_RESOLVE_CONTEXT);
    object_load(&o, a->txn, arg_bytes(a->command, VERSION_RESOLVE_OBJECT));
    if (o.siblings_n == 0) {
        return refuse(a, ASSENT_NOT_FOUND, "the object has no value to resolve");
    }
    if (all) {
        context.vector = (struct assent_vector){context.room, 0, ASSENT_VECTOR_MEMBERS_MAX};
        bool merged = assent_vector_merge(&context.vector, &o.seen);
        assert(merged);
    } else {
        int rc = version_read(a, VERSION_RESOLVE_CONTEXT, &context);
        if (rc != ASSENT_OK) {
            return rc;
        }
    }
    return write_here(a, &o, OBJECT_RESOLVE, arg_bytes(a->command, VERSION_RESOLVE_NODE), &context.vector,
                      arg_bytes(a->command, VERSION_RESOLVE_VALUE), all);
}

/* The remote write's dot: given, or `node`'s entry of the version, whose past then ends just below it. */
static int merge_dot(struct apply *a, struct counters *past, struct dot *dot)
{
    if (arg_present(a->command, VERSION_MERGE_DOT)) {
        int rc = dot_read(a, VERSION_MERGE_DOT, dot);
        if (rc == ASSENT_OK && assent_vector_get(&past->vector, dot->node) >= dot->counter) {
            rc = refuse(a, ASSENT_INVALID, "a write does not lie in its own past");
        }
        return rc;
    }
    dot->node = arg_bytes(a->command, VERSION_MERGE_NODE);
    dot->counter = assent_vector_get(&past->vector, dot->node);
    if (dot->node.size == 0 || dot->counter == 0) {
        return refuse(a, ASSENT_INVALID,
                      "node (a member of the version) or dot must say whose write this is");
    }
    if (dot->counter == 1) {
        assent_vector_remove(&past->vector, dot->node);
    } else {
        (void)assent_vector_set(&past->vector, dot->node, dot->counter - 1);
    }
    return ASSENT_OK;
}

/* Order of the remote write against what is here. */
static enum assent_order merge_order(const struct object *o, struct dot dot, const struct assent_vector *past)
{
    bool all_older = true;
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        struct dot here = o->siblings[i].dot;
        if (here.counter == dot.counter && here.node.size == dot.node.size &&
            memcmp(here.node.base, dot.node.base, dot.node.size) == 0) {
            return ASSENT_EQUAL;
        }
        all_older &= assent_vector_get(past, here.node) >= here.counter;
    }
    if (object_covers(o, dot)) {
        return ASSENT_BEFORE;
    }
    return all_older ? ASSENT_AFTER : ASSENT_CONCURRENT;
}

/* A write that is known already changes nothing, so merging is safe to repeat. */
int version_merge(struct apply *a)
{
    struct object o;
    struct counters past;
    struct dot dot;
    object_load(&o, a->txn, arg_bytes(a->command, VERSION_MERGE_OBJECT));
    int rc = version_read(a, VERSION_MERGE_VERSION, &past);
    if (rc == ASSENT_OK) {
        rc = merge_dot(a, &past, &dot);
    }
    if (rc != ASSENT_OK) {
        return rc;
    }
    enum assent_order order = merge_order(&o, dot, &past.vector);
    if (order == ASSENT_AFTER || order == ASSENT_CONCURRENT) {
        rc = object_write(a, &o, OBJECT_MERGE, dot, &past.vector, arg_bytes(a->command, VERSION_MERGE_VALUE),
                          false);
    }
    return rc == ASSENT_OK ? reply_write(a, &o, dot, assent_version_order_name(order)) : rc;
}

int version_declare(struct apply *a)
{
    struct object o;
    const struct command *c = a->command;
    object_load(&o, a->txn, arg_bytes(c, VERSION_DECLARE_OBJECT));
    if (arg_present(c, VERSION_DECLARE_RESOLUTION)) {
        int resolution = object_resolution_by_name(arg_bytes(c, VERSION_DECLARE_RESOLUTION));
        if (resolution < 0) {
            return refuse(a, ASSENT_INVALID, "resolution is one of siblings, last_write, largest");
        }
        o.resolution = (enum object_resolution)resolution;
    }
    o.history = (uint32_t)arg_uint(c, VERSION_DECLARE_HISTORY, o.history);
    object_settle(&o, a->txn);
    object_trim(&o, a->txn);
    object_save(&o, a->txn);
    return reply_object(a, &o);
}

/* ---- queries ---- */

static int object_find(struct apply *a, uint32_t field, struct object *o)
{
    object_load(o, a->txn, arg_bytes(a->command, field));
    return o->exists ? ASSENT_OK : refuse(a, ASSENT_NOT_FOUND, "no such object");
}

int query_version(struct apply *a)
{
    struct object o;
    int rc = object_find(a, QUERY_VERSION_OBJECT, &o);
    return rc == ASSENT_OK ? reply_object(a, &o) : rc;
}

static enum assent_order dots_compare(struct dot a, const struct assent_vector *past_a, struct dot b,
                                      const struct assent_vector *past_b)
{
    if (a.counter == b.counter && a.node.size == b.node.size &&
        memcmp(a.node.base, b.node.base, a.node.size) == 0) {
        return ASSENT_EQUAL;
    }
    if (assent_vector_get(past_b, a.node) >= a.counter) {
        return ASSENT_BEFORE;
    }
    return assent_vector_get(past_a, b.node) >= b.counter ? ASSENT_AFTER : ASSENT_CONCURRENT;
}

int query_version_compare(struct apply *a)
{
    struct counters left, right;
    bool dot_a = arg_present(a->command, QUERY_VERSION_COMPARE_DOT_A);
    bool dot_b = arg_present(a->command, QUERY_VERSION_COMPARE_DOT_B);
    if (dot_a != dot_b) {
        return refuse(a, ASSENT_INVALID, "give both dots or none");
    }
    int rc = version_read(a, QUERY_VERSION_COMPARE_A, &left);
    if (rc == ASSENT_OK) {
        rc = version_read(a, QUERY_VERSION_COMPARE_B, &right);
    }
    struct dot x, y;
    if (rc == ASSENT_OK && dot_a) {
        rc = dot_read(a, QUERY_VERSION_COMPARE_DOT_A, &x);
    }
    if (rc == ASSENT_OK && dot_b) {
        rc = dot_read(a, QUERY_VERSION_COMPARE_DOT_B, &y);
    }
    if (rc != ASSENT_OK) {
        return rc;
    }
    enum assent_order order = dot_a ? dots_compare(x, &left.vector, y, &right.vector)
                                    : assent_vector_compare(&left.vector, &right.vector);
    codec_map(a->out, 1);
    codec_pair_cstr(a->out, "order", assent_version_order_name(order));
    return ASSENT_OK;
}

static const char *op_name(enum object_op op)
{
    switch (op) {
    case OBJECT_INCREMENT:
        return "increment";
    case OBJECT_MERGE:
        return "merge";
    case OBJECT_RESOLVE:
        return "resolve";
    }
    assert(false);
    return "";
}

/* Newest first.  `truncated`: the page was cut at its size, not at its limit. */
int query_version_history(struct apply *a)
{
    struct object o;
    uint64_t positions[ASSENT_PAGE_ROWS_MAX];
    int rc = object_find(a, QUERY_VERSION_HISTORY_OBJECT, &o);
    if (rc != ASSENT_OK) {
        return rc;
    }
    uint64_t limit = arg_uint(a->command, QUERY_VERSION_HISTORY_LIMIT, 100);
    uint32_t skip = o.recorded > limit ? o.recorded - (uint32_t)limit : 0, rows = 0;
    uint32_t n = object_positions(&o, a->txn, skip, positions, (uint32_t)limit);
    size_t bytes = 0;
    struct record r;
    while (rows < n && bytes < PAGE_BYTES_MAX) {
        uint64_t position = positions[n - 1 - rows++];
        object_record(&o, a->txn, position, &r);
        bytes += object_value(&o, a->txn, position).size + r.past.n * (size_t)ASSENT_NAME_BYTES_MAX;
    }
    codec_map(a->out, 4);
    codec_pair_text(a->out, "object", o.name);
    codec_pair_uint(a->out, "recorded", o.recorded);
    codec_pair_bool(a->out, "truncated", rows < n);
    codec_cstr(a->out, "history");
    codec_list(a->out, rows);
    for (uint32_t i = 0; i < rows; i++) {
        uint64_t position = positions[n - 1 - i];
        bool current = false;
        for (uint32_t j = 0; j < o.siblings_n; j++) {
            current |= o.siblings[j].position == position;
        }
        object_record(&o, a->txn, position, &r);
        write_record(a, &o, position, 2);
        codec_pair_cstr(a->out, "operation", op_name(r.op));
        codec_pair_bool(a->out, "current", current);
    }
    return ASSENT_OK;
}

/* Versioned objects: state, siblings, history; the ideas are in object.h. */
#include "object.h"

#include "planted.h"
#include "row.h"

static const char *const resolution_names[OBJECT_RESOLUTION_NR] = {
    [OBJECT_SIBLINGS] = "siblings",
    [OBJECT_LAST_WRITE] = "last_write",
    [OBJECT_LARGEST] = "largest",
};

const char *object_resolution_name(enum object_resolution r)
{
    assert(r < OBJECT_RESOLUTION_NR);
    return resolution_names[r];
}

int object_resolution_by_name(struct assent_bytes name)
{
    for (int r = 0; r < OBJECT_RESOLUTION_NR; r++) {
        if (strlen(resolution_names[r]) == name.size &&
            memcmp(resolution_names[r], name.base, name.size) == 0) {
            return r;
        }
    }
    return -1;
}

/* ---- rows ---- */

static void put_dot(struct row_writer *row, struct dot dot)
{
    row_put_bytes(row, dot.node);
    row_put_u64(row, dot.counter);
}

static struct dot take_dot(struct assent_bytes *row)
{
    struct assent_bytes node = row_take_bytes(row);
    return (struct dot){node, row_take_u64(row)};
}

static void put_vector(struct row_writer *row, const struct assent_vector *v)
{
    row_put_u32(row, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        put_dot(row, (struct dot){v->entries[i].member, v->entries[i].count});
    }
}

static void take_vector(struct assent_bytes *row, struct assent_vector *v, struct assent_counter *room)
{
    *v = (struct assent_vector){room, row_take_u32(row), ASSENT_VECTOR_MEMBERS_MAX};
    assert(v->n <= v->capacity);
    for (uint32_t i = 0; i < v->n; i++) {
        struct dot entry = take_dot(row);
        room[i] = (struct assent_counter){entry.node, entry.counter};
    }
}

void object_load(struct object *o, struct store_txn *txn, struct assent_bytes name)
{
    struct assent_bytes stored;
    o->name = name;
    o->resolution = OBJECT_SIBLINGS;
    o->history = OBJECT_HISTORY_DEFAULT;
    o->recorded = o->apart_n = o->siblings_n = 0;
    o->seen = (struct assent_vector){o->seen_room, 0, ASSENT_VECTOR_MEMBERS_MAX};
    o->exists = store_get(txn, STORE_VERSIONS, name, &stored);
    if (!o->exists) {
        return;
    }
    assert(stored.size <= sizeof o->row);
    memcpy(o->row, stored.base, stored.size);
    struct assent_bytes row = {o->row, stored.size};
    o->resolution = (enum object_resolution)row_take_u8(&row);
    o->history = row_take_u32(&row);
    o->recorded = row_take_u32(&row);
    take_vector(&row, &o->seen, o->seen_room);
    o->apart_n = row_take_u32(&row);
    assert(o->resolution < OBJECT_RESOLUTION_NR && o->apart_n <= OBJECT_APART_MAX);
    for (uint32_t i = 0; i < o->apart_n; i++) {
        o->apart[i] = take_dot(&row);
    }
    o->siblings_n = row_take_u8(&row);
    assert(o->siblings_n <= OBJECT_SIBLINGS_MAX);
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        struct sibling *s = &o->siblings[i];
        s->dot = take_dot(&row);
        s->position = row_take_u64(&row);
        s->size = row_take_u32(&row);
    }
    assert(row.size == 0);
}

void object_save(const struct object *o, struct store_txn *txn)
{
    uint8_t bytes[OBJECT_ROW_BYTES_MAX];
    struct row_writer row = {bytes, 0, sizeof bytes};
    row_put_u8(&row, (uint8_t)o->resolution);
    row_put_u32(&row, o->history);
    row_put_u32(&row, o->recorded);
    put_vector(&row, &o->seen);
    row_put_u32(&row, o->apart_n);
    for (uint32_t i = 0; i < o->apart_n; i++) {
        put_dot(&row, o->apart[i]);
    }
    row_put_u8(&row, (uint8_t)o->siblings_n);
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        put_dot(&row, o->siblings[i].dot);
        row_put_u64(&row, o->siblings[i].position);
        row_put_u32(&row, o->siblings[i].size);
    }
    store_put(txn, STORE_VERSIONS, o->name, row_written(&row));
}

/* ---- what was seen ---- */

static bool same_node(struct assent_bytes a, struct assent_bytes b)
{
    return a.size == b.size && memcmp(a.base, b.base, a.size) == 0;
}

bool object_covers(const struct object *o, struct dot dot)
{
    if (assent_vector_get(&o->seen, dot.node) >= dot.counter) {
        return true;
    }
    for (uint32_t i = 0; i < o->apart_n; i++) {
        if (o->apart[i].counter == dot.counter && same_node(o->apart[i].node, dot.node)) {
            return true;
        }
    }
    return false;
}

uint64_t object_counter(const struct object *o, struct assent_bytes node)
{
    uint64_t counter = assent_vector_get(&o->seen, node);
    for (uint32_t i = 0; i < o->apart_n; i++) {
        if (o->apart[i].counter > counter && same_node(o->apart[i].node, node)) {
            counter = o->apart[i].counter;
        }
    }
    return counter;
}

/* Move dots that are apart no longer into the vector.  At most OBJECT_APART_MAX passes. */
static bool close_gaps(struct object *o)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < o->apart_n;) {
            struct dot dot = o->apart[i];
            uint64_t seen = assent_vector_get(&o->seen, dot.node);
            if (dot.counter > seen + 1) {
                i++;
                continue;
            }
            if (dot.counter == seen + 1 && !assent_vector_set(&o->seen, dot.node, dot.counter)) {
                return false;
            }
            o->apart[i] = o->apart[--o->apart_n];
            moved = true;
        }
    }
    return true;
}

/* False: more members or gaps than an object may have; `o` is then of no use. */
static bool learn(struct object *o, struct dot dot, const struct assent_vector *past)
{
    if (!assent_vector_merge(&o->seen, past)) {
        return false;
    }
    if (dot.counter == assent_vector_get(&o->seen, dot.node) + 1) {
        if (!assent_vector_set(&o->seen, dot.node, dot.counter)) {
            return false;
        }
    } else if (!object_covers(o, dot)) {
        if (o->apart_n == OBJECT_APART_MAX) {
            return false;
        }
        o->apart[o->apart_n++] = dot;
    }
    return close_gaps(o);
}

/* ---- history ---- */

static struct assent_bytes history_key(struct store_key *k, const struct object *o, uint64_t position,
                                       uint8_t part)
{
    key_init(k);
    key_text(k, o->name);
    key_u64(k, position);
    key_u8(k, part);
    return key_bytes(k);
}

static void record_put(struct apply *a, const struct object *o, enum object_op op, struct dot dot,
                       const struct assent_vector *past, struct assent_bytes value)
{
    uint8_t bytes[OBJECT_RECORD_BYTES_MAX];
    struct row_writer row = {bytes, 0, sizeof bytes};
    struct store_key key;
    row_put_u8(&row, (uint8_t)op);
    row_put_u64(&row, (uint64_t)a->now_us);
    put_dot(&row, dot);
    put_vector(&row, past);
    store_put(a->txn, STORE_VERSION_HISTORY, history_key(&key, o, a->position, 0), row_written(&row));
    if (value.size > 0) {
        store_put(a->txn, STORE_VERSION_HISTORY, history_key(&key, o, a->position, 1), value);
    }
}

void object_record(const struct object *o, struct store_txn *txn, uint64_t position, struct record *out)
{
    struct store_key key;
    struct assent_bytes stored;
    bool found = store_get(txn, STORE_VERSION_HISTORY, history_key(&key, o, position, 0), &stored);
    assert(found && stored.size <= sizeof out->row);
    memcpy(out->row, stored.base, stored.size);
    struct assent_bytes row = {out->row, stored.size};
    out->op = (enum object_op)row_take_u8(&row);
    out->time_us = (int64_t)row_take_u64(&row);
    out->dot = take_dot(&row);
    take_vector(&row, &out->past, out->past_room);
}

struct assent_bytes object_value(const struct object *o, struct store_txn *txn, uint64_t position)
{
    struct store_key key;
    struct assent_bytes value;
    bool found = store_get(txn, STORE_VERSION_HISTORY, history_key(&key, o, position, 1), &value);
    return found ? value : (struct assent_bytes){NULL, 0};
}

/* The position in a key of this object's history; false: another object's key. */
static bool history_position(const struct object *o, struct assent_bytes key, uint64_t *position)
{
    struct assent_bytes name;
    return key_take_text(&key, &name) && same_node(name, o->name) && key_take_u64(&key, position);
}

uint32_t object_positions(const struct object *o, struct store_txn *txn, uint32_t skip, uint64_t *positions,
                          uint32_t max)
{
    struct store_cursor cursor;
    struct store_key from;
    struct assent_bytes key, value;
    uint64_t position;
    uint32_t n = 0;
    store_cursor_open(&cursor, txn, STORE_VERSION_HISTORY);
    bool more = store_cursor_seek(&cursor, history_key(&from, o, 0, 0), &key, &value);
    while (more && n < max && history_position(o, key, &position)) {
        if (key.base[key.size - 1] == 0) { /* the record; its value has part 1 */
            if (skip > 0) {
                skip--;
            } else {
                positions[n++] = position;
            }
        }
        more = store_cursor_next(&cursor, &key, &value);
    }
    store_cursor_close(&cursor);
    return n;
}

static bool is_sibling(const struct object *o, uint64_t position)
{
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        if (o->siblings[i].position == position) {
            return true;
        }
    }
    return false;
}

void object_trim(struct object *o, struct store_txn *txn)
{
    uint64_t positions[ASSENT_PAGE_ROWS_MAX + 2 * OBJECT_SIBLINGS_MAX];
    if (o->recorded <= o->history) {
        return;
    }
    /* Among this many of the oldest there are enough that are no siblings, or all others are. */
    uint32_t max = o->recorded - o->history + o->siblings_n;
    assert(max <= sizeof positions / sizeof positions[0]);
    uint32_t n = object_positions(o, txn, 0, positions, max);
    for (uint32_t i = 0; i < n && o->recorded > o->history; i++) {
        struct store_key key;
        if (is_sibling(o, positions[i])) {
            continue;
        }
        store_del(txn, STORE_VERSION_HISTORY, history_key(&key, o, positions[i], 0));
        store_del(txn, STORE_VERSION_HISTORY, history_key(&key, o, positions[i], 1));
        o->recorded--;
    }
}

/* ---- the declared resolution ---- */

/* A JSON number without exponent, taken apart; digits without leading zeros, fraction without trailing ones.
 */
struct number {
    bool negative;
    struct assent_bytes whole, fraction;
};

static bool number_parse(struct assent_bytes text, struct number *out)
{
    size_t i = 0;
    *out = (struct number){0};
    if (i < text.size && text.base[i] == '-') {
        out->negative = true;
        i++;
    }
    size_t start = i;
    while (i < text.size && text.base[i] >= '0' && text.base[i] <= '9') {
        i++;
    }
    if (i == start) {
        return false;
    }
    size_t whole = start;
    while (whole < i && text.base[whole] == '0') {
        whole++;
    }
    out->whole = (struct assent_bytes){text.base + whole, i - whole};
    if (i < text.size && text.base[i] == '.') {
        start = ++i;
        while (i < text.size && text.base[i] >= '0' && text.base[i] <= '9') {
            i++;
        }
        size_t end = i;
        while (end > start && text.base[end - 1] == '0') {
            end--;
        }
        out->fraction = (struct assent_bytes){text.base + start, end - start};
    }
    if (out->whole.size == 0 && out->fraction.size == 0) {
        out->negative = false; /* -0 */
    }
    return i == text.size;
}

static int bytes_compare(struct assent_bytes a, struct assent_bytes b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter == 0 ? 0 : memcmp(a.base, b.base, shorter);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int number_compare(const struct number *a, const struct number *b)
{
    if (a->negative != b->negative) {
        return a->negative ? -1 : 1;
    }
    int order = (a->whole.size > b->whole.size) - (a->whole.size < b->whole.size);
    if (order == 0) {
        order = bytes_compare(a->whole, b->whole);
    }
    if (order == 0) {
        order = bytes_compare(a->fraction, b->fraction);
    }
    return a->negative ? -order : order;
}

/* The order behind "largest": no value, then numbers by their size (exactly, by digits; one with an exponent
 * is no number here), then all other JSON by its bytes. */
static int value_compare(struct assent_bytes a, struct assent_bytes b)
{
    struct number x, y;
    bool a_number = number_parse(a, &x), b_number = number_parse(b, &y);
    if (a_number && b_number) {
        return number_compare(&x, &y);
    }
    int a_rank = a.size == 0 ? 0 : a_number ? 1 : 2, b_rank = b.size == 0 ? 0 : b_number ? 1 : 2;
    return a_rank != b_rank ? a_rank - b_rank : bytes_compare(a, b);
}

void object_settle(struct object *o, struct store_txn *txn)
{
    if (o->resolution == OBJECT_SIBLINGS || o->siblings_n < 2) {
        return;
    }
    uint32_t best = 0;
    for (uint32_t i = 1; i < o->siblings_n; i++) {
        int order = 0;
        if (o->resolution == OBJECT_LARGEST) {
            order = value_compare(object_value(o, txn, o->siblings[i].position),
                                  object_value(o, txn, o->siblings[best].position));
        }
        if (order > 0 || (order == 0 && o->siblings[i].position > o->siblings[best].position)) {
            best = i;
        }
    }
    o->siblings[0] = o->siblings[best];
    o->siblings_n = 1;
}

/* ---- a write ---- */

int object_write(struct apply *a, struct object *o, enum object_op op, struct dot dot,
                 const struct assent_vector *past, struct assent_bytes value, bool all)
{
    size_t size = value.size, total = 0;
    for (uint32_t i = 0; i < past->n; i++) {
        size += past->entries[i].member.size + 16;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->siblings_n; i++) {
        struct dot other = o->siblings[i].dot;
        if (!all && assent_vector_get(past, other.node) < other.counter && !PLANTED(SIBLING_LOST)) {
            o->siblings[kept++] = o->siblings[i];
            total += o->siblings[i].size;
        }
    }
    o->siblings_n = kept;
    if (o->resolution == OBJECT_SIBLINGS &&
        (kept >= OBJECT_SIBLINGS_MAX || total + size > OBJECT_SIBLING_BYTES_MAX)) {
        return refuse(a, ASSENT_LIMIT, "%u concurrent values of %zu bytes: resolve them first", kept, total);
    }
    if (!learn(o, dot, past)) {
        return refuse(a, ASSENT_LIMIT, "at most %d nodes, and %d writes that arrived before an earlier one",
                      ASSENT_VECTOR_MEMBERS_MAX, OBJECT_APART_MAX);
    }
    assert(size <= UINT32_MAX);
    o->siblings[o->siblings_n++] = (struct sibling){dot, a->position, (uint32_t)size};
    /* Nothing is refused from here on. */
    record_put(a, o, op, dot, past, value);
    o->recorded++;
    object_settle(o, a->txn);
    object_trim(o, a->txn);
    object_save(o, a->txn);
    return ASSENT_OK;
}

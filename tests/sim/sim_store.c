/* The state's store in memory; see sim_store.h.
 *
 * A tree is a treap whose priorities are a hash of the key, so its shape follows from its content alone.
 * Nodes count their owners: one that has a single owner is changed in place, any other is copied first. */
#include "sim_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "assent/error.h"
#include "planted.h"
#include "statemachine.h"
#include "store.h"

struct tree {
    uint64_t owners, priority;
    struct tree *left, *right;
    uint32_t key_size, value_size;
    uint8_t data[]; /* key, value */
};

struct root {
    struct tree *tables[STORE_TABLE_NR];
    uint64_t counts[STORE_TABLE_NR];
    struct store_place place;
    uint64_t digest;
};

struct store_txn {
    struct store *store;
    struct root root;
    bool write, pinned;
};

struct store {
    char *dir;
    struct root root;
    uint64_t writes[STORE_TABLE_NR];
    struct store_txn writer;
    bool writing;
};

/* What would be on a disk. */
struct kept {
    struct kept *next;
    char *path;
    struct root root;
};
static struct kept *kept; /* of one process with one simulation at a time */

/* ---- trees */

static struct assent_bytes key_of(const struct tree *t)
{
    return (struct assent_bytes){t->data, t->key_size};
}

static struct assent_bytes value_of(const struct tree *t)
{
    return (struct assent_bytes){t->data + t->key_size, t->value_size};
}

static int order(struct assent_bytes a, struct assent_bytes b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int cmp = n > 0 ? memcmp(a.base, b.base, n) : 0;
    return cmp != 0 ? cmp : (a.size > b.size) - (a.size < b.size);
}

static struct tree *own(struct tree *t)
{
    if (t != NULL)
        t->owners++;
    return t;
}

static void disown(struct tree *t)
{
    while (t != NULL && --t->owners == 0) {
        struct tree *right = t->right;
        disown(t->left);
        free(t);
        t = right;
    }
}

static struct tree *leaf(struct assent_bytes key, struct assent_bytes value)
{
    struct tree *t = malloc(sizeof *t + key.size + value.size);
    assert(t != NULL && key.size >= 1 && key.size <= STORE_KEY_MAX);
    *t = (struct tree){.owners = 1,
                       .priority = XXH3_64bits(key.base, key.size),
                       .key_size = (uint32_t)key.size,
                       .value_size = (uint32_t)value.size};
    memcpy(t->data, key.base, key.size);
    if (value.size > 0)
        memcpy(t->data + key.size, value.base, value.size);
    return t;
}

/* The same node, ours alone. */
static struct tree *sole(struct tree *t)
{
    if (t->owners == 1)
        return t;
    struct tree *copy = leaf(key_of(t), value_of(t));
    copy->left = own(t->left);
    copy->right = own(t->right);
    t->owners--;
    return copy;
}

static struct tree *find(struct tree *t, struct assent_bytes key)
{
    while (t != NULL) {
        int cmp = order(key, key_of(t));
        if (cmp == 0)
            return t;
        t = cmp < 0 ? t->left : t->right;
    }
    return NULL;
}

static struct tree *rotate(struct tree *t, bool right)
{
    struct tree *up = right ? t->left : t->right;
    if (right) {
        t->left = up->right;
        up->right = t;
    } else {
        t->right = up->left;
        up->left = t;
    }
    return up;
}

static struct tree *insert(struct tree *t, struct tree *fresh)
{
    if (t == NULL)
        return fresh;
    t = sole(t);
    int cmp = order(key_of(fresh), key_of(t));
    if (cmp == 0) { /* the children change hands */
        fresh->left = t->left;
        fresh->right = t->right;
        free(t);
        return fresh;
    }
    struct tree **side = cmp < 0 ? &t->left : &t->right;
    *side = insert(*side, fresh);
    return (*side)->priority > t->priority ? rotate(t, cmp < 0) : t;
}

static struct tree *join(struct tree *left, struct tree *right)
{
    if (left == NULL || right == NULL)
        return left != NULL ? left : right;
    if (left->priority > right->priority) {
        left = sole(left);
        left->right = join(left->right, right);
        return left;
    }
    right = sole(right);
    right->left = join(left, right->left);
    return right;
}

/* The key is there. */
static struct tree *without(struct tree *t, struct assent_bytes key)
{
    assert(t != NULL);
    int cmp = order(key, key_of(t));
    t = sole(t);
    if (cmp == 0) {
        struct tree *rest = join(t->left, t->right);
        free(t);
        return rest;
    }
    struct tree **side = cmp < 0 ? &t->left : &t->right;
    *side = without(*side, key);
    return t;
}

/* The first node at (`equal`) or behind a key. */
static struct tree *behind(struct tree *t, struct assent_bytes key, bool equal)
{
    struct tree *best = NULL;
    while (t != NULL) {
        int cmp = order(key, key_of(t));
        if (cmp < 0 || (cmp == 0 && equal)) {
            best = t;
            t = t->left;
        } else {
            t = t->right;
        }
    }
    return best;
}

/* The last node before a key; a key without bytes: the last of all. */
static struct tree *before(struct tree *t, struct assent_bytes key)
{
    struct tree *best = NULL;
    while (t != NULL) {
        if (key.size == 0 || order(key, key_of(t)) > 0) {
            best = t;
            t = t->right;
        } else {
            t = t->left;
        }
    }
    return best;
}

/* ---- roots and what is kept */

static struct root root_copy(const struct root *r)
{
    for (int i = 0; i < STORE_TABLE_NR; i++)
        own(r->tables[i]);
    return *r;
}

static void root_drop(struct root *r)
{
    for (int i = 0; i < STORE_TABLE_NR; i++)
        disown(r->tables[i]);
    *r = (struct root){.digest = 0};
}

static struct kept **kept_slot(const char *path)
{
    struct kept **slot = &kept;
    while (*slot != NULL && strcmp((*slot)->path, path) != 0)
        slot = &(*slot)->next;
    return slot;
}

static void kept_put(const char *path, const struct root *r)
{
    struct kept **slot = kept_slot(path);
    if (*slot == NULL) {
        struct kept *k = calloc(1, sizeof *k);
        assert(k != NULL && (k->path = strdup(path)) != NULL);
        *slot = k;
    } else {
        root_drop(&(*slot)->root);
    }
    (*slot)->root = root_copy(r);
}

void sim_store_unlink(const char *path)
{
    struct kept **slot = kept_slot(path), *k = *slot;
    if (k == NULL)
        return;
    *slot = k->next;
    root_drop(&k->root);
    free(k->path);
    free(k);
}

void sim_store_copy(const char *from, const char *to)
{
    struct kept *k = *kept_slot(from);
    if (k != NULL) {
        struct root copy = k->root;
        kept_put(to, &copy);
    }
}

void sim_store_reset(void)
{
    while (kept != NULL)
        sim_store_unlink(kept->path);
}

/* ---- store.h */

static void (*broken_callback)(void *data, const char *sentence);
static void *broken_data;

void store_on_broken(void (*callback)(void *data, const char *sentence), void *data)
{
    broken_callback = callback;
    broken_data = data;
}

void store_give_up(const char *sentence)
{
    if (broken_callback != NULL)
        broken_callback(broken_data, sentence);
    fprintf(stderr, "sim: %s\n", sentence);
    abort();
}

int store_open(struct store **store, const char *dir, uint64_t map_bytes, bool *clean, char *err,
               size_t err_size)
{
    (void)map_bytes;
    (void)err;
    (void)err_size;
    struct store *s = calloc(1, sizeof *s);
    struct kept *there = *kept_slot(dir);
    assert(s != NULL && (s->dir = strdup(dir)) != NULL);
    *clean = there != NULL;
    if (there != NULL)
        s->root = root_copy(&there->root);
    sim_store_unlink(dir); /* the mark goes with the first change */
    *store = s;
    return ASSENT_OK;
}

void store_close(struct store *s, bool clean)
{
    if (s == NULL)
        return;
    assert(!s->writing);
    if (clean)
        kept_put(s->dir, &s->root);
    root_drop(&s->root);
    free(s->dir);
    free(s);
}

void store_wipe(struct store *s)
{
    assert(!s->writing);
    root_drop(&s->root);
    for (int i = 0; i < STORE_TABLE_NR; i++)
        s->writes[i]++;
}

uint64_t store_bytes(const struct store *s)
{
    uint64_t rows = 0;
    for (int i = 0; i < STORE_TABLE_NR; i++)
        rows += s->root.counts[i];
    return rows * 128;
}

struct store_txn *store_begin(struct store *s)
{
    assert(!s->writing);
    s->writing = true;
    s->writer = (struct store_txn){.store = s, .write = true, .root = s->root};
    return &s->writer;
}

void store_commit(struct store_txn *txn)
{
    assert(txn->write && txn->store->writing);
    txn->store->root = txn->root;
    txn->store->writing = false;
}

struct store_txn *store_begin_read(struct store *s)
{
    struct store_txn *txn = calloc(1, sizeof *txn);
    assert(txn != NULL);
    txn->store = s;
    store_renew_read(txn);
    return txn;
}

void store_reset_read(struct store_txn *txn)
{
    assert(!txn->write && txn->pinned);
    root_drop(&txn->root);
    txn->pinned = false;
}

void store_renew_read(struct store_txn *txn)
{
    assert(!txn->write && !txn->pinned);
    txn->root = root_copy(&txn->store->root);
    txn->pinned = true;
}

void store_end_read(struct store_txn *txn)
{
    if (txn == NULL)
        return;
    if (txn->pinned)
        store_reset_read(txn);
    free(txn);
}

bool store_get(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes *value)
{
    const struct tree *t = find(txn->root.tables[table], key);
    *value = t != NULL ? value_of(t) : (struct assent_bytes){NULL, 0};
    return t != NULL;
}

enum change { CHANGE_PUT = 1, CHANGE_DEL = 2, CHANGE_NOTE = 3 };

static void mix(struct store_txn *txn, enum change change, enum store_table table, struct assent_bytes key,
                struct assent_bytes value)
{
    uint64_t h = XXH3_64bits_withSeed(key.base, key.size,
                                      txn->root.digest + ((uint64_t)change << 8 | (uint64_t)table));
    if (change != CHANGE_DEL)
        h = XXH3_64bits_withSeed(value.base, value.size, h + key.size);
    txn->root.digest = h;
    txn->store->writes[table]++;
}

void store_put_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                     struct assent_bytes value)
{
    assert(txn->write);
    struct tree *fresh = leaf(key, value); /* first: both may lie in the tree */
    txn->root.counts[table] += find(txn->root.tables[table], key) == NULL;
    txn->root.tables[table] = insert(txn->root.tables[table], fresh);
    txn->store->writes[table]++;
}

void store_put(struct store_txn *txn, enum store_table table, struct assent_bytes key,
               struct assent_bytes value)
{
    mix(txn, CHANGE_PUT, table, key, value);
    store_put_noted(txn, table, key, value);
}

void store_del_noted(struct store_txn *txn, enum store_table table, struct assent_bytes key)
{
    assert(txn->write);
    txn->store->writes[table]++;
    if (find(txn->root.tables[table], key) == NULL)
        return;
    struct store_key copy = {.size = (uint32_t)key.size}; /* it may lie in the node that goes */
    memcpy(copy.bytes, key.base, key.size);
    txn->root.tables[table] = without(txn->root.tables[table], (struct assent_bytes){copy.bytes, copy.size});
    txn->root.counts[table]--;
}

bool store_del(struct store_txn *txn, enum store_table table, struct assent_bytes key)
{
    if (find(txn->root.tables[table], key) == NULL)
        return false;
    mix(txn, CHANGE_DEL, table, key, (struct assent_bytes){NULL, 0});
    store_del_noted(txn, table, key);
    return true;
}

void store_note(struct store_txn *txn, enum store_table table, struct assent_bytes key,
                struct assent_bytes value)
{
    mix(txn, CHANGE_NOTE, table, key, value);
}

uint64_t store_count(struct store_txn *txn, enum store_table table)
{
    return txn->root.counts[table];
}

uint64_t store_writes(const struct store *s, enum store_table table)
{
    return s->writes[table];
}

bool store_first(struct store_txn *txn, enum store_table table, struct assent_bytes *key,
                 struct assent_bytes *value)
{
    const struct tree *t = txn->root.tables[table];
    while (t != NULL && t->left != NULL)
        t = t->left;
    if (t == NULL)
        return false;
    *key = key_of(t);
    *value = value_of(t);
    return true;
}

uint64_t store_digest(struct store_txn *txn)
{
    return txn->root.digest;
}

struct store_place store_place(struct store_txn *txn)
{
    return txn->root.place;
}

void store_set_place(struct store_txn *txn, const struct store_place *place)
{
    assert(txn->write && place->index >= txn->root.place.index && place->time_us >= txn->root.place.time_us);
    txn->root.place = *place;
}

/* ---- cursors: every step seeks again */

struct cursor {
    struct store_txn *txn;
    enum store_table table;
    struct store_key last;
};

void store_cursor_open(struct store_cursor *c, struct store_txn *txn, enum store_table table)
{
    struct cursor *x = calloc(1, sizeof *x);
    assert(x != NULL);
    x->txn = txn;
    x->table = table;
    c->cursor = x;
}

void store_cursor_close(struct store_cursor *c)
{
    free(c->cursor);
    c->cursor = NULL;
}

static bool stand(struct cursor *x, const struct tree *t, struct assent_bytes *key,
                  struct assent_bytes *value)
{
    if (t == NULL)
        return false;
    *key = key_of(t);
    *value = value_of(t);
    x->last.size = t->key_size;
    memcpy(x->last.bytes, t->data, t->key_size);
    return true;
}

bool store_cursor_seek(struct store_cursor *c, struct assent_bytes from, struct assent_bytes *key,
                       struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    return stand(x, behind(x->txn->root.tables[x->table], from, true), key, value);
}

bool store_cursor_next(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    struct assent_bytes last = {x->last.bytes, x->last.size};
    return stand(x, behind(x->txn->root.tables[x->table], last, false), key, value);
}

bool store_cursor_before(struct store_cursor *c, struct assent_bytes limit, struct assent_bytes *key,
                         struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    return stand(x, before(x->txn->root.tables[x->table], limit), key, value);
}

bool store_cursor_prev(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    assert(x->last.size > 0);
    struct assent_bytes last = {x->last.bytes, x->last.size};
    return stand(x, before(x->txn->root.tables[x->table], last), key, value);
}

bool store_cursor_last(struct store_cursor *c, struct assent_bytes *key, struct assent_bytes *value)
{
    struct cursor *x = c->cursor;
    return stand(x, before(x->txn->root.tables[x->table], (struct assent_bytes){NULL, 0}), key, value);
}

/* ---- images */

int store_dump(struct store_txn *read, const char *path, uint64_t *size, uint64_t *digest, char *err,
               size_t err_size)
{
    (void)err;
    (void)err_size;
    struct root image = root_copy(&read->root);
    if (PLANTED(SNAPSHOT_WITHOUT_KEYS)) {
        disown(image.tables[STORE_REPLIES]);
        image.tables[STORE_REPLIES] = NULL;
    }
    kept_put(path, &image);
    root_drop(&image);
    *digest = read->root.digest;
    *size = 1;
    for (int i = 0; i < STORE_TABLE_NR; i++)
        *size += read->root.counts[i];
    return ASSENT_OK;
}

int store_restore(struct store *s, const char *path, char *err, size_t err_size)
{
    struct kept *there = *kept_slot(path);
    if (there == NULL) {
        snprintf(err, err_size, "%s: no such image", path);
        return ASSENT_NOT_FOUND;
    }
    store_wipe(s);
    s->root = root_copy(&there->root);
    return ASSENT_OK;
}

int store_image_check(const char *path, uint64_t offset, struct sm_image *out, char *err, size_t err_size)
{
    const struct kept *there = *kept_slot(path);
    if (there == NULL || offset != 0) {
        snprintf(err, err_size, "%s: no such image", path);
        return ASSENT_NOT_FOUND;
    }
    *out = (struct sm_image){
        .index = there->root.place.index, .time_us = there->root.place.time_us, .digest = there->root.digest};
    return ASSENT_OK;
}

/* Sessions and stored replies.
 *
 * A session's head changes with every command, its replies come and go with every command: so heads are kept
 * in memory while their session is in use and written back once per transaction, and a timer is set once per
 * lifetime and looks at the head when it fires instead of being moved at each use.
 *
 *   SESSIONS  (0, client)          head
 *             (1, armed, client)   nothing: sessions by the time their timer was set, the oldest first
 *   REPLIES   (0, client, seq)     reply
 *             (1, key)             fingerprint, time, reply
 *             (2, time)            key: remembered keys, the oldest first
 * TIMERS hold one TIMER_SESSION per session (id: client) and one TIMER_REPLY for the oldest key. */
#include "session.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mark.h"
#include "planted.h"
#include "row.h"

#define HEAD_FORMAT 1
#define HEAD_SIZE   (1 + 7 * 8)
#define KEY_HEAD    (8 + 8) /* fingerprint and time before the reply of a key */
/* Heads kept in memory: a power of two; clients of one batch rarely meet in one slot. */
#define CACHE_SLOTS 1024
/* Sessions looked at to make room for a new one. */
#define ROOM_TRIES 16
/* Keys forgotten by one timer. */
#define EXPIRE_KEYS_MAX 256
/* Acknowledged replies removed one by one; more are found by a cursor. */
#define ACKNOWLEDGE_STEPS 8

enum { BY_CLIENT = 0, BY_ARMED = 1 };
enum { OF_CLIENT = 0, OF_KEY = 1, KEYS_BY_TIME = 2 };

struct head {
    uint64_t client; /* 0: free slot */
    uint64_t acknowledged, highest;
    uint64_t stored; /* replies in the store */
    uint64_t ttl_us;
    int64_t used_us;  /* last use */
    int64_t armed_us; /* its timer was set then, for armed + ttl */
    bool dirty;
};

struct session_book {
    struct head slots[CACHE_SLOTS];
    uint16_t changed[CACHE_SLOTS]; /* slots that may hold a changed head */
    bool listed[CACHE_SLOTS];      /* whether a slot stands in `changed` */
    uint32_t changed_count;
    uint64_t sessions, keys, key_bytes;
};

struct session_book *session_book_open(void)
{
    struct session_book *book = calloc(1, sizeof *book);
    if (book == NULL) {
        fputs("assent: out of memory\n", stderr);
        abort();
    }
    return book;
}

void session_book_close(struct session_book *book)
{
    free(book);
}

void session_book_load(struct session_book *book, const struct store_place *place)
{
    struct assent_bytes extra = {place->extra, sizeof place->extra};
    memset(book, 0, sizeof *book);
    book->sessions = row_take_u64(&extra);
    book->keys = row_take_u64(&extra);
    book->key_bytes = row_take_u64(&extra);
}

/* ---- heads */

static struct store_key client_key(uint64_t client)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, BY_CLIENT);
    key_u64(&k, client);
    return k;
}

static struct store_key armed_key(int64_t armed_us, uint64_t client)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, BY_ARMED);
    key_u64(&k, (uint64_t)armed_us);
    key_u64(&k, client);
    return k;
}

static void head_write(struct store_txn *txn, struct head *h)
{
    uint8_t room[HEAD_SIZE];
    struct row_writer w = {room, 0, sizeof room};
    row_put_u8(&w, HEAD_FORMAT);
    row_put_u64(&w, h->client);
    row_put_u64(&w, h->acknowledged);
    row_put_u64(&w, h->highest);
    row_put_u64(&w, h->stored);
    row_put_u64(&w, h->ttl_us);
    row_put_u64(&w, (uint64_t)h->used_us);
    row_put_u64(&w, (uint64_t)h->armed_us);
    struct store_key k = client_key(h->client);
    store_put_noted(txn, STORE_SESSIONS, key_bytes(&k), row_written(&w));
    h->dirty = false;
}

static void head_read(struct head *h, struct assent_bytes row)
{
    uint64_t format = row_take_u8(&row);
    assert(format == HEAD_FORMAT);
    h->client = row_take_u64(&row);
    h->acknowledged = row_take_u64(&row);
    h->highest = row_take_u64(&row);
    h->stored = row_take_u64(&row);
    h->ttl_us = row_take_u64(&row);
    h->used_us = (int64_t)row_take_u64(&row);
    h->armed_us = (int64_t)row_take_u64(&row);
    h->dirty = false;
}

/* Client ids are positions: their low bits are slots of entries, mostly 0. */
static struct head *slot_of(struct session_book *book, uint64_t client)
{
    return &book->slots[(client * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}
static_assert(CACHE_SLOTS == 1 << (64 - 54), "the hash has as many values as there are slots");

static struct head *head_find(struct apply *a, uint64_t client)
{
    struct head *h = slot_of(a->sessions, client);
    if (h->client == client && client != 0)
        return h;
    struct store_key k = client_key(client);
    struct assent_bytes row;
    if (client == 0 || !store_get(a->txn, STORE_SESSIONS, key_bytes(&k), &row))
        return NULL;
    struct head found;
    head_read(&found, row);
    if (h->client != 0 && h->dirty)
        head_write(a->txn, h);
    *h = found;
    return h;
}

/* Every change of a head goes through here: the digest sees it now, the store at the end of the transaction.
 */
static void head_changed(struct apply *a, struct head *h)
{
    uint64_t what[5] = {h->client, h->acknowledged, h->highest, h->ttl_us, (uint64_t)h->used_us};
    uint8_t room[sizeof what];
    struct row_writer w = {room, 0, sizeof room};
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++)
        row_put_u64(&w, what[i]);
    store_note(a->txn, STORE_SESSIONS, row_written(&w), (struct assent_bytes){NULL, 0});
    h->dirty = true;
    struct session_book *book = a->sessions;
    uint16_t slot = (uint16_t)(h - book->slots);
    if (!book->listed[slot]) {
        book->listed[slot] = true;
        book->changed[book->changed_count++] = slot;
    }
}

void session_book_save(struct session_book *book, struct store_txn *txn, struct store_place *place)
{
    for (uint32_t i = 0; i < book->changed_count; i++) {
        struct head *h = &book->slots[book->changed[i]];
        book->listed[book->changed[i]] = false;
        if (h->client != 0 && h->dirty)
            head_write(txn, h);
    }
    book->changed_count = 0;
    struct row_writer w = {place->extra, 0, sizeof place->extra};
    row_put_u64(&w, book->sessions);
    row_put_u64(&w, book->keys);
    row_put_u64(&w, book->key_bytes);
}

/* ---- replies of sessions */

static struct store_key reply_key(uint64_t client, uint64_t sequence)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, OF_CLIENT);
    key_u64(&k, client);
    key_u64(&k, sequence);
    return k;
}

/* The same by a cursor, for wide gaps. */
static uint64_t replies_sweep(struct apply *a, uint64_t client, uint64_t first, uint64_t last)
{
    struct store_cursor c;
    struct assent_bytes key, value;
    struct store_key from = reply_key(client, first), to = reply_key(client, last);
    uint64_t dropped = 0;
    store_cursor_open(&c, a->txn, STORE_REPLIES);
    bool more = store_cursor_seek(&c, key_bytes(&from), &key, &value);
    while (more && key.size == to.size && memcmp(key.base, to.bytes, to.size) <= 0) {
        struct store_key gone = {.size = 0};
        key_tail(&gone, key);
        dropped += store_del(a->txn, STORE_REPLIES, key_bytes(&gone));
        more = store_cursor_next(&c, &key, &value);
    }
    store_cursor_close(&c);
    return dropped;
}

/* Remove the stored replies first..last of a client; how many there were. */
static uint64_t replies_drop(struct apply *a, uint64_t client, uint64_t first, uint64_t last)
{
    if (last - first >= ACKNOWLEDGE_STEPS)
        return replies_sweep(a, client, first, last);
    uint64_t dropped = 0;
    for (uint64_t s = first; s <= last; s++) {
        struct store_key k = reply_key(client, s);
        dropped += store_del(a->txn, STORE_REPLIES, key_bytes(&k));
    }
    return dropped;
}

static void acknowledge(struct apply *a, struct head *h, uint64_t acknowledged)
{
    if (acknowledged <= h->acknowledged)
        return;
    uint64_t first = h->acknowledged + 1;
    uint64_t last = acknowledged < h->highest ? acknowledged : h->highest;
    if (h->stored > 0 && first <= last)
        h->stored -= replies_drop(a, h->client, first, last);
    h->acknowledged = acknowledged;
}

/* ---- opening, use, end */

static struct assent_bytes client_id(struct store_key *room, uint64_t client)
{
    key_init(room);
    key_u64(room, client);
    return key_bytes(room);
}

static void arm(struct apply *a, struct head *h, int64_t armed_us)
{
    struct store_key id, k = armed_key(armed_us, h->client);
    h->armed_us = armed_us;
    timer_set(a->txn, armed_us + (int64_t)h->ttl_us, TIMER_SESSION, client_id(&id, h->client));
    store_put(a->txn, STORE_SESSIONS, key_bytes(&k), (struct assent_bytes){NULL, 0});
}

static void disarm(struct apply *a, const struct head *h)
{
    struct store_key id, k = armed_key(h->armed_us, h->client);
    timer_clear(a->txn, h->armed_us + (int64_t)h->ttl_us, TIMER_SESSION, client_id(&id, h->client));
    store_del(a->txn, STORE_SESSIONS, key_bytes(&k));
}

static void session_end(struct apply *a, struct head *h)
{
    struct store_key k = client_key(h->client);
    disarm(a, h);
    if (h->stored > 0)
        replies_drop(a, h->client, h->acknowledged + 1, h->highest);
    store_del_noted(a->txn, STORE_SESSIONS, key_bytes(&k));
    assert(a->sessions->sessions > 0);
    a->sessions->sessions--;
    *h = (struct head){.client = 0};
}

/* At the limit: end the session that has been idle since its timer was set longest ago.  One that was used
 * since is armed anew instead (second chance), so that whoever works is never the victim. */
static bool make_room(struct apply *a)
{
    for (int i = 0; i < ROOM_TRIES && a->sessions->sessions >= SESSIONS_MAX; i++) {
        struct store_cursor c;
        struct assent_bytes key, value;
        struct store_key from;
        uint8_t kind = 0;
        uint64_t armed = 0, client = 0;
        key_init(&from);
        key_u8(&from, BY_ARMED);
        store_cursor_open(&c, a->txn, STORE_SESSIONS);
        bool found = store_cursor_seek(&c, key_bytes(&from), &key, &value) && key_take_u8(&key, &kind) &&
                     kind == BY_ARMED && key_take_u64(&key, &armed) && key_take_u64(&key, &client);
        store_cursor_close(&c);
        assert(found);
        struct head *h = head_find(a, client);
        assert(h != NULL && h->armed_us == (int64_t)armed);
        if (h->used_us > h->armed_us) {
            disarm(a, h);
            arm(a, h, h->used_us);
            head_changed(a, h);
        } else {
            session_end(a, h);
        }
    }
    return a->sessions->sessions < SESSIONS_MAX;
}

int session_open(struct apply *a)
{
    uint64_t ttl_ms = arg_uint(a->command, SESSION_OPEN_TTL_MS, 0);
    if (!make_room(a))
        return refuse(a, ASSENT_LIMIT, "%d sessions are open and in use", SESSIONS_MAX);
    struct head *h = slot_of(a->sessions, a->position);
    if (h->client != 0 && h->dirty)
        head_write(a->txn, h);
    *h = (struct head){.client = a->position, .used_us = a->now_us};
    h->ttl_us = (ttl_ms != 0 ? ttl_ms : SESSION_TTL_MS) * 1000;
    a->sessions->sessions++;
    arm(a, h, a->now_us);
    head_changed(a, h);
    codec_map(a->out, 2);
    codec_pair_uint(a->out, "client", h->client);
    codec_pair_uint(a->out, "ttlMs", h->ttl_us / 1000);
    return ASSENT_OK;
}

/* Closing twice is no error: the session is gone, as was asked. */
int session_close(struct apply *a)
{
    if (a->command->session.kind != SESSION_SEQUENCE)
        return refuse(a, ASSENT_INVALID, "a session is closed by a command of that session");
    struct head *h = head_find(a, a->command->session.client);
    bool open = h != NULL;
    if (open)
        session_end(a, h);
    codec_map(a->out, 1);
    codec_pair_bool(a->out, "wasOpen", open);
    return ASSENT_OK;
}

void session_expire(struct apply *a, struct assent_bytes id)
{
    uint64_t client = 0;
    struct store_key k;
    bool whole = key_take_u64(&id, &client) && id.size == 0;
    assert(whole);
    struct head *h = head_find(a, client);
    assert(h != NULL);
    if (h->used_us + (int64_t)h->ttl_us <= a->now_us) {
        session_end(a, h);
        return;
    }
    k = armed_key(h->armed_us, client);
    store_del(a->txn, STORE_SESSIONS, key_bytes(&k));
    arm(a, h, h->used_us);
    head_changed(a, h);
}

/* ---- Idempotency-Keys */

static struct store_key remembered_key(struct assent_bytes key)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, OF_KEY);
    key_tail(&k, key);
    return k;
}

static struct store_key time_key(int64_t time_us)
{
    struct store_key k;
    key_init(&k);
    key_u8(&k, KEYS_BY_TIME);
    key_u64(&k, (uint64_t)time_us);
    return k;
}

/* What was asked, without what may differ between two tries of one request: absent arguments at the end, and
 * fields marked so. */
static uint64_t fingerprint(const struct command *c)
{
    const struct field *f = command_schema(c->type)->fields;
    struct assent_bytes rest = c->args_bytes;
    uint64_t h = XXH3_64bits_withSeed(NULL, 0, c->type);
    /* Over the head of the list; its members follow one another. */
    size_t head = rest.base[0] <= 0x9f ? 1 : rest.base[0] == 0xdc ? 3 : 5;
    rest.base += head;
    rest.size -= head;
    for (uint32_t i = 0; rest.size > 0; i++) {
        size_t size = codec_skip(rest);
        assert(size > 0 && f[i].name != NULL);
        if (arg_present(c, i) && !(f[i].flags & FIELD_VOLATILE))
            h = XXH3_64bits_withSeed(rest.base, size, h + i);
        rest.base += size;
        rest.size -= size;
    }
    return h;
}

/* The oldest remembered key; false: none. */
static bool oldest(struct apply *a, int64_t *time_us, struct store_key *name)
{
    struct store_cursor c;
    struct assent_bytes key, value;
    struct store_key from = time_key(0);
    uint8_t kind;
    uint64_t time;
    store_cursor_open(&c, a->txn, STORE_REPLIES);
    bool found = store_cursor_seek(&c, key_bytes(&from), &key, &value) && key_take_u8(&key, &kind) &&
                 kind == KEYS_BY_TIME && key_take_u64(&key, &time);
    if (found) {
        *time_us = (int64_t)time;
        key_init(name);
        key_tail(name, value);
    }
    store_cursor_close(&c);
    return found;
}

static void forget(struct apply *a, int64_t time_us, struct assent_bytes name)
{
    struct store_key k = remembered_key(name), t = time_key(time_us);
    struct assent_bytes row;
    bool there = store_get(a->txn, STORE_REPLIES, key_bytes(&k), &row);
    assert(there && a->sessions->keys > 0 && a->sessions->key_bytes >= row.size + k.size);
    a->sessions->keys--;
    a->sessions->key_bytes -= row.size + k.size;
    store_del(a->txn, STORE_REPLIES, key_bytes(&k));
    store_del(a->txn, STORE_REPLIES, key_bytes(&t));
}

/* One timer stands for all keys: they end in the order in which they came.  Its id says nothing. */
static const struct assent_bytes keys_id = {(const uint8_t *)"keys", 4};

void reply_expire(struct apply *a, struct assent_bytes id)
{
    (void)id;
    int64_t time_us;
    struct store_key name;
    for (int i = 0; i < EXPIRE_KEYS_MAX && oldest(a, &time_us, &name); i++) {
        if (time_us + REPLY_TTL_US > a->now_us)
            break;
        forget(a, time_us, key_bytes(&name));
    }
    if (oldest(a, &time_us, &name)) {
        int64_t due_us = time_us + REPLY_TTL_US;
        timer_set(a->txn, due_us > a->now_us ? due_us : a->now_us + 1, TIMER_REPLY, keys_id);
    }
}

static void key_store(struct apply *a, struct assent_bytes reply)
{
    struct session_book *book = a->sessions;
    struct store_key k = remembered_key(a->command->session.key), t = time_key(a->now_us);
    size_t size = KEY_HEAD + reply.size;
    uint8_t small[512];
    uint8_t *room = size <= sizeof small ? small : malloc(size);
    assert(room != NULL);
    struct row_writer w = {room, 0, size};
    row_put_u64(&w, fingerprint(a->command));
    row_put_u64(&w, (uint64_t)a->now_us);
    memcpy(w.base + w.size, reply.base, reply.size);
    store_put(a->txn, STORE_REPLIES, key_bytes(&k), (struct assent_bytes){room, size});
    if (room != small)
        free(room);
    if (book->keys == 0)
        timer_set(a->txn, a->now_us + REPLY_TTL_US, TIMER_REPLY, keys_id);
    store_put(a->txn, STORE_REPLIES, key_bytes(&t), a->command->session.key);
    book->keys++;
    book->key_bytes += size + k.size;
    int64_t time_us;
    struct store_key name;
    while ((book->keys > REPLIES_MAX || book->key_bytes > REPLIES_BYTES_MAX) && book->keys > 1 &&
           oldest(a, &time_us, &name))
        forget(a, time_us, key_bytes(&name));
}

/* ---- around the execution of a command */

static enum session_verdict refused(int *code, int why)
{
    *code = why;
    return SESSION_REFUSE;
}

static enum session_verdict check_key(struct apply *a, struct assent_bytes *reply, int *code)
{
    struct store_key k = remembered_key(a->command->session.key);
    struct assent_bytes row;
    if (!store_get(a->txn, STORE_REPLIES, key_bytes(&k), &row) || PLANTED(REPLY_NOT_KEPT))
        return SESSION_EXECUTE;
    if (row_take_u64(&row) != fingerprint(a->command))
        return refused(code, ASSENT_KEY_REUSED);
    row_take_u64(&row);
    MARK(KEY_REPEATED);
    *reply = row;
    return SESSION_REPEAT;
}

enum session_verdict session_check(struct apply *a, struct assent_bytes *reply, int *code)
{
    const struct command_session *s = &a->command->session;
    if (s->kind == SESSION_KEY)
        return check_key(a, reply, code);
    struct head *h = head_find(a, s->client);
    if (h == NULL || h->used_us + (int64_t)h->ttl_us <= a->now_us)
        return refused(code, ASSENT_SESSION_EXPIRED);
    h->used_us = a->now_us;
    acknowledge(a, h, s->acknowledged);
    head_changed(a, h);
    if (s->sequence <= h->acknowledged && !PLANTED(SESSION_RUNS_AGAIN)) {
        snprintf(a->detail, sizeof a->detail, "sequence %llu was acknowledged; its reply is gone",
                 (unsigned long long)s->sequence);
        return refused(code, ASSENT_SESSION_EXPIRED);
    }
    struct store_key k = reply_key(s->client, s->sequence);
    if (s->sequence <= h->highest && store_get(a->txn, STORE_REPLIES, key_bytes(&k), reply))
        return SESSION_REPEAT;
    if (h->stored >= SESSION_REPLIES_MAX) {
        snprintf(a->detail, sizeof a->detail, "%d replies are not acknowledged; nothing was done",
                 SESSION_REPLIES_MAX);
        return refused(code, ASSENT_LIMIT);
    }
    return SESSION_EXECUTE;
}

void session_store(struct apply *a, struct assent_bytes reply)
{
    const struct command_session *s = &a->command->session;
    if (s->kind == SESSION_KEY) {
        key_store(a, reply);
        return;
    }
    struct head *h = head_find(a, s->client);
    assert(h != NULL); /* session_check() saw it, and SESSION_CLOSE does not come here */
    struct store_key k = reply_key(s->client, s->sequence);
    store_put(a->txn, STORE_REPLIES, key_bytes(&k), reply);
    h->stored++;
    if (s->sequence > h->highest)
        h->highest = s->sequence;
    head_changed(a, h);
}

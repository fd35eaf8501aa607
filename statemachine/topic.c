/* Topics: subscribe, unsubscribe, remove, ask.  What they are is in topic.h; message.c expands them. */
#include "topic.h"

#include <stdio.h>
#include <stdlib.h>

#include "audit.h"

enum { TOPIC_FORMAT = 1 };
#define LIST_LIMIT_DEFAULT 100u
/* A page ends behind this much, so that it fits a frame with the largest topic on top. */
#define PAGE_BYTES_MAX (3u * 1024 * 1024)

static_assert(PAGE_BYTES_MAX + TOPIC_URLS_MAX * (ASSENT_URL_BYTES_MAX + 1024 + 64) < ASSENT_FRAME_BYTES_MAX,
              "a page of topics fits a frame");

bool topic_url(struct assent_bytes url, struct assent_bytes *name)
{
    size_t n = sizeof(TOPIC_SCHEME) - 1;
    if (url.size <= n || memcmp(url.base, TOPIC_SCHEME, n) != 0)
        return false;
    *name = (struct assent_bytes){url.base + n, url.size - n};
    return true;
}

/* ---- the row ---- */

static struct store_key topic_key(struct assent_bytes ns, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    key_text(&k, ns);
    key_tail(&k, name);
    return k;
}

static void topic_decode(struct assent_bytes value, struct topic *t)
{
    *t = (struct topic){.row = malloc(value.size)};
    assert(t->row != NULL);
    memcpy(t->row, value.base, value.size);
    struct assent_bytes r = {t->row, value.size};
    uint8_t format = row_take_u8(&r);
    assert(format == TOPIC_FORMAT);
    t->version = row_take_u64(&r);
    t->n = row_take_u32(&r);
    assert(t->n <= TOPIC_URLS_MAX);
    t->urls = calloc(t->n + 1, sizeof(*t->urls)); /* room for one more */
    assert(t->urls != NULL);
    for (uint32_t i = 0; i < t->n; i++) {
        t->urls[i].url = row_take_bytes(&r);
        t->urls[i].remark = row_take_bytes(&r);
        t->urls[i].subscribed_us = (int64_t)row_take_u64(&r);
    }
    assert(r.size == 0);
}

bool topic_load(struct apply *a, struct assent_bytes ns, struct assent_bytes name, struct topic *t)
{
    struct assent_bytes value;
    if (name.size > ASSENT_NAME_BYTES_MAX)
        return false;
    struct store_key k = topic_key(ns, name);
    if (!store_get(a->txn, STORE_TOPICS, key_bytes(&k), &value))
        return false;
    topic_decode(value, t);
    return true;
}

void topic_close(struct topic *t)
{
    free(t->urls);
    free(t->row);
}

static void topic_save(struct apply *a, struct assent_bytes ns, struct assent_bytes name,
                       const struct topic *t)
{
    size_t room = 1 + 8 + 4;
    for (uint32_t i = 0; i < t->n; i++)
        room += row_bytes_size(t->urls[i].url) + row_bytes_size(t->urls[i].remark) + 8;
    struct row_writer w = {malloc(room), 0, room};
    assert(w.base != NULL);
    row_put_u8(&w, TOPIC_FORMAT);
    row_put_u64(&w, t->version);
    row_put_u32(&w, t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        row_put_bytes(&w, t->urls[i].url);
        row_put_bytes(&w, t->urls[i].remark);
        row_put_u64(&w, (uint64_t)t->urls[i].subscribed_us);
    }
    assert(w.size == room);
    struct store_key k = topic_key(ns, name);
    store_put(a->txn, STORE_TOPICS, key_bytes(&k), row_written(&w));
    free(w.base);
}

/* ---- commands ---- */

/* The subscriber with that URL; t->n: none. */
static uint32_t topic_find(const struct topic *t, struct assent_bytes url)
{
    uint32_t i = 0;
    while (i < t->n && !bytes_equal(t->urls[i].url, url))
        i++;
    return i;
}

static int topic_not_found(struct apply *a, struct assent_bytes name)
{
    return refuse(a, ASSENT_NOT_FOUND, "no such topic: %.*s", (int)name.size, (const char *)name.base);
}

static void topic_answer(struct apply *a, struct assent_bytes name, const struct topic *t)
{
    codec_map(a->out, 3);
    codec_pair_text(a->out, "topic", name);
    codec_pair_uint(a->out, "version", t->version);
    codec_pair_uint(a->out, "urlCount", t->n);
}

/* On record: the topic, and of whom; field `by` and the next say who and why. */
static void topic_act(struct apply *a, const char *act, struct assent_bytes name, struct assent_bytes url,
                      uint32_t by)
{
    char text[ASSENT_NAME_BYTES_MAX + ASSENT_URL_BYTES_MAX + 2];
    snprintf(text, sizeof(text), "%.*s%s%.*s", (int)name.size, (const char *)name.base,
             url.size > 0 ? " " : "", (int)url.size, url.size > 0 ? (const char *)url.base : "");
    audit_act(a, act, (struct assent_bytes){NULL, 0}, bytes_of(text), by);
}

/* Subscribe a URL; the first one makes the topic. */
int topic_subscribe(struct apply *a)
{
    struct assent_bytes ns, name = scoped_name(arg_bytes(a->command, TOPIC_TOPIC), &ns);
    struct assent_bytes url = arg_bytes(a->command, TOPIC_URL);
    struct topic t;
    int rv = ASSENT_OK;
    if (!branch_url_ok(url))
        return refuse(a, ASSENT_INVALID, "url: http:// or https://, at most %d bytes, no spaces",
                      ASSENT_URL_BYTES_MAX);
    if (!topic_load(a, ns, name, &t)) {
        t = (struct topic){.urls = calloc(1, sizeof(*t.urls))};
        assert(t.urls != NULL);
    }
    if (topic_find(&t, url) < t.n) {
        rv = refuse(a, ASSENT_EXISTS, "the URL is subscribed already");
    } else if (t.n == TOPIC_URLS_MAX) {
        rv = refuse(a, ASSENT_LIMIT, "the topic has %d subscribers", TOPIC_URLS_MAX);
    } else {
        t.urls[t.n++] = (struct topic_subscriber){url, arg_bytes(a->command, TOPIC_REMARK), a->now_us};
        t.version++;
        topic_save(a, ns, name, &t);
        topic_act(a, "topic_subscribe", name, url, TOPIC_SUBSCRIBE_BY);
        topic_answer(a, name, &t);
    }
    topic_close(&t);
    return rv;
}

int topic_unsubscribe(struct apply *a)
{
    struct assent_bytes ns, name = scoped_name(arg_bytes(a->command, TOPIC_TOPIC), &ns);
    struct assent_bytes url = arg_bytes(a->command, TOPIC_URL);
    struct topic t;
    int rv = ASSENT_OK;
    if (url.size == 0)
        return refuse(a, ASSENT_INVALID, "url: must not be empty");
    if (!topic_load(a, ns, name, &t))
        return topic_not_found(a, name);
    uint32_t i = topic_find(&t, url);
    if (t.n == 0) {
        rv = refuse(a, ASSENT_NOT_FOUND, "the topic is empty");
    } else if (i == t.n) {
        rv = refuse(a, ASSENT_NOT_FOUND, "no such url in the topic");
    } else {
        t.n--;
        memmove(&t.urls[i], &t.urls[i + 1], (t.n - i) * sizeof(*t.urls));
        t.version++;
        topic_save(a, ns, name, &t);
        topic_act(a, "topic_unsubscribe", name, url, TOPIC_UNSUBSCRIBE_BY);
        topic_answer(a, name, &t);
    }
    topic_close(&t);
    return rv;
}

int topic_remove(struct apply *a)
{
    struct assent_bytes ns, name = scoped_name(arg_bytes(a->command, TOPIC_TOPIC), &ns);
    struct store_key k = topic_key(ns, name);
    if (!store_del(a->txn, STORE_TOPICS, key_bytes(&k)))
        return topic_not_found(a, name);
    topic_act(a, "topic_remove", name, (struct assent_bytes){NULL, 0}, TOPIC_REMOVE_BY);
    codec_map(a->out, 1);
    codec_pair_text(a->out, "topic", name);
    return ASSENT_OK;
}

/* ---- questions ---- */

static void write_topic(struct codec_writer *out, struct assent_bytes name, const struct topic *t)
{
    codec_map(out, 4);
    codec_pair_text(out, "topic", name);
    codec_pair_uint(out, "version", t->version);
    codec_pair_uint(out, "urlCount", t->n);
    codec_cstr(out, "urls");
    codec_list(out, t->n);
    for (uint32_t i = 0; i < t->n; i++) {
        codec_map(out, 3);
        codec_pair_text(out, "url", t->urls[i].url);
        codec_pair_text(out, "remark", t->urls[i].remark);
        codec_pair_int(out, "subscribedUs", t->urls[i].subscribed_us);
    }
}

static int query_topic(struct apply *a, struct assent_bytes ns, struct assent_bytes name)
{
    struct topic t;
    if (!topic_load(a, ns, name, &t))
        return topic_not_found(a, name);
    write_topic(a->out, name, &t);
    topic_close(&t);
    return ASSENT_OK;
}

/* One topic, or a page of those of the namespace in order of their names, behind `after`; `next` is the
 * `after` of the following page, nil on the last one. */
int query_topics(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes name = arg_bytes(c, QUERY_TOPICS_TOPIC), after = arg_bytes(c, QUERY_TOPICS_AFTER);
    struct assent_bytes ns = c->session.ns, key, value, last = {NULL, 0};
    uint64_t limit = arg_uint(c, QUERY_TOPICS_LIMIT, LIST_LIMIT_DEFAULT);
    if (name.size > 0)
        return query_topic(a, ns, scoped_name(name, NULL));
    if (limit == 0)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    if (after.size > ASSENT_NAME_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "after: the name of a topic");
    struct store_key from = topic_key(ns, after);
    uint32_t prefix = (uint32_t)ns.size + 1, n = 0;
    struct codec_writer rows;
    struct store_cursor cursor;
    codec_writer_init(&rows);
    store_cursor_open(&cursor, a->txn, STORE_TOPICS);
    bool there = store_cursor_seek(&cursor, key_bytes(&from), &key, &value);
    if (there && after.size > 0 && bytes_equal(key, key_bytes(&from)))
        there = store_cursor_next(&cursor, &key, &value);
    for (; (there = there && key.size > prefix && memcmp(key.base, from.bytes, prefix) == 0);
         there = store_cursor_next(&cursor, &key, &value), n++) {
        struct topic t;
        if (n == limit || codec_written(&rows).size > PAGE_BYTES_MAX)
            break;
        topic_decode(value, &t);
        last = (struct assent_bytes){key.base + prefix, key.size - prefix};
        write_topic(&rows, last, &t);
        topic_close(&t);
    }
    store_cursor_close(&cursor);
    codec_map(a->out, 2);
    codec_cstr(a->out, "topics");
    codec_list(a->out, n);
    codec_raw(a->out, codec_written(&rows));
    codec_cstr(a->out, "next");
    if (there)
        codec_text(a->out, last);
    else
        codec_nil(a->out);
    codec_writer_close(&rows);
    return ASSENT_OK;
}

/* Streams of events, followed on every node and over reconnections.
 *
 *   events  begin and end transactions; meanwhile streams that go on behind the last id they saw, each time
 *           on another node: one order, nothing lost, nothing twice, and a gap only where a node was started
 *           anew or had its state replaced; in the end all have come to the same event */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "linear.h"

#define FOLLOW_MS 1500
#define WORKERS   64
#define LAST_LOOK 8 /* streams of each follower in the end */

struct followers {
    uint32_t n;
    uint32_t looked[WORKERS];
    json_t *last[WORKERS]; /* [id, text] of the last event this follower saw; NULL: none */
};

struct stream {
    char line[4096];
    size_t n;
    char id[48], event[24];
    json_t *seen; /* since the last gap */
    uint32_t gaps;
};

static void *follow_open(struct run *r)
{
    struct followers *f = calloc(1, sizeof *f);
    (void)r;
    if (f == NULL)
        abort();
    return f;
}

static void follow_close(struct run *r, void *state)
{
    struct followers *f = state;
    (void)r;
    for (int i = 0; i < WORKERS; i++)
        json_decref(f->last[i]);
    free(f);
}

static bool follow_next(struct run *r, uint32_t worker, bool final, struct op *invoke)
{
    struct followers *f = r->state;
    bool follows = worker % 3 == 0;
    if (final && (!follows || f->looked[worker]++ == LAST_LOOK))
        return false;
    snprintf(invoke->f, sizeof invoke->f, follows ? "watch" : run_random(r, 2) == 0 ? "commit" : "rollback");
    invoke->key = json_integer(follows ? 0 : 1);
    invoke->value = follows ? json_null() : json_integer(++f->n);
    return true;
}

/* "1234.5": the place in the log, and which of its events; as one number. */
static json_int_t number_of(const char *id)
{
    const char *dot = strchr(id, '.');
    return atoll(id) * 4096 + (dot != NULL ? atoll(dot + 1) % 4096 : 0);
}

static void on_line(struct stream *s)
{
    if (strncmp(s->line, "id: ", 4) == 0)
        snprintf(s->id, sizeof s->id, "%.47s", s->line + 4);
    else if (strncmp(s->line, "event: ", 7) == 0)
        snprintf(s->event, sizeof s->event, "%.23s", s->line + 7);
    else if (strncmp(s->line, "data: ", 6) == 0) {
        json_t *data = json_loads(s->line + 6, 0, NULL);
        const char *xid = json_string_value(json_object_get(data, "xid")),
                   *status = json_string_value(json_object_get(data, "status")),
                   *id = json_string_value(json_object_get(data, "id"));
        if (strcmp(s->event, "gap") == 0) {
            s->gaps++;
            json_array_clear(s->seen);
        } else if (strcmp(s->event, "transaction") == 0 && xid != NULL && status != NULL && id != NULL) {
            char text[192];
            snprintf(text, sizeof text, "%s %s", xid, status);
            json_array_append_new(s->seen, json_pack("[I,s]", number_of(id), text));
            snprintf(s->id, sizeof s->id, "%.47s", id);
        }
        json_decref(data);
        s->event[0] = 0;
    }
}

static size_t on_bytes(char *data, size_t size, size_t n, void *user)
{
    struct stream *s = user;
    for (size_t i = 0; i < size * n; i++) {
        if (data[i] != '\n') {
            if (s->n + 1 < sizeof s->line)
                s->line[s->n++] = data[i];
            continue;
        }
        s->line[s->n] = 0;
        on_line(s);
        s->n = 0;
    }
    return size * n;
}

/* A stream begins with the event it goes on behind, so that what is missing between two connections shows. */
static void watch(struct run *r, uint32_t worker, const struct sut_node *node, struct op *done)
{
    struct followers *f = r->state;
    char url[256], header[128];
    struct stream s = {.seen = json_array()};
    json_t *last = f->last[worker % WORKERS];
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = NULL;
    if (easy == NULL || s.seen == NULL)
        abort();
    snprintf(url, sizeof url, "%s/api/v1/events?kind=transaction", node->base);
    if (last != NULL) {
        snprintf(header, sizeof header, "Last-Event-ID: %s", json_string_value(json_array_get(last, 2)));
        headers = curl_slist_append(headers, header);
        json_array_append_new(s.seen, json_pack("[O,O]", json_array_get(last, 0), json_array_get(last, 1)));
    }
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)FOLLOW_MS);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 500L);
    curl_easy_perform(easy);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    json_t *end = json_array_get(s.seen, json_array_size(s.seen) - 1);
    if (status == 200) {
        done->type = OP_OK;
        done->value = s.seen;
        if (s.gaps > 0)
            snprintf(done->error, sizeof done->error, "gap");
        bool moved = json_array_size(s.seen) > (last != NULL && s.gaps == 0 ? 1u : 0u);
        if (moved) {
            f->last[worker % WORKERS] =
                json_pack("[O,O,s]", json_array_get(end, 0), json_array_get(end, 1), s.id);
            json_decref(last);
        }
    } else {
        done->type = OP_FAIL;
        snprintf(done->error, sizeof done->error, "no stream");
        json_decref(s.seen);
    }
}

static void follow_perform(struct run *r, uint32_t worker, const struct sut_node *node,
                           const struct op *invoke, struct op *done)
{
    struct http_answer a;
    char xid[48], path[64];
    if (strcmp(invoke->f, "watch") == 0) {
        pthread_mutex_lock(&r->lock);
        uint32_t any = (uint32_t)run_random(r, r->sut.n);
        pthread_mutex_unlock(&r->lock);
        watch(r, worker, &r->sut.nodes[any], done);
        snprintf(done->node, sizeof done->node, "node-%u", any + 1);
        return;
    }
    snprintf(xid, sizeof xid, "e%lld", (long long)json_integer_value(invoke->value));
    snprintf(path, sizeof path, "/api/v1/transaction/%s", invoke->f);
    json_t *body = json_pack("{s:s}", "xid", xid);
    http_ask(node->base, "POST", "/api/v1/transaction/begin", NULL, body, ASK_MS, false, &a);
    op_ended(&a, done);
    http_close(&a);
    if (done->type == OP_OK) {
        http_ask(node->base, "POST", path, NULL, body, ASK_MS, false, &a);
        http_close(&a);
        done->value = json_incref(invoke->value);
    }
    json_decref(body);
}

/* A gap is told where a node lost its memory: after a fault that is more than waiting. */
static void judge_gaps(const struct history *h, struct verdict *v)
{
    bool lost_memory = false; /* any fault: a paused or cut-off node may be given a snapshot */
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process == PROCESS_NEMESIS)
            lost_memory = true;
        else if (strcmp(o->f, "watch") == 0 && strcmp(o->error, "gap") == 0 && !lost_memory)
            verdict_invalid(v, "%s told of a gap, and nothing had happened to it", o->node);
    }
}

/* When nothing happens any more, everybody who looks has come to the end of the one stream. */
static void judge_end(const struct history *h, struct verdict *v)
{
    size_t commits = 0; /* behind the last of other things that were asked, or were under way */
    json_int_t last = -1;
    for (size_t i = 0; i < h->n; i++)
        if (h->ops[i].process >= 0 && strcmp(h->ops[i].f, "watch") != 0)
            commits = i + 1;
    json_t *ends = json_object(), *end;
    char process[32];
    const char *name;
    for (size_t i = commits; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (commits == 0 || o->process < 0 || o->type != OP_OK)
            continue;
        snprintf(process, sizeof process, "%lld", (long long)o->process);
        if (strcmp(o->error, "gap") == 0)
            json_object_del(ends, process); /* it cannot know what it missed */
        if (json_array_size(o->value) == 0)
            continue;
        end = json_array_get(json_array_get(o->value, json_array_size(o->value) - 1), 0);
        json_object_set(ends, process, end);
        last = json_integer_value(end) > last ? json_integer_value(end) : last;
    }
    json_object_foreach(ends, name, end)
    {
        if (json_integer_value(end) != last)
            verdict_invalid(v, "process %s came to event %lld in the end, others to %lld", name,
                            (long long)json_integer_value(end), (long long)last);
    }
    json_decref(ends);
}

static void follow_check(struct run *r, const struct history *h, struct verdict *v)
{
    struct verdict part;
    struct history watches;
    (void)r;
    verdict_init(v);
    judge_gaps(h, v);
    judge_end(h, v);
    history_init(&watches);
    for (size_t i = 0; i < h->n; i++) {
        const struct op *o = &h->ops[i];
        if (o->process >= 0 && strcmp(o->f, "watch") == 0 &&
            history_add_op(&watches, o->time_ns, o->process, o->type, o->f, json_incref(o->key),
                           json_incref(o->value)) == NULL)
            abort();
    }
    check_watch(&watches, &part);
    verdict_compose(v, "watch", &part);
    history_close(&watches);
    verdict_close(v);
}

const struct workload workload_events = {"events",     "event streams tell one order, nothing lost or twice",
                                         follow_next,  follow_perform,
                                         follow_check, follow_open,
                                         follow_close};

/* The blocking face: a private thread runs the asynchronous client; callers post their call and wait.
 *
 * A call lives on its caller's stack.  It is handed over under the mutex, belongs to the loop's thread until
 * its semaphore is posted, and the caller touches neither it nor the handle in between. */
#include <assert.h>
#include <stdlib.h>

#include "internal.h"

struct posted {
    struct posted *next;
    const struct assent_request *request; /* NULL: timestamps, or a look at the statistics */
    uint32_t count, timeout_ms;
    struct assent_stats *stats;
    struct assent_client *client;
    struct assent_reply *reply; /* NULL: only the code matters */
    uint64_t first;
    int code;
    uv_sem_t done;
};

struct assent_client {
    uv_thread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    struct assent_async *async;
    uv_mutex_t mutex; /* guards the three below */
    struct posted *first, *last;
    bool closing;
};

static void answered(void *data, const struct assent_reply *reply)
{
    struct posted *p = data;
    p->code = reply->code;
    p->first = reply->first;
    if (p->reply != NULL && !reply_copy(p->reply, reply, p->client->async->body)) {
        reply_from_code(p->reply, reply->code); /* the outcome stands; its data found no memory */
    }
    uv_sem_post(&p->done);
}

static void refuse(struct posted *p, int code)
{
    p->code = code;
    if (p->reply != NULL) {
        reply_from_code(p->reply, code);
    }
    uv_sem_post(&p->done);
}

static void start(struct assent_client *client, struct posted *p)
{
    int rc;
    if (p->stats != NULL) {
        assent_async_stats(client->async, p->stats);
        refuse(p, ASSENT_OK);
        return;
    }
    if (p->request != NULL) {
        rc = assent_async_call(client->async, p->request, p->timeout_ms, answered, p);
    } else {
        rc = assent_async_tso(client->async, p->count, p->timeout_ms, answered, p);
    }
    if (rc != ASSENT_OK) {
        refuse(p, rc);
    }
}

static void wake_cb(uv_async_t *wake)
{
    struct assent_client *client = wake->data;
    uv_mutex_lock(&client->mutex);
    struct posted *p = client->first;
    client->first = client->last = NULL;
    bool closing = client->closing;
    uv_mutex_unlock(&client->mutex);
    while (p != NULL) {
        struct posted *next = p->next; /* `p` is its caller's again once it was answered */
        start(client, p);
        p = next;
    }
    if (closing) {
        assent_async_close(client->async, NULL, NULL);
        uv_close((uv_handle_t *)wake, NULL);
    }
}

static void thread_main(void *data)
{
    struct assent_client *client = data;
    (void)uv_run(&client->loop, UV_RUN_DEFAULT); /* until every handle is closed */
}

int assent_open(struct assent_client **out, const struct assent_options *options)
{
    *out = NULL;
    struct assent_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return ASSENT_NOMEM;
    }
    int rc = ASSENT_NOMEM;
    if (uv_mutex_init(&client->mutex) != 0) {
        goto err_after_alloc;
    }
    if (uv_loop_init(&client->loop) != 0) {
        goto err_after_mutex;
    }
    if (uv_async_init(&client->loop, &client->wake, wake_cb) != 0) {
        goto err_after_loop;
    }
    client->wake.data = client;
    rc = assent_async_open(&client->async, &client->loop, options);
    if (rc != ASSENT_OK) {
        goto err_after_wake;
    }
    if (uv_thread_create(&client->thread, thread_main, client) != 0) {
        rc = ASSENT_NOMEM;
        assent_async_close(client->async, NULL, NULL);
        goto err_after_wake;
    }
    *out = client;
    return ASSENT_OK;

err_after_wake:
    uv_close((uv_handle_t *)&client->wake, NULL);
    (void)uv_run(&client->loop, UV_RUN_DEFAULT);
err_after_loop:
    (void)uv_loop_close(&client->loop);
err_after_mutex:
    uv_mutex_destroy(&client->mutex);
err_after_alloc:
    free(client);
    return rc;
}

void assent_close(struct assent_client *client)
{
    if (client == NULL) {
        return;
    }
    uv_mutex_lock(&client->mutex);
    assert(!client->closing);
    client->closing = true;
    uv_mutex_unlock(&client->mutex);
    (void)uv_async_send(&client->wake);
    (void)uv_thread_join(&client->thread);
    int rc = uv_loop_close(&client->loop);
    assert(rc == 0); /* all handles are closed, or uv_run() would not have returned */
    uv_mutex_destroy(&client->mutex);
    free(client);
}

/* Hand over and wait. */
static int post(struct assent_client *client, struct posted *p)
{
    p->client = client;
    if (uv_sem_init(&p->done, 0) != 0) {
        if (p->reply != NULL) {
            reply_from_code(p->reply, ASSENT_NOMEM);
        }
        return ASSENT_NOMEM;
    }
    uv_mutex_lock(&client->mutex);
    bool closing = client->closing;
    bool first = client->first == NULL;
    if (!closing) {
        if (first) {
            client->first = p;
        } else {
            client->last->next = p;
        }
        client->last = p;
    }
    uv_mutex_unlock(&client->mutex);
    if (closing) {
        refuse(p, ASSENT_CLOSED);
    } else if (first) {
        (void)uv_async_send(&client->wake); /* the others find the thread awake */
    }
    uv_sem_wait(&p->done);
    uv_sem_destroy(&p->done);
    return p->code;
}

int assent_call(struct assent_client *client, const struct assent_request *request, uint32_t timeout_ms,
                struct assent_reply *reply)
{
    struct posted p = {.request = request, .timeout_ms = timeout_ms, .reply = reply};
    return post(client, &p);
}

int assent_tso_get(struct assent_client *client, uint32_t count, uint64_t *first)
{
    struct posted p = {.count = count};
    int rc = post(client, &p);
    if (rc == ASSENT_OK && first != NULL) {
        *first = p.first;
    }
    return rc;
}

void assent_stats(struct assent_client *client, struct assent_stats *out)
{
    struct posted p = {.stats = out};
    (void)post(client, &p);
}

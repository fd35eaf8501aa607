/* Nodes over the fake log in one process, and a client whose waiting drives their loop. */
#include "harness.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "rpc.h"

/* Turns without news after which a test gives up; each waits STEP_MS at most. */
#define PATIENCE 4000
#define STEP_MS  5

static void on_step(uv_timer_t *timer)
{
    (void)timer;
}

void harness_step(struct harness *h)
{
    uv_timer_t timer;
    uv_timer_init(&h->loop, &timer);
    uv_timer_start(&timer, on_step, STEP_MS, 0);
    uv_run(&h->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&h->loop, UV_RUN_NOWAIT);
}

void harness_settle(struct harness *h)
{
    for (int i = 0; i < 10; i++)
        harness_step(h);
}

static void load(struct harness *h, int i, const char *const *options)
{
    char id[16], cluster[64], err[512];
    snprintf(h->dir[i], sizeof h->dir[i], "/tmp/assent-node-XXXXXX");
    char *made = mkdtemp(h->dir[i]);
    assert(made != NULL);
    snprintf(id, sizeof id, "%d", i + 1);
    snprintf(cluster, sizeof cluster, "1=h:1,2=h:2,3=h:3");
    const char *argv[48] = {
        "assentd",     "--id",        id,      "--data",      h->dir[i],    "--cluster",      cluster,
        "--http",      "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--insecure", "--state-map-gb", "1",
        "--log-level", "error"};
    int argc = 16;
    for (; options != NULL && *options != NULL; options++)
        argv[argc++] = *options;
    enum config_answer answer =
        config_load(&h->config[i], argc, (char **)(uintptr_t)argv, NULL, err, sizeof err);
    if (answer != CONFIG_RUN) {
        fprintf(stderr, "%s\n", err);
        abort();
    }
}

void harness_start(struct harness *h, int n, const char *const *options)
{
    char err[512];
    memset(h, 0, sizeof *h);
    uv_loop_init(&h->loop);
    h->n = n;
    for (int i = 0; i < n; i++) {
        load(h, i, options);
        if (node_open(&h->node[i], &h->loop, &h->config[i], err, sizeof err) != ASSENT_OK) {
            fprintf(stderr, "%s\n", err);
            abort();
        }
    }
    fake_lead(h->node[0].log, 1, true);
    harness_settle(h);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void harness_stop(struct harness *h)
{
    for (int i = 0; i < h->n; i++)
        node_stop(&h->node[i]);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    for (int i = 0; i < h->n; i++) {
        node_close(&h->node[i]);
        config_close(&h->config[i]);
        nftw(h->dir[i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
    int status = uv_loop_close(&h->loop);
    assert(status == 0);
}

/* ---- client ---- */

void client_open(struct client *c, struct harness *h, int i, bool rpc)
{
    const char *address = rpc ? rpc_address(h->node[i].rpc) : http_address(h->node[i].http);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *c = (struct client){.h = h, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int status = connect(c->fd, (struct sockaddr *)&in, sizeof in);
    assert(status == 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

void client_close(struct client *c)
{
    close(c->fd);
    free(c->in);
    c->in = NULL;
}

static bool client_read(struct client *c)
{
    char chunk[65536];
    ssize_t n = recv(c->fd, chunk, sizeof chunk, 0);
    if (n <= 0) {
        c->closed = c->closed || n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
        return false;
    }
    c->in = realloc(c->in, c->size + (size_t)n + 1);
    assert(c->in != NULL);
    memcpy(c->in + c->size, chunk, (size_t)n);
    c->size += (size_t)n;
    c->in[c->size] = 0;
    return true;
}

void client_send(struct client *c, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = send(c->fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            c->closed = true;
            return;
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else {
            harness_step(c->h);
            client_read(c);
        }
    }
}

bool client_more(struct client *c)
{
    for (int i = 0; i < PATIENCE && !c->closed; i++) {
        if (client_read(c))
            return true;
        if (!c->closed)
            harness_step(c->h);
    }
    return false;
}

bool client_reply(struct client *c, struct reply *reply)
{
    char *head_end = c->size > 0 ? strstr(c->in, "\r\n\r\n") : NULL;
    if (head_end == NULL)
        return false;
    size_t head = (size_t)(head_end - c->in) + 4;
    char *length = strcasestr(c->in, "Content-Length:");
    size_t body = length != NULL && length < head_end ? strtoul(length + 15, NULL, 10) : 0;
    if (c->size < head + body)
        return false;
    memset(reply, 0, sizeof *reply);
    reply->status = atoi(c->in + 9);
    memcpy(reply->head, c->in, head < sizeof reply->head ? head : sizeof reply->head - 1);
    reply->body = strndup(c->in + head, body);
    c->size -= head + body;
    memmove(c->in, c->in + head + body, c->size + 1);
    return true;
}

void client_wait(struct client *c, struct reply *reply)
{
    while (!client_reply(c, reply)) {
        bool news = client_more(c);
        if (!news && !client_reply(c, reply)) {
            fprintf(stderr, "no reply; connection %s; so far: %s\n", c->closed ? "closed" : "open",
                    c->in ? c->in : "");
            abort();
        }
        if (!news)
            return;
    }
}

char *http_text(const char *method, const char *path, const char *headers, const char *body)
{
    char *text;
    int n = asprintf(&text, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %zu\r\n%s\r\n%s", method, path,
                     strlen(body ? body : ""), headers ? headers : "", body ? body : "");
    assert(n > 0);
    return text;
}

struct reply http_call(struct harness *h, int i, const char *method, const char *path, const char *headers,
                       const char *body)
{
    struct client c;
    struct reply reply = {0};
    char *text = http_text(method, path, headers, body);
    client_open(&c, h, i, false);
    client_send(&c, text, strlen(text));
    client_wait(&c, &reply);
    client_close(&c);
    free(text);
    return reply;
}

void reply_free(struct reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

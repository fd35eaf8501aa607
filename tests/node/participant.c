/* A scripted HTTP participant for tests. */
#include "participant.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One connection. */
struct link {
    uv_tcp_t tcp;
    struct participant *owner;
    struct link *next;
    bool held, closing, dripping;
    size_t size;
    char in[65536];
};

struct reply {
    uv_write_t write;
    struct link *link;
    bool flood, last;
    size_t size;
    char text[];
};

static void send_text(struct link *l, const char *text, size_t size, bool flood, bool last);

static void on_closed(uv_handle_t *handle)
{
    struct link *l = handle->data;
    struct link **at = &l->owner->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l);
}

static void link_close(struct link *l)
{
    if (l->closing)
        return;
    l->closing = true;
    if (l->held) {
        l->owner->held--;
        l->owner->broken++;
    }
    uv_close((uv_handle_t *)&l->tcp, on_closed);
}

static void on_written(uv_write_t *write, int status)
{
    struct reply *r = write->data;
    struct link *l = r->link;
    if (status != 0 || r->last)
        link_close(l);
    else if (r->flood && !l->closing)
        send_text(l, r->text, r->size, true, false);
    free(r);
}

static void send_text(struct link *l, const char *text, size_t size, bool flood, bool last)
{
    struct reply *r = malloc(sizeof(*r) + size);
    assert(r != NULL);
    *r = (struct reply){.link = l, .flood = flood, .last = last, .size = size};
    memcpy(r->text, text, size);
    r->write.data = r;
    uv_buf_t buf = uv_buf_init(r->text, (unsigned)size);
    int rv = uv_write(&r->write, (uv_stream_t *)&l->tcp, &buf, 1, on_written);
    assert(rv == 0);
}

static void answer(struct link *l, const char *status, const char *header, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n%s", status,
                     strlen(body), header, body);
    send_text(l, text, (size_t)n, false, false);
}

/* ---- compressed answers ---- */

/* {"dtm_result":"FAILURE"} */
static const uint8_t packed[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab,
                                 0x56, 0x4a, 0x29, 0xc9, 0x8d, 0x2f, 0x4a, 0x2d, 0x2e, 0xcd, 0x29,
                                 0x51, 0xb2, 0x52, 0x72, 0x73, 0xf4, 0xf4, 0x09, 0x0d, 0x72, 0x55,
                                 0xaa, 0x05, 0x00, 0xc9, 0x7b, 0x92, 0x6f, 0x18, 0x00, 0x00, 0x00};

static void answer_bytes(struct link *l, const char *header, const void *body, size_t size)
{
    char *text = malloc(size + 256);
    assert(text != NULL);
    int n = snprintf(text, 256, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n", size, header);
    memcpy(text + n, body, size);
    send_text(l, text, (size_t)n + size, false, false);
    free(text);
}

/* A gzip stream of `matches` times 258 bytes 'x' (RFC 1951, 3.2.6: fixed codes), without its end. */
static size_t make_bomb(uint8_t *out, size_t size, uint32_t matches)
{
    static const uint8_t head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    size_t bit = sizeof(head) * 8;
    memset(out, 0, size);
    memcpy(out, head, sizeof(head));
#define PUT(value, n)                                                                                        \
    for (int k = 0; k < (n); k++, bit++)                                                                     \
    out[bit / 8] |= (uint8_t)(((value) >> k & 1) << bit % 8)
    PUT(3, 3);    /* last block, fixed codes */
    PUT(0x15, 8); /* literal 'x': 10101000, first bit first */
    while (matches-- > 0) {
        PUT(0xa3, 8); /* length 258: 11000101 */
        PUT(0, 5);    /* distance 1 */
    }
#undef PUT
    return bit / 8;
}

static void bomb(struct link *l)
{
    static uint8_t bytes[256 * 1024];
    size_t n = make_bomb(bytes, sizeof(bytes), 150000); /* 38 MB in 244 KB */
    answer_bytes(l, "Content-Encoding: gzip\r\n", bytes, n);
}

/* ---- what a path means ---- */

/* `size` bytes of answer, the last ones `end`. */
static void answer_big(struct link *l, size_t size, const char *end)
{
    char *body = malloc(size);
    assert(body != NULL);
    memset(body, 'x', size);
    memcpy(body + size - strlen(end), end, strlen(end));
    answer_bytes(l, "", body, size);
    free(body);
}

/* {"error":{"code":<code>}}, or a null error for 0. */
static void answer_rpc(struct link *l, const char *path)
{
    char body[100];
    long code = strtol(path, NULL, 10);
    if (code == 0)
        snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"error\":null,\"result\":1}");
    else
        snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"error\":{\"code\":%ld}}", code);
    answer(l, "200 OK", "", body);
}

/* "/<what>/<rest>"; NULL: another path. */
static const char *below(const char *path, const char *what)
{
    size_t n = strlen(what);
    return strncmp(path, what, n) == 0 ? path + n : NULL;
}

static void act(struct link *l, const char *path, size_t path_size)
{
    struct participant *p = l->owner;
    bool first = strstr(p->last, "Assent-Attempt: 0\r\n") != NULL;
    static const char drip[] = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    const char *rest;
#define IS(name) (path_size == strlen(name) && memcmp(path, name, path_size) == 0)
    if (p->down) {
        answer(l, "503 Service Unavailable", "", "");
    } else if (IS("/fail") || (IS("/once") && first)) {
        answer(l, "500 Oh", "", "no stock\n");
    } else if (IS("/refuse")) {
        answer(l, "409 Conflict", "", "no stock\n");
    } else if (IS("/later") && first) {
        answer(l, "200 OK", "", "{\"dtm_result\":\"ONGOING\"}");
    } else if (IS("/redirect")) {
        answer(l, "302 Found", "Location: /ok\r\n", "");
    } else if (IS("/moved")) {
        answer(l, "307 Temporary Redirect", "Location: /ok\r\n", "");
    } else if (IS("/circle")) {
        answer(l, "307 Temporary Redirect", "Location: /circle\r\n", "");
    } else if (IS("/garbage")) {
        send_text(l, "\x01\x02 what is this\r\n\r\n", 19, false, true);
    } else if (IS("/close")) {
        link_close(l);
    } else if (IS("/flood")) {
        char body[16384];
        memset(body, 'x', sizeof(body));
        send_text(l, "HTTP/1.1 200 OK\r\n\r\n", 19, false, false);
        send_text(l, body, sizeof(body), true, false);
    } else if (IS("/heads")) {
        char line[] = "X-More: more and more and more and more and more and more and more\r\n";
        send_text(l, "HTTP/1.1 200 OK\r\n", 17, false, false);
        send_text(l, line, sizeof(line) - 1, true, false);
    } else if ((rest = below(path, "/away/")) != NULL) {
        char header[80];
        snprintf(header, sizeof(header), "Location: http://127.0.0.1:%lu/ok\r\n", strtoul(rest, NULL, 10));
        answer(l, "308 Permanent Redirect", header, "");
    } else if (IS("/gzip")) {
        answer_bytes(l, "Content-Encoding: gzip\r\n", packed, sizeof(packed));
    } else if (IS("/bomb")) {
        bomb(l);
    } else if (IS("/big")) {
        answer_big(l, 1000 * 1000, "FAILURE");
    } else if (IS("/bigger")) {
        answer_big(l, 2000 * 1000, "FAILURE");
    } else if (IS("/drip")) {
        send_text(l, "HTTP/1.1 200 OK\r\n\r\n", 19, false, false);
        l->dripping = true;
    } else if (IS("/drop")) { /* as /drip, and it comes to an end */
        send_text(l, drip, sizeof(drip) - 1, false, false);
        send_text(l, "FAI", 3, false, false);
        l->dripping = true;
    } else if (IS("/flip")) {
        answer(l, p->requests % 2 ? "503 Service Unavailable" : "200 OK", "", "");
    } else if ((rest = below(path, "/status/")) != NULL) {
        char status[8];
        snprintf(status, sizeof(status), "%.3s ?", rest);
        answer(l, status, "", "");
    } else if ((rest = below(path, "/rpc/")) != NULL) {
        answer_rpc(l, rest);
    } else if (IS("/hold") && !p->releasing) {
        l->held = true;
        if (++p->held > p->held_max)
            p->held_max = p->held;
    } else {
        answer(l, "200 OK", "", "{}");
    }
#undef IS
}

/* Take whole requests off the front of what has come in. */
static void take_requests(struct link *l)
{
    struct participant *p = l->owner;
    char *end;
    l->in[l->size] = 0;
    while (!l->closing && (end = strstr(l->in, "\r\n\r\n")) != NULL) {
        size_t head = (size_t)(end - l->in) + 4;
        const char *length = strcasestr(l->in, "\r\nContent-Length: ");
        size_t body = length != NULL && length < end ? strtoul(length + 18, NULL, 10) : 0;
        if (l->size < head + body)
            return;
        size_t n = head + body < sizeof(p->last) ? head + body : sizeof(p->last) - 1;
        memcpy(p->last, l->in, n);
        p->last[n] = 0;
        const char *path = strchr(p->last, ' ');
        assert(path != NULL);
        path++;
        p->requests++;
        memmove(l->in, l->in + head + body, l->size - head - body + 1);
        l->size -= head + body;
        act(l, path, strcspn(path, " ?"));
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *l = handle->data;
    (void)suggested;
    *buf = uv_buf_init(l->in + l->size, (unsigned)(sizeof(l->in) - 1 - l->size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *l = stream->data;
    (void)buf;
    if (n < 0) {
        link_close(l);
        return;
    }
    l->size += (size_t)n;
    take_requests(l);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct participant *p = server->data;
    assert(status == 0);
    struct link *l = calloc(1, sizeof(*l));
    assert(l != NULL);
    l->owner = p;
    l->tcp.data = l;
    l->next = p->links;
    p->links = l;
    p->connections++;
    int rv = uv_tcp_init(p->loop, &l->tcp);
    assert(rv == 0);
    rv = uv_accept(server, (uv_stream_t *)&l->tcp);
    assert(rv == 0);
    rv = uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read);
    assert(rv == 0);
}

void participant_open(struct participant *p, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int size = sizeof(address);
    *p = (struct participant){.loop = loop};
    signal(SIGPIPE, SIG_IGN); /* callers hang up on who talks too much */
    uv_ip4_addr("127.0.0.1", 0, &address);
    p->server.data = p;
    int rv = uv_tcp_init(loop, &p->server);
    assert(rv == 0);
    rv = uv_tcp_bind(&p->server, (struct sockaddr *)&address, 0);
    assert(rv == 0);
    rv = uv_listen((uv_stream_t *)&p->server, 128, on_connection);
    assert(rv == 0);
    rv = uv_tcp_getsockname(&p->server, (struct sockaddr *)&address, &size);
    assert(rv == 0);
    p->port = ntohs(address.sin_port);
}

void participant_release(struct participant *p)
{
    p->releasing = true;
    for (struct link *l = p->links; l != NULL; l = l->next) {
        if (!l->held)
            continue;
        l->held = false;
        p->held--;
        answer(l, "200 OK", "", "{}");
    }
}

void participant_drip(struct participant *p, const char *text)
{
    for (struct link *l = p->links; l != NULL; l = l->next)
        if (l->dripping && !l->closing)
            send_text(l, text, strlen(text), false, false);
}

void participant_close(struct participant *p)
{
    uv_close((uv_handle_t *)&p->server, NULL);
    for (struct link *l = p->links; l != NULL; l = l->next)
        link_close(l);
}

/* HTTP calls on the loop.
 *
 * The happy path: start -> libcurl asks to watch a socket (on_socket) and to be woken (on_timeout) -> uv
 * tells about both (the sockets are a set of their own, which costs a call less than a uv_poll_t each)
 * -> curl_multi_socket_action -> a finished message -> the callback.  Failures arrive on the same road: a bad
 * name, a refused connection or a passed time limit is a message with another result.  Name look-ups run in
 * libcurl's threads, so a dead resolver costs a call its time limit and the loop nothing. */
#include "caller.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "assent/error.h"
#include "assent/limits.h"

#define EASY_POOL          64    /* idle handles kept for the next call */
#define RECEIVE_BYTES      4096L /* of each call under way; answers are short */
#define CONNECTIONS_KEPT   512L  /* idle connections kept alive, all hosts together */
#define POLL_EVENTS        64    /* sockets served per look */
#define CONNECT_TIMEOUT_MS 3000L
#define REDIRECTS_SAME_MAX 5L
#define REDIRECTS_ANY_MAX  10L

static const char *const words[CALLER_WORD_NR] = {
    [CALLER_WORD_ONGOING] = "ONGOING",
    [CALLER_WORD_FAILURE] = "FAILURE",
};

struct caller {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    int epoll; /* libcurl's sockets; the loop watches it through `poll` */
    uv_poll_t poll;
    bool *wanted; /* by descriptor: libcurl waits for it */
    size_t wanted_n;
    uint32_t handles; /* uv handles not closed yet */
    CURL *pool[EASY_POOL];
    uint32_t pooled;
    char *ca_file; /* NULL: the system's */
    bool insecure;
    void (*closed)(void *data);
    void *closed_data;
};

/* ---- libcurl asks, uv answers ---- */

static void request_free(struct caller_call *call)
{
    free(call->request);
    call->request = NULL;
}

static void call_end(struct caller_call *call)
{
    struct caller *c = call->caller;
    CURL *easy = call->easy;
    call->easy = NULL;
    curl_multi_remove_handle(c->multi, easy);
    if (c->pooled < EASY_POOL) { /* not reset: set_options() sets what differs */
        c->pool[c->pooled++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
    request_free(call);
}

/* A sentence in printable ASCII: what a participant answered may hold anything. */
static void describe(char *out, size_t size, const char *prefix, const char *text, size_t text_size)
{
    int used = snprintf(out, size, "%s", prefix);
    size_t n = used < 0 ? 0 : (size_t)used;
    for (size_t i = 0; i < text_size && n + 1 < size; i++) {
        char b = text[i];
        out[n++] = b >= ' ' && b < 0x7f ? b : b == '\n' || b == '\r' || b == '\t' ? ' ' : '?';
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = 0;
}

bool caller_answer_has(const struct caller_call *call, enum caller_word word)
{
    return call->has[word];
}

struct assent_bytes caller_answer(const struct caller_call *call)
{
    assert(call->keep);
    return (struct assent_bytes){(const uint8_t *)call->whole,
                                 call->total < CALLER_BODY_MAX ? (size_t)call->total : CALLER_BODY_MAX};
}

bool caller_unreachable(const struct caller_call *call)
{
    return call->unreachable;
}

void caller_answer_text(const struct caller_call *call, int status, char *out, size_t size)
{
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "HTTP %d%s", status, call->kept > 0 ? ": " : "");
    describe(out, size, prefix, call->body, call->kept);
}

/* Results that say nothing of the host: the address was wrong, or the answer led in a circle. */
static bool is_of_request(CURLcode result)
{
    return result == CURLE_URL_MALFORMAT || result == CURLE_UNSUPPORTED_PROTOCOL ||
           result == CURLE_TOO_MANY_REDIRECTS || result == CURLE_OUT_OF_MEMORY;
}

static void call_done(struct caller_call *call, CURLcode result)
{
    long status = 0;
    char error[CALLER_ERROR_BYTES_MAX] = "";
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    bool cut = result == CURLE_WRITE_ERROR && call->total > CALLER_BODY_MAX; /* by us: the status had come */
    if (call->head > CALLER_HEAD_MAX) {
        snprintf(error, sizeof(error), "the head of the answer is larger than %d bytes", CALLER_HEAD_MAX);
        status = 0;
    } else if (result != CURLE_OK && !cut) {
        const char *text = call->message[0] != 0 ? call->message : curl_easy_strerror(result);
        describe(error, sizeof(error), "", text, strlen(text));
        status = 0;
        call->unreachable = !is_of_request(result);
    } else if (status < 200 || status > 299) {
        caller_answer_text(call, (int)status, error, sizeof(error));
    }
    char *whole = call->whole;
    call_end(call);
    call->cb(call, (int)status, error); /* may free the call */
    free(whole);
}

static void read_messages(struct caller *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        char *call = NULL;
        CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        call_done((struct caller_call *)(void *)call, result);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct caller *c = poll->data;
    struct epoll_event ready[POLL_EVENTS];
    int running, n = epoll_wait(c->epoll, ready, POLL_EVENTS, 0); /* more than these: the loop comes back */
    (void)status, (void)events;
    for (int i = 0; i < n; i++) {
        int fd = ready[i].data.fd;
        uint32_t broken = ready[i].events & (EPOLLERR | EPOLLHUP);
        if (!c->wanted[fd]) { /* an idle connection that its host closes: libcurl finds out when it looks */
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, NULL);
            continue;
        }
        int flags = (ready[i].events & EPOLLIN || broken ? CURL_CSELECT_IN : 0) |
                    (ready[i].events & EPOLLOUT || broken ? CURL_CSELECT_OUT : 0);
        curl_multi_socket_action(c->multi, fd, flags, &running);
    }
    read_messages(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct caller *c = timer->data;
    int running;
    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    read_messages(c);
}

static int on_timeout(CURLM *multi, long ms, void *data)
{
    struct caller *c = data;
    (void)multi;
    if (c->closed != NULL)
        return 0;
    if (ms < 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void handle_closed(struct caller *c)
{
    assert(c->handles > 0);
    if (--c->handles > 0)
        return;
    void (*cb)(void *) = c->closed;
    void *data = c->closed_data;
    free(c->wanted);
    free(c);
    cb(data);
}

static bool wanted_grow(struct caller *c, size_t fd)
{
    size_t n = c->wanted_n > 0 ? c->wanted_n : 256;
    while (n <= fd)
        n *= 2;
    bool *larger = realloc(c->wanted, n * sizeof(*larger));
    if (larger == NULL)
        return false;
    memset(larger + c->wanted_n, 0, (n - c->wanted_n) * sizeof(*larger));
    c->wanted = larger;
    c->wanted_n = n;
    return true;
}

/* Between two calls a kept connection stays in the set, unwanted; a descriptor that was closed has left it by
 * itself, so one that comes back may be another one, and is added again. */
static int on_socket(CURL *easy, curl_socket_t socket, int what, void *data, void *socket_data)
{
    struct caller *c = data;
    size_t fd = (size_t)socket;
    (void)easy, (void)socket_data;
    if (fd >= c->wanted_n && !wanted_grow(c, fd))
        return -1;
    c->wanted[fd] = what != CURL_POLL_REMOVE;
    if (what == CURL_POLL_REMOVE)
        return 0;
    struct epoll_event event = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) |
                                          (what & CURL_POLL_OUT ? EPOLLOUT : 0u),
                                .data.fd = socket};
    if (epoll_ctl(c->epoll, EPOLL_CTL_MOD, socket, &event) == 0)
        return 0;
    return epoll_ctl(c->epoll, EPOLL_CTL_ADD, socket, &event) == 0 ? 0 : -1;
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct caller *c = handle->data;
    close(c->epoll);
    handle_closed(c);
}

/* ---- open, close ---- */

int caller_open(struct caller **out, uv_loop_t *loop, const struct caller_config *config)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ASSENT_NOMEM;
    struct caller *c = calloc(1, sizeof(*c));
    if (c == NULL)
        goto err_after_global;
    c->loop = loop;
    c->insecure = config->insecure;
    if (config->ca_file != NULL && (c->ca_file = strdup(config->ca_file)) == NULL)
        goto err_after_alloc;
    c->multi = curl_multi_init();
    if (c->multi == NULL)
        goto err_after_copy;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll < 0)
        goto err_after_multi;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
    int rv = uv_timer_init(loop, &c->timer);
    assert(rv == 0);
    rv = uv_poll_init(loop, &c->poll, c->epoll);
    assert(rv == 0);
    rv = uv_poll_start(&c->poll, UV_READABLE, on_poll);
    assert(rv == 0);
    c->timer.data = c->poll.data = c;
    c->handles = 2;
    *out = c;
    return ASSENT_OK;

err_after_multi:
    curl_multi_cleanup(c->multi);
err_after_copy:
    free(c->ca_file);
err_after_alloc:
    free(c);
err_after_global:
    curl_global_cleanup();
    return ASSENT_NOMEM;
}

void caller_close(struct caller *c, void (*cb)(void *data), void *data)
{
    assert(c->closed == NULL);
    c->closed = cb;
    c->closed_data = data;
    uv_timer_stop(&c->timer);
    for (uint32_t i = 0; i < c->pooled; i++)
        curl_easy_cleanup(c->pool[i]);
    c->pooled = 0;
    curl_multi_cleanup(c->multi); /* closes idle connections; on_socket() may hear of it */
    curl_global_cleanup();
    free(c->ca_file);
    c->ca_file = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

/* ---- a call ---- */

/* The status line of each answer, before its Location is looked at: do we follow this one? */
static size_t on_head(char *line, size_t size, size_t n, void *user)
{
    struct caller_call *call = user;
    size_t bytes = size * n;
    if (bytes > CALLER_HEAD_MAX - call->head) {
        call->head = CALLER_HEAD_MAX + 1;
        return 0; /* libcurl would keep them all */
    }
    call->head += (uint32_t)bytes;
    const char *code = bytes > 5 && memcmp(line, "HTTP/", 5) == 0 ? memchr(line, ' ', bytes) : NULL;
    if (code != NULL && call->redirects == CALLER_REDIRECTS_SAME) {
        size_t left = bytes - (size_t)(code - line);
        bool same = left > 3 && (memcmp(code, " 307", 4) == 0 || memcmp(code, " 308", 4) == 0);
        curl_easy_setopt(call->easy, CURLOPT_FOLLOWLOCATION, same ? 1L : 0L);
    }
    return bytes;
}

/* Look for the words in the bytes that have come, and where they meet those before. */
static void find_words(struct caller_call *call, const char *data, size_t size)
{
    size_t front = size < CALLER_WORD_BYTES_MAX - 1 ? size : CALLER_WORD_BYTES_MAX - 1;
    memcpy(call->seam + call->seam_size, data, front);
    call->seam_size += (uint32_t)front;
    for (int i = 0; i < CALLER_WORD_NR; i++)
        call->has[i] = call->has[i] ||
                       memmem(call->seam, call->seam_size, words[i], CALLER_WORD_BYTES_MAX) != NULL ||
                       memmem(data, size, words[i], CALLER_WORD_BYTES_MAX) != NULL;
    if (size > front) { /* the seam's end is not the end of what has come */
        memcpy(call->seam, data + size - front, front);
        call->seam_size = (uint32_t)front;
    } else if (call->seam_size > CALLER_WORD_BYTES_MAX - 1) {
        uint32_t drop = call->seam_size - (CALLER_WORD_BYTES_MAX - 1);
        memmove(call->seam, call->seam + drop, CALLER_WORD_BYTES_MAX - 1);
        call->seam_size = CALLER_WORD_BYTES_MAX - 1;
    }
}

static bool keep_whole(struct caller_call *call, const char *data, size_t size)
{
    size_t need = (size_t)call->total + size;
    if (need > call->whole_room) {
        size_t room = call->whole_room > 0 ? call->whole_room : 4096;
        while (room < need)
            room *= 2;
        char *larger = realloc(call->whole, room);
        if (larger == NULL)
            return false;
        call->whole = larger;
        call->whole_room = room;
    }
    memcpy(call->whole + call->total, data, size);
    return true;
}

/* A piece of the decoded answer. */
static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct caller_call *call = user;
    size_t bytes = size * n;
    size_t counts = CALLER_BODY_MAX - (size_t)call->total; /* what lies behind the bound is not looked at */
    if (counts > bytes)
        counts = bytes;
    size_t keep = sizeof(call->body) - call->kept;
    if (keep > counts)
        keep = counts;
    memcpy(call->body + call->kept, data, keep);
    call->kept += (uint32_t)keep;
    if (call->keep && !keep_whole(call, data, counts))
        return 0;
    find_words(call, data, counts);
    call->total += bytes;
    return call->total > CALLER_BODY_MAX ? 0 : bytes;
}

static bool printable(struct assent_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if ((text.base[i] < ' ' && text.base[i] != '\t') || text.base[i] == 0x7f)
            return false;
    return true;
}

static bool header_ok(const struct caller_header *h)
{
    return h->name.size > 0 && printable(h->name) && printable(h->value);
}

static char *put(char *at, struct assent_bytes text)
{
    if (text.size > 0)
        memcpy(at, text.base, text.size);
    return at + text.size;
}

/* "Name: value"; an empty value needs a semicolon, or libcurl takes it for a wish to leave the header out. */
static char *put_header(char *at, const struct caller_header *h)
{
    at = put(at, h->name);
    *at++ = h->value.size > 0 ? ':' : ';';
    if (h->value.size > 0)
        *at++ = ' ';
    at = put(at, h->value);
    *at++ = 0;
    return at;
}

/* What libcurl borrows, in one block: the list of headers, their lines, and behind them the body. */
static bool request_copy(struct caller_call *call, const struct caller_request *request, const char **body)
{
    static const char expect[] = "Expect:"; /* no 100-continue: one round trip */
    struct curl_slist *list;
    size_t size = sizeof(expect) + request->body.size + 1;
    if (request->n_headers > CALLER_HEADERS_MAX)
        return false;
    for (uint32_t i = 0; i < request->n_headers; i++) {
        if (!header_ok(&request->headers[i]))
            return false;
        size += request->headers[i].name.size + request->headers[i].value.size + 3;
    }
    list = malloc((request->n_headers + 1) * sizeof(*list) + size);
    if (list == NULL)
        return false;
    char *at = (char *)(list + request->n_headers + 1);
    list[0].data = memcpy(at, expect, sizeof(expect));
    at += sizeof(expect);
    for (uint32_t i = 0; i < request->n_headers; i++) {
        list[i].next = &list[i + 1];
        list[i + 1].data = at;
        at = put_header(at, &request->headers[i]);
    }
    list[request->n_headers].next = NULL;
    *body = at;
    *put(at, request->body) = 0;
    call->request = list;
    return true;
}

/* A handle with the options that are the same for every call. */
static CURL *easy_make(struct caller *c)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY,
                     ""); /* participants are called directly, whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "assent");
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    if (c->ca_file != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, c->ca_file);
    if (c->insecure) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return easy;
}

static CURL *easy_take(struct caller *c)
{
    return c->pooled > 0 ? c->pool[--c->pooled] : easy_make(c);
}

/* Every option that differs between calls: a pooled handle remembers those of its last one. */
static void set_options(struct caller_call *call, const struct caller_request *request, const char *url,
                        const char *body)
{
    CURL *easy = call->easy;
    bool any = request->redirects == CALLER_REDIRECTS_ANY;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)call);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->request);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body); /* makes it a POST */
    if (request->get)
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->message);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L); /* on_head() has a say */
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, any ? REDIRECTS_ANY_MAX : REDIRECTS_SAME_MAX);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     request->timeout_ms < CONNECT_TIMEOUT_MS ? (long)request->timeout_ms
                                                              : CONNECT_TIMEOUT_MS);
}

int caller_start(struct caller *c, struct caller_call *call, const struct caller_request *request,
                 caller_cb cb)
{
    assert(c->closed == NULL);
    char url[CALLER_URL_BYTES_MAX + 1];
    if (request->url.size >= sizeof(url) || memchr(request->url.base, 0, request->url.size) != NULL)
        return ASSENT_INVALID;
    memcpy(url, request->url.base, request->url.size);
    url[request->url.size] = 0;
    *call = (struct caller_call){
        .data = call->data, .cb = cb, .caller = c, .redirects = request->redirects, .keep = request->keep};
    const char *body;
    if (!request_copy(call, request, &body))
        return ASSENT_INVALID;
    call->easy = easy_take(c);
    if (call->easy == NULL) {
        request_free(call);
        return ASSENT_NOMEM;
    }
    set_options(call, request, url, body);
    CURLMcode rv = curl_multi_add_handle(c->multi, call->easy);
    if (rv == CURLM_OK)
        return ASSENT_OK;
    curl_easy_cleanup(call->easy);
    call->easy = NULL;
    request_free(call);
    return ASSENT_NOMEM;
}

void caller_drop(struct caller_call *call)
{
    if (call->easy == NULL)
        return;
    call_end(call);
    free(call->whole);
    call->whole = NULL;
}

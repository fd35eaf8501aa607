/* Calls of the REST API: over the endpoints until one gives a definite answer. */
#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "ctl.h"

#define REPLY_BYTES_MAX (64u << 20) /* a page of 1000 rows with payloads of 64 KiB */
#define PAUSE_MS        100

struct reply {
    char *bytes;
    size_t size;
};

static size_t receive(char *bytes, size_t one, size_t n, void *data)
{
    struct reply *r = data;
    size_t size = one * n;
    if (r->size + size > REPLY_BYTES_MAX) {
        return 0;
    }
    char *grown = realloc(r->bytes, r->size + size + 1);
    if (grown == NULL) {
        return 0;
    }
    memcpy(grown + r->size, bytes, size);
    r->bytes = grown;
    r->size += size;
    grown[r->size] = '\0';
    return size;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say(struct answer *a, enum exit_code code, const char *error, const char *message)
{
    a->code = code;
    (void)snprintf(a->error, sizeof a->error, "%s", error);
    (void)snprintf(a->message, sizeof a->message, "%s", message);
}

/* What an HTTP answer means. */
static void judge(long status, const struct reply *r, struct answer *a)
{
    json_t *body = r->bytes != NULL ? json_loadb(r->bytes, r->size, JSON_DECODE_ANY, NULL) : NULL;
    if (status >= 200 && status < 300) {
        json_t *data = json_object_get(body, "data");
        a->data = data != NULL ? json_incref(data) : json_incref(body);
        say(a, EXIT_DONE, "", "");
        if (a->data == NULL) { /* a plain text of success */
            a->data = json_stringn_nocheck(r->bytes != NULL ? r->bytes : "", r->size);
        }
    } else {
        const json_t *error = json_object_get(body, "error");
        const char *name = json_string_value(json_object_get(error, "code"));
        const char *message = json_string_value(json_object_get(error, "message"));
        char number[32];
        (void)snprintf(number, sizeof number, "HTTP_%ld", status);
        enum exit_code code = status == 503 ? EXIT_UNREACHABLE : status == 504 ? EXIT_UNKNOWN : EXIT_REFUSED;
        say(a, code, name != NULL ? name : number, message != NULL ? message : "the node gave no reason");
    }
    json_decref(body);
}

struct attempt {
    const char *method, *path, *body, *key, *ns;
    uint32_t timeout_ms;
};

/* One request to one endpoint.  `*sent`: it may have been carried out. */
static void attempt(CURL *curl, const char *endpoint, const struct attempt *t, struct answer *a, bool *sent)
{
    char url[4096], key[96], ns[96];
    struct reply reply = {NULL, 0};
    (void)snprintf(url, sizeof url, "http://%s%s", endpoint, t->path);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s", t->key);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (t->key[0] != '\0') {
        headers = curl_slist_append(headers, key);
    }
    if (t->ns[0] != '\0') {
        (void)snprintf(ns, sizeof ns, "X-Assent-Namespace: %s", t->ns);
        headers = curl_slist_append(headers, ns);
    }
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, t->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* nodes are neighbours */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, t->timeout_ms < 1000 ? (long)t->timeout_ms : 1000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)t->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    if (strcmp(t->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, t->body);
    }
    CURLcode rc = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    *sent = false;
    if (rc == CURLE_OK) {
        judge(status, &reply, a);
    } else {
        long request = 0;
        curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &request);
        *sent = request > 0;
        say(a, *sent ? EXIT_UNKNOWN : EXIT_UNREACHABLE, *sent ? "UNKNOWN_OUTCOME" : "UNREACHABLE",
            curl_easy_strerror(rc));
    }
    (void)snprintf(a->endpoint, sizeof a->endpoint, "%s", endpoint);
    curl_slist_free_all(headers);
    free(reply.bytes);
}

static void make_key(char key[40])
{
    uint8_t random[16];
    ssize_t n = getrandom(random, sizeof random, 0);
    assert(n == sizeof random); /* 16 bytes are never short */
    (void)snprintf(key, 5, "ctl-");
    for (size_t i = 0; i < sizeof random; i++) {
        (void)snprintf(key + 4 + 2 * i, 3, "%02x", random[i]);
    }
}

void api_call(const struct ctl *ctl, const char *method, const char *path, const json_t *body, bool once,
              struct answer *out)
{
    bool get = strcmp(method, "GET") == 0;
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    char key[40] = "";
    if (!get && !once) {
        make_key(key);
    }
    struct attempt t = {
        .method = method, .path = path, .body = text != NULL ? text : "", .key = key, .ns = ctl->ns};
    int64_t until = now_ms() + ctl->timeout_ms;
    CURL *curl = curl_easy_init();
    *out = (struct answer){.code = EXIT_UNREACHABLE};
    say(out, EXIT_UNREACHABLE, "UNREACHABLE", "no endpoint was tried");
    bool unknown = false;
    for (uint32_t i = 0; curl != NULL; i++) {
        int64_t left = until - now_ms();
        if (left <= 0) {
            break;
        }
        bool sent;
        t.timeout_ms = (uint32_t)left;
        attempt(curl, ctl->endpoints[i % ctl->endpoints_n], &t, out, &sent);
        bool again = out->code == EXIT_UNREACHABLE || (out->code == EXIT_UNKNOWN && !once);
        unknown |= out->code == EXIT_UNKNOWN && !get;
        if (!again) {
            break;
        }
        if ((i + 1) % ctl->endpoints_n == 0) {
            const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
            (void)nanosleep(&pause, NULL);
        }
    }
    if (out->code == EXIT_UNREACHABLE && unknown) {
        out->code = EXIT_UNKNOWN; /* an earlier try may have been carried out */
    } else if (out->code == EXIT_UNKNOWN && get) {
        out->code = EXIT_UNREACHABLE; /* reading changes nothing */
    }
    curl_easy_cleanup(curl);
    free(text);
}

void api_get(const char *endpoint, const char *path, uint32_t timeout_ms, struct answer *out)
{
    struct attempt t = {
        .method = "GET", .path = path, .body = "", .key = "", .ns = "", .timeout_ms = timeout_ms};
    *out = (struct answer){.code = EXIT_UNREACHABLE};
    CURL *curl = curl_easy_init();
    bool sent;
    if (curl != NULL) {
        attempt(curl, endpoint, &t, out, &sent);
    }
    curl_easy_cleanup(curl);
}

void api_close(struct answer *a)
{
    json_decref(a->data);
    a->data = NULL;
}

bool api_escape(char *out, size_t size, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t at = strlen(out);
    for (; *text != '\0'; text++) {
        bool as_is = strchr(plain, *text) != NULL;
        if (at + 4 > size) {
            return false;
        }
        unsigned char byte = (unsigned char)*text;
        at += (size_t)(as_is ? snprintf(out + at, size - at, "%c", byte)
                             : snprintf(out + at, size - at, "%%%02X", byte));
    }
    return true;
}

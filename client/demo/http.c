/* Blocking JSON over HTTP, and calls to a cluster that may be electing. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "demo.h"

#define ANSWER_MAX (8u * 1024 * 1024)

struct buffer {
    char *base;
    size_t size;
};

static size_t on_data(char *data, size_t size, size_t n, void *user)
{
    struct buffer *b = user;
    size_t bytes = size * n;
    if (b->size + bytes > ANSWER_MAX)
        return 0;
    char *more = realloc(b->base, b->size + bytes);
    if (more == NULL)
        return 0;
    memcpy(more + b->size, data, bytes);
    b->base = more;
    b->size += bytes;
    return bytes;
}

void http_init(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

void http_answer_clear(struct http_answer *a)
{
    json_decref(a->body);
    *a = (struct http_answer){0};
}

void http_call(const char *method, const char *url, const char *header, json_t *body, long timeout_ms,
               struct http_answer *out)
{
    *out = (struct http_answer){0};
    CURL *easy = curl_easy_init();
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct buffer answer = {0};
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (header != NULL)
        headers = curl_slist_append(headers, header);
    if (easy == NULL || headers == NULL) {
        snprintf(out->error, sizeof(out->error), "out of memory");
        goto out;
    }
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    if (text != NULL)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text);
    CURLcode rv = curl_easy_perform(easy);
    if (rv != CURLE_OK) {
        snprintf(out->error, sizeof(out->error), "%s", curl_easy_strerror(rv));
        goto out;
    }
    long status;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    out->status = (int)status;
    if (answer.size > 0)
        out->body = json_loadb(answer.base, answer.size, 0, NULL);
out:
    curl_slist_free_all(headers);
    if (easy != NULL)
        curl_easy_cleanup(easy);
    free(text);
    free(answer.base);
}

bool endpoints_parse(struct endpoints *e, const char *text)
{
    *e = (struct endpoints){0};
    while (*text != 0) {
        size_t n = strcspn(text, ",");
        if (e->n == ENDPOINTS_MAX || n == 0 || n >= sizeof(e->at[0]))
            return false;
        memcpy(e->at[e->n++], text, n);
        text += n + (text[n] == ',');
    }
    return e->n > 0;
}

/* 128 random bits, so that a retry is known and nothing else is taken for one. */
static void key_header(char *out, size_t size)
{
    uint64_t random[2] = {0, 0};
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        abort();
    snprintf(out, size, "Idempotency-Key: %016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
}

static void describe(const struct http_answer *a, const char *at, char *error, size_t size)
{
    const json_t *e = json_object_get(a->body, "error");
    const char *code = json_string_value(json_object_get(e, "code"));
    const char *message = json_string_value(json_object_get(e, "message"));
    if (a->status == 0)
        snprintf(error, size, "%s: %s", at, a->error);
    else
        snprintf(error, size, "%s: HTTP %d %s: %s", at, a->status, code != NULL ? code : "",
                 message != NULL ? message : "");
}

bool cluster_call(struct endpoints *e, const char *method, const char *path, json_t *body, long patience_ms,
                  json_t **data, char *error, size_t error_size)
{
    char key[80], url[512];
    int64_t until = monotonic_ms() + patience_ms;
    bool post = strcmp(method, "POST") == 0;
    *data = NULL;
    key_header(key, sizeof(key));
    for (;;) {
        struct http_answer a;
        const char *at = e->at[e->current];
        snprintf(url, sizeof(url), "http://%s/api/v1%s", at, path);
        http_call(method, url, post ? key : NULL, body, 5000, &a);
        if (a.status >= 200 && a.status < 300) {
            json_t *inner = json_object_get(a.body, "data");
            *data = inner != NULL ? json_incref(inner) : json_incref(a.body);
            http_answer_clear(&a);
            return true;
        }
        describe(&a, at, error, error_size);
        bool again = a.status == 0 || a.status == 503 || a.status == 504;
        http_answer_clear(&a);
        if (!again || monotonic_ms() >= until)
            return false;
        e->current = (e->current + 1) % e->n;
        sleep_ms(20);
    }
}

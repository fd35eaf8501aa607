/* HTTP requests of the judge; see http.h.
 *
 * The classification is the most delicate part of a judge: any doubt is UNKNOWN.  A connection that was
 * refused reached nobody; 4xx, 503 and 507 NO_SPACE with the product's own error body say that nothing was
 * done; everything else that is no success may have happened. */
#include "http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    char *bytes;
    size_t n;
};

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct buffer *b = user;
    char *more = realloc(b->bytes, b->n + size * n + 1);
    if (more == NULL)
        return 0;
    memcpy(more + b->n, data, size * n);
    b->bytes = more;
    b->n += size * n;
    b->bytes[b->n] = 0;
    return size * n;
}

static bool reached_nobody(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
}

static void judge(struct http_answer *out, const struct buffer *body, bool read)
{
    json_t *root = body->n > 0 ? json_loadb(body->bytes, body->n, 0, NULL) : NULL;
    out->server_ms = json_integer_value(json_object_get(root, "timestamp"));
    const char *code = json_string_value(json_object_get(json_object_get(root, "error"), "code"));
    if (out->status == 200 && json_is_true(json_object_get(root, "success"))) {
        out->outcome = HTTP_DONE;
        out->data = json_incref(json_object_get(root, "data"));
    } else if (code != NULL && ((out->status >= 400 && out->status < 500) || out->status == 503 ||
                                (out->status == 507 && strcmp(code, "NO_SPACE") == 0))) {
        out->outcome = HTTP_REFUSED;
    } else {
        out->outcome = read ? HTTP_REFUSED : HTTP_UNKNOWN;
    }
    if (out->outcome != HTTP_DONE)
        snprintf(out->error, sizeof out->error, "%s", code != NULL ? code : "unreadable");
    json_decref(root);
}

void http_ask(const char *base, const char *method, const char *path, const char *key, const json_t *body,
              long timeout_ms, bool read, struct http_answer *out)
{
    char url[1024], header[192];
    struct buffer answer = {NULL, 0};
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    *out = (struct http_answer){.outcome = read ? HTTP_REFUSED : HTTP_UNKNOWN};
    snprintf(url, sizeof url, "%s%s", base, path);
    if (key != NULL) {
        snprintf(header, sizeof header, "Idempotency-Key: %s", key);
        headers = curl_slist_append(headers, header);
    }
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        abort();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "GET") != 0)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, text != NULL ? text : "{}");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* On a connection it has used before, curl sends a request again when that died: twice done, or called
     * unreachable because the second attempt was refused.  A new one is tried once. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms < 1000 ? timeout_ms : 1000L);
    CURLcode code = curl_easy_perform(easy);
    if (code == CURLE_OK) {
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &out->status);
        judge(out, &answer, read);
    } else {
        long connects = 0; /* a connection attempt that never stood reached nobody, also when time ran out */
        double connected_s = 0;
        curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
        curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME, &connected_s);
        bool nobody = reached_nobody(code) || (code == CURLE_OPERATION_TIMEDOUT && connected_s <= 0);
        out->outcome = nobody || read ? HTTP_REFUSED : HTTP_UNKNOWN;
        snprintf(out->error, sizeof out->error, "%s",
                 nobody ? "unreachable" : "timeout or broken connection");
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    free(text);
    free(answer.bytes);
}

char *http_text(const char *base, const char *path, long timeout_ms)
{
    char url[1024];
    long status = 0;
    struct buffer page = {NULL, 0};
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        abort();
    snprintf(url, sizeof url, "%s%s", base, path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &page);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    if (curl_easy_perform(easy) == CURLE_OK)
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    if (status == 200)
        return page.bytes;
    free(page.bytes);
    return NULL;
}

void http_close(struct http_answer *answer)
{
    json_decref(answer->data);
    answer->data = NULL;
}

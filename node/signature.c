/* Signed calls: HMAC-SHA-256 of nettle. */
#include "signature.h"

#include <assert.h>
#include <errno.h>
#include <nettle/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/limits.h"

struct key {
    char *prefix;
    struct hmac_sha256_ctx ctx; /* with the key set */
};

struct signature_keys {
    uint32_t n;
    struct key key[SIGNATURE_RULES_MAX];
};

/* Does the authority, or a part of the path, end before this byte? */
static bool is_border(uint8_t b)
{
    return b == '/' || b == '?' || b == '#';
}

bool url_below(struct assent_bytes url, const char *prefix)
{
    size_t n = strlen(prefix);
    if (url.size < n || memcmp(url.base, prefix, n) != 0)
        return false;
    return url.size == n || n == 0 || prefix[n - 1] == '/' || is_border(url.base[n]);
}

static bool read_key(const char *path, struct key *key, char *err, size_t err_size)
{
    uint8_t bytes[SIGNATURE_KEY_MAX + 2];
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        snprintf(err, err_size, "--branch-secret: %.200s: %s", path, strerror(errno));
        return false;
    }
    size_t n = fread(bytes, 1, sizeof(bytes), in);
    bool failed = ferror(in) != 0;
    fclose(in);
    if (n > 0 && bytes[n - 1] == '\n')
        n--;
    bool ok = !failed && n >= SIGNATURE_KEY_MIN && n <= SIGNATURE_KEY_MAX;
    if (ok)
        hmac_sha256_set_key(&key->ctx, n, bytes);
    else
        snprintf(err, err_size, "--branch-secret: %.200s: a key has %d to %d bytes", path, SIGNATURE_KEY_MIN,
                 SIGNATURE_KEY_MAX);
    explicit_bzero(bytes, sizeof(bytes));
    return ok;
}

bool signature_open(struct signature_keys **out, char *const *rules, uint32_t n, char *err, size_t err_size)
{
    struct signature_keys *keys = calloc(1, sizeof(*keys));
    assert(keys != NULL);
    *out = keys;
    for (uint32_t i = 0; i < n; i++) {
        const char *mark = strrchr(rules[i], '=');
        if (mark == NULL || mark == rules[i] || mark[1] == 0 || i == SIGNATURE_RULES_MAX ||
            memmem(rules[i], (size_t)(mark - rules[i]), "://", 3) == NULL) {
            snprintf(
                err, err_size,
                "--branch-secret takes <beginning of the URL, with http:// or https://>=<file of the key>, "
                "at most %d of them, not '%.80s'",
                SIGNATURE_RULES_MAX, rules[i]);
            goto err_after_keys;
        }
        struct key *key = &keys->key[keys->n++];
        key->prefix = strndup(rules[i], (size_t)(mark - rules[i]));
        assert(key->prefix != NULL);
        if (!read_key(mark + 1, key, err, err_size))
            goto err_after_keys;
    }
    return true;

err_after_keys:
    signature_close(keys);
    *out = NULL;
    return false;
}

void signature_close(struct signature_keys *keys)
{
    if (keys == NULL)
        return;
    for (uint32_t i = 0; i < keys->n; i++)
        free(keys->key[i].prefix);
    explicit_bzero(keys, sizeof(*keys));
    free(keys);
}

/* Path and query as they are sent: behind the authority, "/" when there is none. */
static void update_target(struct hmac_sha256_ctx *ctx, struct assent_bytes url)
{
    const uint8_t *at = memmem(url.base, url.size, "://", 3), *end = url.base + url.size;
    at = at != NULL ? at + 3 : url.base;
    while (at < end && !is_border(*at))
        at++;
    const uint8_t *fragment = memchr(at, '#', (size_t)(end - at));
    if (fragment != NULL)
        end = fragment;
    if (at == end || *at != '/')
        hmac_sha256_update(ctx, 1, (const uint8_t *)"/");
    hmac_sha256_update(ctx, (size_t)(end - at), at);
}

bool signature_make(const struct signature_keys *keys, struct assent_bytes url, const char *method,
                    struct assent_bytes body, int64_t now_ms, char out[SIGNATURE_BYTES_MAX])
{
    const struct key *best = NULL;
    for (uint32_t i = 0; keys != NULL && i < keys->n; i++)
        if (url_below(url, keys->key[i].prefix) &&
            (best == NULL || strlen(keys->key[i].prefix) > strlen(best->prefix)))
            best = &keys->key[i];
    if (best == NULL)
        return false;
    struct hmac_sha256_ctx ctx = best->ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char text[32];
    int n = snprintf(text, sizeof(text), "%lld.", (long long)now_ms);
    hmac_sha256_update(&ctx, (size_t)n, (const uint8_t *)text);
    hmac_sha256_update(&ctx, strlen(method), (const uint8_t *)method);
    hmac_sha256_update(&ctx, 1, (const uint8_t *)".");
    update_target(&ctx, url);
    hmac_sha256_update(&ctx, 1, (const uint8_t *)".");
    hmac_sha256_update(&ctx, body.size, body.base);
    hmac_sha256_digest(&ctx, sizeof(digest), digest);
    n = snprintf(out, SIGNATURE_BYTES_MAX, "t=%lld,v1=", (long long)now_ms);
    for (size_t i = 0; i < sizeof(digest); i++, n += 2)
        snprintf(out + n, SIGNATURE_BYTES_MAX - (size_t)n, "%02x", digest[i]);
    assert(n < SIGNATURE_BYTES_MAX);
    return true;
}

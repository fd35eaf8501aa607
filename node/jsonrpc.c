/* JSON-RPC 2.0 as DTM's participants speak it.
 *
 * The request is spliced from the payload's own text, so that its numbers arrive as they were written: our
 * members stand last, and the last of a name is the one that counts with every reader we know. */
#include "jsonrpc.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODE_FAILURE (-32901)
#define CODE_ONGOING (-32902)

bool jsonrpc_wanted(struct assent_bytes url)
{
    return memmem(url.base, url.size, "method", 6) != NULL;
}

/* ---- the request ---- */

static int hex_digit(uint8_t b)
{
    return b >= '0' && b <= '9'   ? b - '0'
           : b >= 'a' && b <= 'f' ? b - 'a' + 10
           : b >= 'A' && b <= 'F' ? b - 'A' + 10
                                  : -1;
}

/* A byte of a query string, as written to `*at`. */
static uint8_t query_byte(struct assent_bytes text, size_t *at)
{
    uint8_t b = text.base[(*at)++];
    if (b == '+')
        return ' ';
    if (b != '%' || *at + 2 > text.size)
        return b;
    int high = hex_digit(text.base[*at]), low = hex_digit(text.base[*at + 1]);
    if (high < 0 || low < 0)
        return b;
    *at += 2;
    return (uint8_t)(high << 4 | low);
}

/* The value of the query parameter `method`, still encoded. */
static struct assent_bytes method_of(struct assent_bytes url)
{
    const uint8_t *end = url.base + url.size, *p = memchr(url.base, '?', url.size);
    const uint8_t *fragment = memchr(url.base, '#', url.size);
    if (fragment != NULL)
        end = fragment;
    while (p != NULL && p < end) {
        const uint8_t *value = p + 1;
        p = memchr(value, '&', (size_t)(end - value));
        const uint8_t *stop = p != NULL ? p : end;
        if (stop - value > 7 && memcmp(value, "method=", 7) == 0)
            return (struct assent_bytes){value + 7, (size_t)(stop - value) - 7};
    }
    return (struct assent_bytes){NULL, 0};
}

static void put_escaped(FILE *out, uint8_t b)
{
    if (b < ' ')
        fprintf(out, "\\u%04x", (unsigned)b);
    else
        fprintf(out, b == '"' || b == '\\' ? "\\%c" : "%c", b);
}

static void put_member(FILE *out, const char *name, struct assent_bytes value)
{
    fprintf(out, "\"%s\":\"", name);
    for (size_t i = 0; i < value.size; i++)
        put_escaped(out, value.base[i]);
    fputc('"', out);
}

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t' || b == '\r' || b == '\n';
}

static struct assent_bytes trimmed(struct assent_bytes t)
{
    while (t.size > 0 && is_space(t.base[0]))
        t = (struct assent_bytes){t.base + 1, t.size - 1};
    while (t.size > 0 && is_space(t.base[t.size - 1]))
        t.size--;
    return t;
}

char *jsonrpc_request(const struct jsonrpc_call *call, size_t *size, const char **why)
{
    struct assent_bytes method = method_of(call->url), inside = trimmed(call->payload);
    if (method.size == 0) {
        *why = "the URL of a JSON-RPC branch has no query parameter `method`";
        return NULL;
    }
    if (inside.size > 0) {
        if (inside.size < 2 || inside.base[0] != '{' || inside.base[inside.size - 1] != '}') {
            *why = "the payload of a JSON-RPC branch must be an object";
            return NULL;
        }
        inside = trimmed((struct assent_bytes){inside.base + 1, inside.size - 2});
    }
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    assert(out != NULL);
    fprintf(out, "{\"jsonrpc\":\"2.0\",\"id\":\"%llu-%u\",\"method\":\"", (unsigned long long)call->token,
            (unsigned)call->attempt);
    for (size_t at = 0; at < method.size;)
        put_escaped(out, query_byte(method, &at));
    fputs("\",\"params\":{", out);
    if (inside.size > 0) {
        fwrite(inside.base, 1, inside.size, out);
        fputc(',', out);
    }
    put_member(out, "gid", call->gid);
    fputc(',', out);
    put_member(out, "trans_type",
               (struct assent_bytes){(const uint8_t *)call->trans_type, strlen(call->trans_type)});
    fputc(',', out);
    put_member(out, "branch_id", call->branch_id);
    fputc(',', out);
    put_member(out, "op", call->op);
    fputs("}}", out);
    int rv = fclose(out);
    assert(rv == 0 && text != NULL);
    return text;
}

/* ---- the answer ---- */

enum sm_outcome jsonrpc_outcome(struct assent_bytes answer)
{
    json_t *root = json_loadb((const char *)answer.base, answer.size, 0, NULL);
    enum sm_outcome outcome = SM_OUTCOME_ERROR;
    if (json_is_object(root)) {
        const json_t *error = json_object_get(root, "error");
        const json_t *code = json_object_get(error, "code");
        if (error == NULL || json_is_null(error))
            outcome = SM_OUTCOME_SUCCESS;
        else if (json_is_integer(code) && json_integer_value(code) == CODE_FAILURE)
            outcome = SM_OUTCOME_FAILURE;
        else if (json_is_integer(code) && json_integer_value(code) == CODE_ONGOING)
            outcome = SM_OUTCOME_ONGOING;
    }
    json_decref(root);
    return outcome;
}

/* What a call looks like: its URL, headers and body, from a loaded piece of work.
 *
 * Native style: POST, the operation in Assent-* headers.  DTM's style is that of dtm-protocol, section 5:
 * query parameters, GET without a payload.  DTM's participants get the Assent-* headers too: they pass them
 * by, and a guard may use the token.  A JSON-RPC branch gets one object in either style. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "assent/error.h"
#include "executor_private.h"
#include "jsonrpc.h"

#define DTM_TIMEOUT_MS 3000u /* DTM's own default */

static struct assent_bytes text_of(const char *text)
{
    return (struct assent_bytes){(const uint8_t *)text, strlen(text)};
}

static bool bytes_are(struct assent_bytes a, const char *text)
{
    return a.size == strlen(text) && memcmp(a.base, text, a.size) == 0;
}

/* ---- names on the wire ---- */

static const char *trans_type(struct assent_bytes mode)
{
    static const struct {
        const char *mode, *name;
    } rows[] = {
        {"TCC", "tcc"}, {"XA", "xa"}, {"SAGA", "saga"}, {"MESSAGE", "msg"}, {"WORKFLOW", "workflow"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (bytes_are(mode, rows[i].mode))
            return rows[i].name;
    assert(false);
    return NULL;
}

static struct assent_bytes op_name(const struct sm_work *work)
{
    bool xa = bytes_are(work->mode, "XA");
    if (work->style == SM_STYLE_NATIVE)
        return text_of(sm_op_name(work->op));
    switch (work->op) {
    case SM_OP_CONFIRM:
        return text_of(xa ? "commit" : "confirm");
    case SM_OP_CANCEL:
        return text_of(xa ? "rollback" : "cancel");
    case SM_OP_QUERY:
        return text_of("msg");
    case SM_OP_CALLBACK:
        return work->callback_name;
    case SM_OP_ACTION:
    case SM_OP_COMPENSATE:
    case SM_OP_TRY:
    case SM_OP_NR:
        break;
    }
    return text_of(sm_op_name(work->op));
}

/* ---- headers ---- */

/* The first of a name stays. */
static void header_put(struct call_form *f, struct assent_bytes name, struct assent_bytes value)
{
    for (uint32_t i = 0; i < f->request.n_headers; i++) {
        const struct assent_bytes *have = &f->headers[i].name;
        if (have->size == name.size &&
            strncasecmp((const char *)have->base, (const char *)name.base, name.size) == 0)
            return;
    }
    if (f->request.n_headers < CALLER_HEADERS_MAX)
        f->headers[f->request.n_headers++] = (struct caller_header){name, value};
}

static bool trace_ok(struct assent_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.base[i] < ' ' || text.base[i] >= 0x7f)
            return false;
    return text.size > 0;
}

static void put_own(struct call_form *f, const struct sm_work *work)
{
    struct assent_bytes ns, xid = sm_work_xid(work, &ns);
    snprintf(f->token, sizeof(f->token), "%llu", (unsigned long long)work->token);
    snprintf(f->attempt, sizeof(f->attempt), "%u", (unsigned)work->attempt);
    header_put(f, text_of("Assent-Xid"), xid);
    if (ns.size > 0)
        header_put(f, text_of("Assent-Namespace"), ns);
    header_put(f, text_of("Assent-Branch"), work->branch);
    header_put(f, text_of("Assent-Op"), text_of(sm_op_name(work->op)));
    header_put(f, text_of("Assent-Token"), text_of(f->token));
    header_put(f, text_of("Assent-Attempt"), text_of(f->attempt));
    if (trace_ok(work->traceparent))
        header_put(f, text_of("traceparent"), work->traceparent);
}

static void put_list(struct call_form *f, struct assent_bytes list)
{
    struct assent_bytes name, value;
    while (sm_work_header(&list, &name, &value))
        header_put(f, name, value);
}

/* ---- URL ---- */

static bool url_text(struct call_form *f, const char *text, size_t size)
{
    if (f->url_size + size > sizeof(f->url))
        return false;
    memcpy(f->url + f->url_size, text, size);
    f->url_size += size;
    return true;
}

/* A query parameter; as Go's url.QueryEscape() writes it. */
static bool url_parameter(struct call_form *f, const char *name, struct assent_bytes value)
{
    static const char digits[] = "0123456789ABCDEF";
    bool ok = url_text(f, name, strlen(name));
    for (size_t i = 0; ok && i < value.size; i++) {
        uint8_t b = value.base[i];
        bool plain = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
                     (b != 0 && strchr("-_.~", b) != NULL);
        char escaped[3] = {'%', digits[b >> 4], digits[b & 15]};
        if (plain || b == ' ')
            ok = url_text(f, b == ' ' ? "+" : (const char *)&value.base[i], 1);
        else
            ok = url_text(f, escaped, sizeof(escaped));
    }
    return ok;
}

static bool dtm_url(struct call_form *f, const struct sm_work *work)
{
    struct assent_bytes url = work->url;
    const uint8_t *fragment = memchr(url.base, '#', url.size);
    if (fragment != NULL) /* never sent */
        url.size = (size_t)(fragment - url.base);
    const uint8_t *query = memchr(url.base, '?', url.size);
    const char *glue = query == NULL ? "?" : query + 1 == url.base + url.size ? "" : "&";
    bool ok = url_text(f, (const char *)url.base, url.size) && url_text(f, glue, strlen(glue)) &&
              url_parameter(f, "branch_id=", work->branch) &&
              url_parameter(f, "&gid=", sm_work_xid(work, NULL)) && url_parameter(f, "&op=", op_name(work)) &&
              url_parameter(f, "&trans_type=", text_of(trans_type(work->mode)));
    f->request.url = (struct assent_bytes){(const uint8_t *)f->url, f->url_size};
    return ok;
}

/* ---- the whole ---- */

static int jsonrpc_form(struct call_form *f, const struct sm_work *work, const char **why)
{
    struct jsonrpc_call call = {
        .url = work->url,
        .payload = work->payload,
        .gid = sm_work_xid(work, NULL),
        .trans_type = trans_type(work->mode),
        .branch_id = work->branch,
        .op = op_name(work),
        .token = work->token,
        .attempt = work->attempt,
    };
    f->jsonrpc = true;
    f->request.keep = true;
    f->body = jsonrpc_request(&call, &f->request.body.size, why);
    f->request.body.base = (const uint8_t *)f->body;
    return f->body != NULL ? ASSENT_OK : ASSENT_INVALID;
}

static void put_signature(struct call_form *f, const struct executor *ex)
{
    const struct caller_request *r = &f->request;
    if (ex->config.keys != NULL && signature_make(ex->config.keys, r->url, r->get ? "GET" : "POST", r->body,
                                                  executor_now_us(ex) / 1000, f->signature))
        header_put(f, text_of("Assent-Signature"), text_of(f->signature));
}

/* URL and body of the style. */
static int style_form(struct call_form *f, const struct sm_work *work, const char **why)
{
    if (work->protocol == SM_PROTOCOL_JSON_RPC && jsonrpc_wanted(work->url))
        return jsonrpc_form(f, work, why);
    if (work->style == SM_STYLE_NATIVE)
        return ASSENT_OK;
    f->request.get = work->payload.size == 0 && !bytes_are(work->mode, "XA");
    *why = "the URL is too long";
    return dtm_url(f, work) ? ASSENT_OK : ASSENT_INVALID;
}

int call_form_open(struct call_form *f, const struct executor *ex, const struct sm_work *work,
                   const char **why)
{
    bool dtm = work->style == SM_STYLE_DTM;
    f->request = (struct caller_request){
        .url = work->url,
        .body = work->payload,
        .headers = f->headers,
        .timeout_ms = work->timeout_ms > 0 ? work->timeout_ms
                      : dtm                ? DTM_TIMEOUT_MS
                                           : ex->config.timeout_ms,
        .redirects = dtm ? CALLER_REDIRECTS_ANY : CALLER_REDIRECTS_SAME,
    };
    f->url_size = 0;
    f->body = NULL;
    f->jsonrpc = false;
    int rv = style_form(f, work, why);
    if (rv != ASSENT_OK)
        return rv;
    put_own(f, work);
    put_signature(f, ex);
    put_list(f, work->headers);
    put_list(f, work->txn_headers);
    header_put(f, text_of("Content-Type"), text_of("application/json"));
    if (dtm)
        header_put(f, text_of("Accept"), text_of("application/json"));
    return ASSENT_OK;
}

void call_form_close(struct call_form *f)
{
    free(f->body);
    f->body = NULL;
}

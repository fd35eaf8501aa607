/* The door's calls as JSON-RPC 2.0.  Source: dtm-protocol.md 12; what is wrong with the envelope is told in
 * DTM's order: not JSON, not a request, no such method. */
#include <stdlib.h>
#include <string.h>

#include "dtm_private.h"

enum { PARSE_ERROR = -32700, BAD_REQUEST = -32600, NO_METHOD = -32601 };

static const struct {
    const char *method;
    enum dtm_op op;
} methods[] = {
    {"newGid", DTM_NEW_GID},
    {"prepare", DTM_PREPARE},
    {"submit", DTM_SUBMIT},
    {"abort", DTM_ABORT},
    {"registerBranch", DTM_REGISTER_BRANCH},
};

void dtm_rpc_answer(struct request *r, json_t *result, int code, const char *message)
{
    struct dtm_call *call = r->door;
    json_t *id = call->rpc_id != NULL ? json_incref(call->rpc_id) : json_string("");
    json_t *error = code == 0 ? json_null() : json_pack("{siss?}", "code", code, "message", message);
    if (error == NULL) /* the message is no UTF-8 */
        error = json_pack("{siss}", "code", code, "message", "");
    json_t *reply = json_pack("{ssso?sosO}", "jsonrpc", "2.0", "id", id, "error", error, "result",
                              result != NULL ? result : json_null());
    json_decref(result);
    char *text = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL)
        abort();
    r->response.http_status = code == PARSE_ERROR ? 400 : 200;
    r->response.content_type = "application/json; charset=utf-8";
    text_reset(&r->response.body);
    text_cstr(&r->response.body, text);
    free(text);
    json_decref(reply);
}

static bool refuse(struct request *r, int code, const char *message)
{
    dtm_rpc_answer(r, NULL, code, message);
    return false;
}

bool dtm_rpc_read(struct request *r, struct assent_bytes body, json_t **root, json_t **params)
{
    struct dtm_call *call = r->door;
    json_error_t error;
    call->rpc = true;
    *root = json_loadb(body.size > 0 ? (const char *)body.base : "", body.size, JSON_DECODE_ANY, &error);
    if (!json_is_object(*root))
        return refuse(r, PARSE_ERROR, "Parse json error: the body is no JSON object");
    json_t *id = json_object_get(*root, "id");
    bool known = json_is_string(id) || json_is_integer(id) || json_is_null(id) || id == NULL;
    if (!known)
        return refuse(r, PARSE_ERROR, "Parse json error: the id is no text");
    const char *version = json_string_value(json_object_get(*root, "jsonrpc"));
    const char *method = json_string_value(json_object_get(*root, "method"));
    if (!json_is_null(id) && id != NULL)
        call->rpc_id = json_incref(id);
    if (version == NULL || strcmp(version, "2.0") != 0 || call->rpc_id == NULL ||
        (json_is_string(id) && json_string_length(id) == 0))
        return refuse(r, BAD_REQUEST, "Bad json request: jsonrpc must be 2.0 and the id a text");
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (method == NULL || strcmp(method, methods[i].method) != 0)
            continue;
        call->op = methods[i].op;
        *params = json_object_get(*root, "params");
        return true;
    }
    return refuse(r, NO_METHOD, "Method not found");
}

/* What a DTM client reads: a status code and one of three words, or an object of the path's own.
 *
 * Most clients take a reply for a failure when its status is not 200 or its text holds the word FAILURE, and
 * some take 409 for "it will never happen".  So the words stand only where they are meant, and what nobody
 * knows is 500 or 503 with a sentence of ours, which holds neither. */
#include <stdlib.h>
#include <string.h>

#include "dtm_private.h"

static const struct {
    int http_status;
    int rpc_code;
    const char *word;
} outcomes[] = {
    [DTM_SUCCESS] = {200, 0, "SUCCESS"},      [DTM_FAILURE] = {409, -32901, "FAILURE"},
    [DTM_ONGOING] = {425, -32902, "ONGOING"}, [DTM_ERROR] = {500, -32603, NULL},
    [DTM_UNAVAILABLE] = {503, -32603, NULL},  [DTM_BAD] = {400, -32603, NULL},
};

static struct text *open_body(struct request *r, int http_status, const char *type)
{
    r->response.http_status = http_status;
    r->response.content_type = type;
    r->response.retry_later = http_status == 503;
    text_reset(&r->response.body);
    return &r->response.body;
}

enum request_next dtm_answer(struct request *r, enum dtm_outcome outcome, const char *message)
{
    struct dtm_call *call = r->door;
    if (call->rpc) {
        dtm_rpc_answer(r, NULL, outcomes[outcome].rpc_code, message);
        return REQUEST_ANSWERED;
    }
    struct text *t =
        open_body(r, outcomes[outcome].http_status,
                  outcome == DTM_BAD ? "text/plain; charset=utf-8" : "application/json; charset=utf-8");
    text_char(t, '{');
    if (outcomes[outcome].word != NULL)
        text_printf(t, "\"dtm_result\":\"%s\"", outcomes[outcome].word);
    if (outcome != DTM_SUCCESS) {
        text_cstr(t, outcomes[outcome].word != NULL ? ",\"message\":" : "\"message\":");
        json_quote_cstr(t, message);
    }
    text_char(t, '}');
    return REQUEST_ANSWERED;
}

enum request_next dtm_answer_json(struct request *r, json_t *json)
{
    struct dtm_call *call = r->door;
    if (call->rpc) {
        dtm_rpc_answer(r, json, 0, NULL);
        return REQUEST_ANSWERED;
    }
    struct text *t = open_body(r, 200, "application/json; charset=utf-8");
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(json);
    if (text == NULL)
        abort();
    text_cstr(t, text);
    free(text);
    if (t->overflow)
        return dtm_answer(r, DTM_ERROR, "the answer is larger than the limit");
    return REQUEST_ANSWERED;
}

enum request_next dtm_answer_text(struct request *r, int http_status, const char *body)
{
    text_cstr(open_body(r, http_status, "text/plain; charset=utf-8"), body);
    return REQUEST_ANSWERED;
}

enum request_next dtm_answer_code(struct request *r, int code, struct assent_bytes detail)
{
    char sentence[ARGUMENT_WHY_MAX];
    int status = assent_error_http(code);
    /* what a client wrote may be quoted in a refusal, with the words; operating errors have our sentences */
    bool refused = code == ASSENT_INVALID || code == ASSENT_TOO_LARGE || code >= 50;
    snprintf(sentence, sizeof sentence, "%.*s", refused ? (int)detail.size : 0,
             detail.size > 0 ? (const char *)detail.base : "");
    if (sentence[0] == 0 || strstr(sentence, "FAILURE") != NULL || strstr(sentence, "ONGOING") != NULL)
        snprintf(sentence, sizeof sentence, "%s", assent_error_sentence(code));
    return dtm_answer(r, status == 503 ? DTM_UNAVAILABLE : DTM_ERROR, sentence);
}

/* assent-demo application: a transfer between two banks as a workflow.
 *
 *   POST /start     {"xid","data":{"amount","callback"},"die"}: run it; with `die` the process ends behind
 * its first step POST /callback  called by the coordinator when nothing was heard of the workflow: run it
 * again
 *
 * The function is the same in both cases: it asks what is recorded, and does and records what is not. */
#include <string.h>
#include <unistd.h>

#include "demo.h"
#include "service.h"

#define PATIENCE_MS 20000
#define ERROR_MAX   512

static struct application {
    struct endpoints cluster;
    const char *from, *to; /* URLs of the banks */
} app;

/* One run of the function. */
struct run {
    struct endpoints cluster; /* its own: runs may overlap */
    const char *xid;
    json_t *data;  /* of the workflow */
    json_t *state; /* what the prepare answered */
    char error[ERROR_MAX];
};

static bool ask(struct run *r, const char *path, json_t *body, json_t **answer)
{
    bool ok = body != NULL &&
              cluster_call(&r->cluster, "POST", path, body, PATIENCE_MS, answer, r->error, sizeof(r->error));
    json_decref(body);
    return ok;
}

static bool recorded(const struct run *r, const char *branch)
{
    const json_t *step;
    size_t i;
    json_array_foreach(json_object_get(r->state, "steps"), i, step)
    {
        if (strcmp(json_string_value(json_object_get(step, "branch")), branch) == 0)
            return true;
    }
    return false;
}

/* Move the money at a bank; it recognises what it has done already. */
static bool move(struct run *r, const char *branch, const char *bank, const char *account, json_int_t amount)
{
    char url[128];
    struct http_answer a;
    json_t *body = json_pack("{s:s, s:s, s:s, s:I}", "xid", r->xid, "branch", branch, "account", account,
                             "amount", amount);
    snprintf(url, sizeof(url), "%s/action", bank);
    http_call("POST", url, NULL, body, 5000, &a);
    json_decref(body);
    bool ok = a.status == 200;
    snprintf(r->error, sizeof(r->error), "%s: HTTP %d %s", url, a.status, a.error);
    http_answer_clear(&a);
    return ok;
}

/* Unless it is recorded: do it, record it. */
static bool step(struct run *r, const char *branch, const char *bank, const char *account, json_int_t amount)
{
    json_t *answer = NULL;
    if (recorded(r, branch)) {
        fprintf(stderr, "             application: %s is recorded, so it is not done again\n", branch);
        return true;
    }
    bool ok = move(r, branch, bank, account, amount) &&
              ask(r, "/transaction/workflow/step",
                  json_pack("{s:s, s:s, s:s, s:s}", "xid", r->xid, "branch", branch, "op", "action", "status",
                            "SUCCEEDED"),
                  &answer);
    json_decref(answer);
    if (ok)
        fprintf(stderr, "             application: %s is done and recorded\n", branch);
    return ok;
}

static bool prepare(struct run *r)
{
    return ask(r, "/transaction/workflow/prepare",
               json_pack("{s:s, s:s, s:s, s:s, s:O}", "xid", r->xid, "businessType", "transfer", "name",
                         "transfer", "callbackUrl", json_string_value(json_object_get(r->data, "callback")),
                         "data", r->data),
               &r->state);
}

static bool transfer(struct run *r, bool die)
{
    json_int_t amount = json_integer_value(json_object_get(r->data, "amount"));
    json_t *answer = NULL;
    if (!prepare(r) || !step(r, "debit", app.from, "alice", -amount))
        return false;
    if (die) {
        fprintf(stderr, "             application: dies\n");
        _exit(1);
    }
    bool ok = step(r, "credit", app.to, "bob", amount) &&
              ask(r, "/transaction/workflow/end",
                  json_pack("{s:s, s:s}", "xid", r->xid, "status", "SUCCEEDED"), &answer);
    json_decref(answer);
    return ok;
}

static struct service_reply run(const char *xid, json_t *data, bool die)
{
    struct run r = {.cluster = app.cluster, .xid = xid, .data = data};
    if (!service_name_ok(xid) || !json_is_object(data))
        return service_failed(400, "a workflow's xid and data are needed");
    bool ok = transfer(&r, die);
    json_decref(r.state);
    if (!ok)
        fprintf(stderr, "             application: breaks off: %s\n", r.error);
    return ok ? (struct service_reply){200, json_pack("{s:b}", "success", 1)} : service_failed(500, r.error);
}

static struct service_reply start(const struct service_call *call)
{
    return run(json_string_value(json_object_get(call->body, "xid")), json_object_get(call->body, "data"),
               json_is_true(json_object_get(call->body, "die")));
}

static struct service_reply callback(const struct service_call *call)
{
    json_t *data = json_deep_copy(call->body);
    struct service_reply reply = run(call->xid, data, false);
    json_decref(data);
    return reply;
}

static bool option(struct service *s, const char *name, const char *value)
{
    (void)s;
    if (strcmp(name, "--endpoints") == 0)
        return endpoints_parse(&app.cluster, value);
    if (strcmp(name, "--from") == 0)
        app.from = value;
    else if (strcmp(name, "--to") == 0)
        app.to = value;
    else
        return false;
    return true;
}

static const struct service_route routes[] = {
    {"POST", "/start", (enum ledger_op)0, start},
    {"POST", "/callback", (enum ledger_op)0, callback},
};

int application_main(int argc, char **argv)
{
    struct service s = {.kind = "application",
                        .stateless = true,
                        .option = option,
                        .routes = routes,
                        .routes_n = sizeof(routes) / sizeof(routes[0])};
    http_init();
    return service_main(&s, argc, argv);
}

/* assent-demo bank: a participant with money.
 *
 *   POST /reserve     {"xid","branch","account","amount"}: the try, called by the application
 *   POST /confirm     called by the coordinator: Assent-Xid, Assent-Branch, Assent-Token
 *   POST /cancel      likewise
 *   POST /action      {"account","amount"}: moves the money at once; called by the coordinator, or by an
 *                     application that adds "xid" and "branch"
 *   POST /compensate  takes it back
 *   POST /query       did the action of the branch happen?  200, or 409, and then it never will
 *
 * Amounts are cents, negative off the account. */
#include "demo.h"
#include "service.h"

static struct service_reply reserve(const struct service_call *call)
{
    const char *xid = json_string_value(json_object_get(call->body, "xid"));
    const char *branch = json_string_value(json_object_get(call->body, "branch"));
    const char *account = json_string_value(json_object_get(call->body, "account"));
    const json_t *amount = json_object_get(call->body, "amount");
    char why[128] = "";
    if (!service_name_ok(xid) || !service_name_ok(branch) || !service_name_ok(account) ||
        !json_is_integer(amount))
        return service_failed(400, "xid, branch, account: texts; amount: a number of cents");
    return service_outcome(ledger_reserve(call->service->ledger, xid, branch, account,
                                          json_integer_value(amount), why, sizeof(why)),
                           why);
}

static struct service_reply confirm(const struct service_call *call)
{
    return service_settle(call, LEDGER_CONFIRM);
}

static struct service_reply cancel(const struct service_call *call)
{
    return service_settle(call, LEDGER_CANCEL);
}

static struct service_reply action(const struct service_call *call)
{
    return service_act(call, json_string_value(json_object_get(call->body, "account")),
                       json_integer_value(json_object_get(call->body, "amount")));
}

static struct service_reply compensate(const struct service_call *call)
{
    return service_settle(call, LEDGER_COMPENSATE);
}

static struct service_reply query(const struct service_call *call)
{
    char why[128] = "";
    if (!service_name_ok(call->xid) || !service_name_ok(call->branch))
        return service_failed(400, "the headers Assent-Xid and Assent-Branch are needed");
    return service_outcome(ledger_ask(call->service->ledger, call->xid, call->branch, why, sizeof(why)), why);
}

static const struct service_route routes[] = {
    {"POST", "/reserve", LEDGER_TRY, reserve},
    {"POST", "/confirm", LEDGER_CONFIRM, confirm},
    {"POST", "/cancel", LEDGER_CANCEL, cancel},
    {"POST", "/action", LEDGER_ACTION, action},
    {"POST", "/compensate", LEDGER_COMPENSATE, compensate},
    {"POST", "/query", (enum ledger_op)0, query},
};

int bank_main(int argc, char **argv)
{
    struct service s = {
        .kind = "bank", .unit = "cents", .routes = routes, .routes_n = sizeof(routes) / sizeof(routes[0])};
    return service_main(&s, argc, argv);
}

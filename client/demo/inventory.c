/* assent-demo inventory: a participant with goods on shelves and in orders, counted in pieces.
 *
 *   POST /order/action  {"order","item","pieces"}: writes the order   POST /order/compensate  withdraws it
 *   POST /stock/action  {"item","pieces"}: takes off the shelf        POST /stock/compensate  puts them back
 *
 * A shelf is an account named like the item, an order one named "order item".  Pieces in all are conserved:
 * what an order promises has left a shelf. */
#include <stdio.h>

#include "demo.h"
#include "service.h"

static struct service_reply order_action(const struct service_call *call)
{
    const char *order = json_string_value(json_object_get(call->body, "order"));
    const char *item = json_string_value(json_object_get(call->body, "item"));
    char account[LEDGER_NAME_MAX + 1], err[128] = "";
    if (order == NULL || item == NULL ||
        snprintf(account, sizeof(account), "%s %s", order, item) >= (int)sizeof(account))
        return service_failed(400, "order, item: short texts; pieces: a number");
    if (!ledger_account_add(call->service->ledger, account, 0, err, sizeof(err)))
        return service_failed(400, err);
    return service_act(call, account, json_integer_value(json_object_get(call->body, "pieces")));
}

static struct service_reply stock_action(const struct service_call *call)
{
    return service_act(call, json_string_value(json_object_get(call->body, "item")),
                       -json_integer_value(json_object_get(call->body, "pieces")));
}

static struct service_reply compensate(const struct service_call *call)
{
    return service_settle(call, LEDGER_COMPENSATE);
}

static const struct service_route routes[] = {
    {"POST", "/order/action", LEDGER_ACTION, order_action},
    {"POST", "/order/compensate", LEDGER_COMPENSATE, compensate},
    {"POST", "/stock/action", LEDGER_ACTION, stock_action},
    {"POST", "/stock/compensate", LEDGER_COMPENSATE, compensate},
};

int inventory_main(int argc, char **argv)
{
    struct service s = {.kind = "inventory",
                        .unit = "pieces",
                        .routes = routes,
                        .routes_n = sizeof(routes) / sizeof(routes[0])};
    return service_main(&s, argc, argv);
}

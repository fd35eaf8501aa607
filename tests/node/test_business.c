/* The business catalogue through the door: put, execute by name and wait, XA in order, statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "participant.h"

static struct harness h;
static struct participant p;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {"--drain-ms", "0", NULL};
    harness_start(&h, 2, options);
    participant_open(&p, &h.loop);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    participant_close(&p);
    harness_stop(&h);
    return 0;
}

/* A call whose body may hold the participant's port, once or twice; its answer has all the parts. */
static void call(int status, const char *method, const char *path, const char *body, const char *const *parts)
{
    char full[1024], url[128];
    size_t n = 0;
    snprintf(url, sizeof url, "/api/v1%s", path);
    for (const char *c = body; body != NULL && *c != 0 && n + 8 < sizeof full; c++) {
        if (*c == '@') /* http://127.0.0.1:PORT */
            n += (size_t)snprintf(full + n, sizeof full - n, "http://127.0.0.1:%u", p.port);
        else
            full[n++] = *c == '\'' ? '"' : *c;
    }
    full[n] = 0;
    struct reply r = http_call(&h, 1, method, url, NULL, body != NULL ? full : NULL);
    if (r.status != status)
        fail_msg("%s %s: %d %s", method, path, r.status, r.body);
    for (; parts != NULL && *parts != NULL; parts++) {
        if (strstr(r.body, *parts) == NULL)
            fail_msg("%s %s: no %s in %s", method, path, *parts, r.body);
    }
    reply_free(&r);
}
#define parts(...) ((const char *const[]){__VA_ARGS__, NULL})

static void a_type_is_put_executed_and_counted(void **state)
{
    (void)state;
    call(200, "PUT", "/business/order", "{'mode':'SAGA','steps':[{'actionUrl':'@/ok'}]}",
         parts("\"created\":true", "\"branchCount\":1"));
    call(200, "GET", "/business/order", NULL, parts("\"actionUrl\":\"http://127.0.0.1:"));
    call(200, "GET", "/business", NULL, parts("\"businessTypes\":[{\"businessType\":\"order\""));
    call(200, "POST", "/transaction/saga?waitMs=9000",
         "{'businessType':'order','businessKey':'4711','businessData':{'amount':5}}",
         parts("\"status\":\"COMMITTED\"", "\"mode\":\"SAGA\""));
    assert_has(p.last, "{\"amount\":5}");
    call(200, "GET", "/statistics", NULL, parts("\"committed\":1", "\"businessType\":\"order\""));
    call(200, "GET", "/statistics?mode=TCC", NULL, parts("\"total\":0", "\"types\":[]"));
    call(400, "POST", "/transaction/message", "{'businessType':'order','businessData':1}",
         parts("is a SAGA"));
    call(200, "DELETE", "/business/order", NULL, NULL);
    call(404, "POST", "/transaction/saga", "{'businessType':'order','businessData':1}", parts("order"));
}

static void the_coordinator_tries_what_a_tcc_or_xa_says(void **state)
{
    (void)state;
    call(200, "POST", "/business/pay",
         "{'mode':'TCC','branches':[{'branch':'a','tryUrl':'@/ok','confirmUrl':'@/ok','cancelUrl':'@/ok'}]}",
         NULL);
    call(200, "POST", "/transaction/tcc?waitMs=9000", "{'businessType':'pay','businessData':7}",
         parts("\"status\":\"COMMITTED\"", "\"mode\":\"TCC\""));
    call(200, "POST", "/xa-jta/xa/execute?waitMs=9000",
         "{'businessType':'x','branches':[{'branch':'a','tryUrl':'@/ok','confirmUrl':'@/ok','cancelUrl':'@/"
         "ok'}]}",
         parts("\"status\":\"COMMITTED\"", "\"mode\":\"XA\""));
    call(200, "POST", "/xa-jta/jta/execute?waitMs=9000",
         "{'businessType':'x','branches':[{'branch':'a','tryUrl':'@/refuse','confirmUrl':'@/"
         "ok','cancelUrl':'@/ok'}]}",
         parts("\"status\":\"ROLLED_BACK\"", "\"mode\":\"XA\""));
    call(200, "GET", "/xa-jta/xa/statistics", NULL,
         parts("\"total\":2", "\"committed\":1", "\"rolledBack\":1", "\"committedPerMille\":500"));
    call(400, "POST", "/xa-jta/xa/execute", "{'businessType':'pay'}", parts("is a TCC"));
}

static void at_has_no_resource(void **state)
{
    (void)state;
    int status = assent_error_http(ASSENT_UNSUPPORTED);
    call(status, "POST", "/transaction/at", "{'businessType':'any'}", parts("no AT resource registered"));
    call(status, "PUT", "/business/any", "{'mode':'AT'}", parts("no AT resource registered"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_type_is_put_executed_and_counted, start, stop),
        cmocka_unit_test_setup_teardown(the_coordinator_tries_what_a_tcc_or_xa_says, start, stop),
        cmocka_unit_test_setup_teardown(at_has_no_resource, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

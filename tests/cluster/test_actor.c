/* The judge of the transcripts: what it must notice, it notices. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "actor.h"

#define PATIENCE_MS 20000

static uint16_t port;

static int setup(void **state)
{
    (void)state;
    const char *url = actor_open();
    port = (uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    actor_close();
    return 0;
}

/* Send a call; its answer comes on the descriptor. */
static int call(const char *xid, const char *branch, const char *op, const char *token)
{
    char text[512];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    int n = snprintf(text, sizeof(text),
                     "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n"
                     "Assent-Xid: %s\r\nAssent-Branch: %s\r\nAssent-Op: %s\r\nAssent-Token: %s\r\n\r\n",
                     xid, branch, op, token);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

/* Its status. */
static int answer(int fd)
{
    char text[1024] = "";
    size_t n = 0;
    ssize_t got;
    while (n + 1 < sizeof(text) && (got = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
        n += (size_t)got;
    close(fd);
    text[n] = 0;
    return (int)strtol(text + strcspn(text, " "), NULL, 10);
}

static void two_calls_at_a_time_are_noticed(void **state)
{
    (void)state;
    actor_scene("t", "01 action", NULL, NULL);
    int first = call("t", "01", "action", "5");
    assert_true(actor_wait_held(PATIENCE_MS));
    assert_string_equal(actor_wrong(), "");
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_non_null(strstr(actor_wrong(), "two calls at a time"));
    actor_release();
    assert_int_equal(answer(first), 200);
}

static void a_call_whose_caller_hung_up_is_not_under_way(void **state)
{
    (void)state;
    actor_scene("t", "01 action", NULL, NULL);
    int first = call("t", "01", "action", "5");
    assert_true(actor_wait_held(PATIENCE_MS));
    close(first);
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    actor_release();
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_string_equal(actor_wrong(), "");
}

static void calls_one_after_the_other_are_fine(void **state)
{
    char effects[64];
    (void)state;
    actor_scene("t", NULL, NULL, NULL);
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_int_equal(answer(call("t", "02", "action", "5")), 200);
    assert_int_equal(answer(call("other", "03", "action", "1")), 200);
    actor_effects(effects, sizeof(effects));
    assert_string_equal(effects, "01 action, 02 action");
    assert_string_equal(actor_wrong(), "");
}

static void a_token_that_goes_down_is_noticed(void **state)
{
    (void)state;
    actor_scene("t", NULL, NULL, NULL);
    assert_int_equal(answer(call("t", "01", "action", "5")), 200);
    assert_int_equal(answer(call("t", "02", "action", "4")), 200); /* another branch */
    assert_string_equal(actor_wrong(), "");
    assert_int_equal(answer(call("t", "01", "compensate", "4")), 200);
    assert_non_null(strstr(actor_wrong(), "older"));
}

static void an_action_behind_its_compensation_is_refused(void **state)
{
    (void)state;
    actor_scene("t", NULL, NULL, NULL);
    assert_int_equal(answer(call("t", "01", "compensate", "5")), 200);
    assert_int_equal(answer(call("t", "01", "action", "5")), 409);
}

static void rules_are_used_up_in_order(void **state)
{
    static const struct actor_rule rules[] = {
        {"01 action", 500, NULL, 2}, {"01 action", 425, NULL, 1}, {"01 action", 409, NULL, 0}, {0}};
    static const int want[] = {500, 500, 425, 409, 409};
    (void)state;
    actor_scene("t", NULL, rules, NULL);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        assert_int_equal(answer(call("t", "01", "action", "5")), want[i]);
    assert_int_equal(answer(call("t", "02", "action", "5")), 200);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_calls_at_a_time_are_noticed),
        cmocka_unit_test(a_call_whose_caller_hung_up_is_not_under_way),
        cmocka_unit_test(calls_one_after_the_other_are_fine),
        cmocka_unit_test(a_token_that_goes_down_is_noticed),
        cmocka_unit_test(an_action_behind_its_compensation_is_refused),
        cmocka_unit_test(rules_are_used_up_in_order),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

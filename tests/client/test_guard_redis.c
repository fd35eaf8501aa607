/* The guard on a Redis of the test's own. */
#include <hiredis/hiredis.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assent/guard.h"
#include "guard_server.h"

static struct guard_server server;
static redisContext *a, *b;

static redisContext *connect_redis(void)
{
    for (;;) {
        redisContext *c = redisConnectUnix(server.socket);
        assert_non_null(c);
        if (c->err == 0)
            return c;
        redisFree(c);
        guard_server_wait(&server);
    }
}

static long long number(redisContext *c, const char *command)
{
    redisReply *reply = redisCommand(c, command);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    long long n = reply->type == REDIS_REPLY_INTEGER ? reply->integer
                  : reply->str != NULL               ? strtoll(reply->str, NULL, 10)
                                                     : -1;
    freeReplyObject(reply);
    return n;
}

static void assert_value(const char *key, const char *value)
{
    redisReply *reply = redisCommand(a, "GET %s", key);
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, value);
    freeReplyObject(reply);
}

static int adjust(redisContext *c, const char *gid, const char *op, int64_t amount,
                  struct assent_guard_result *result)
{
    struct assent_guard_call call;
    const char *branch = strcmp(op, "msg") == 0 ? "00" : "01";
    assert_int_equal(assent_guard_call_init(&call, "saga", gid, branch, op), ASSENT_OK);
    return assent_guard_redis_adjust(c, &call, "balance", amount, 60, result);
}

static enum assent_guard_verdict verdict(redisContext *c, const char *gid, const char *op, int64_t amount)
{
    struct assent_guard_result result;
    int rc = adjust(c, gid, op, amount, &result);
    if (rc != ASSENT_OK)
        fail_msg("%d: %s", rc, result.detail);
    return result.verdict;
}

static int fresh(void **state)
{
    (void)state;
    a = connect_redis();
    b = connect_redis();
    number(a, "FLUSHALL");
    number(a, "SET balance 100");
    return 0;
}

static int done(void **state)
{
    (void)state;
    redisFree(a);
    redisFree(b);
    return 0;
}

static void a_repeated_action_has_one_effect_even_when_the_balance_is_gone(void **state)
{
    (void)state;
    assert_int_equal(verdict(a, "g", "action", -100), ASSENT_GUARD_RUN);
    assert_int_equal(verdict(b, "g", "action", -100), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(verdict(b, "g", "compensate", 100), ASSENT_GUARD_RUN);
    assert_int_equal(verdict(b, "g", "compensate", 100), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(number(a, "GET balance"), 100);
}

static void a_balance_too_low_refuses_and_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(verdict(a, "low", "action", -101), ASSENT_GUARD_REFUSED);
    assert_int_equal(number(a, "GET balance"), 100);
    assert_int_equal(number(a, "DBSIZE"), 1);
    assert_int_equal(verdict(a, "low", "compensate", 101), ASSENT_GUARD_EMPTY);
    number(a, "DEL balance");
    assert_int_equal(verdict(a, "none", "action", 1), ASSENT_GUARD_REFUSED);
}

static void compensation_without_action_is_remembered_and_the_late_action_refused(void **state)
{
    (void)state;
    assert_int_equal(verdict(a, "e", "compensate", 5), ASSENT_GUARD_EMPTY);
    assert_int_equal(verdict(a, "e", "action", -5), ASSENT_GUARD_LATE);
    assert_int_equal(verdict(a, "e", "compensate", 5), ASSENT_GUARD_DUPLICATE);
    assert_int_equal(number(a, "GET balance"), 100);
}

static void the_keys_are_those_of_dtm_and_expire(void **state)
{
    (void)state;
    verdict(a, "k", "compensate", 5);
    assert_value("k-01-action-01", "rollback");
    assert_value("k-01-compensate-01", "op");
    long long ttl = number(a, "TTL k-01-action-01");
    assert_true(ttl > 0 && ttl <= 60);
}

static void a_message_is_committed_or_never_will_be(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    assert_int_equal(verdict(a, "yes", "msg", -1), ASSENT_GUARD_RUN);
    assert_int_equal(assent_guard_call_init(&call, "msg", "yes", "00", "msg"), ASSENT_OK);
    assert_int_equal(assent_guard_redis_prepared(b, &call, 60, &result), ASSENT_OK);
    assert_int_equal(result.outcome, ASSENT_GUARD_COMMITTED);
    assert_int_equal(assent_guard_call_init(&call, "msg", "no", "00", "msg"), ASSENT_OK);
    assert_int_equal(assent_guard_redis_prepared(b, &call, 60, &result), ASSENT_OK);
    assert_int_equal(result.outcome, ASSENT_GUARD_ABORTED);
    assert_int_equal(verdict(a, "no", "msg", -1), ASSENT_GUARD_LATE);
}

static void any_effect_runs_once_and_may_refuse(void **state)
{
    (void)state;
    struct assent_guard_call call;
    struct assent_guard_result result;
    const char *lua =
        "if redis.call('SCARD', key) >= 1 then return 'FAILURE' end redis.call('SADD', key, arg)";
    const char *gids[] = {"first", "first", "second"};
    const enum assent_guard_verdict wanted[] = {ASSENT_GUARD_RUN, ASSENT_GUARD_DUPLICATE,
                                                ASSENT_GUARD_REFUSED};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(assent_guard_call_init(&call, "saga", gids[i], "01", "action"), ASSENT_OK);
        assert_int_equal(assent_guard_redis_eval(a, &call, lua, "seats", "alice", 60, &result), ASSENT_OK);
        assert_int_equal(result.verdict, wanted[i]);
    }
    assert_int_equal(number(a, "SCARD seats"), 1);
}

static enum assent_guard_verdict row(const char *gid, const char *op, uint64_t token, const char *amount)
{
    static const char lua[] = "if redis.call('INCRBY', key, arg) < 0 then redis.call('DECRBY', key, arg) "
                              "return 'FAILURE' end";
    struct assent_guard_call call;
    struct assent_guard_result result;
    assert_int_equal(assent_guard_call_init(&call, "tcc", gid, "01", op), ASSENT_OK);
    call.token = token;
    int rc = assent_guard_redis_branch(a, &call, lua, "balance", amount, 0, &result);
    if (rc != ASSENT_OK)
        fail_msg("%d: %s", rc, result.detail);
    return result.verdict;
}

static enum assent_guard_outcome outcome(const char *gid)
{
    struct assent_guard_call call;
    struct assent_guard_result result;
    assert_int_equal(assent_guard_call_init(&call, "tcc", gid, "01", "try"), ASSENT_OK);
    assert_int_equal(assent_guard_redis_outcome(b, &call, 0, &result), ASSENT_OK);
    return result.outcome;
}

/* One call a line, in the order it comes; `balance` afterwards. */
static void a_guard_row_judges_every_order_of_calls(void **state)
{
    static const struct {
        const char *gid, *op;
        uint64_t token;
        const char *amount;
        enum assent_guard_verdict says;
        long long balance;
    } rows[] = {
        {"c", "try", 10, "-30", ASSENT_GUARD_RUN, 70},
        {"c", "try", 10, "-30", ASSENT_GUARD_DUPLICATE, 70},
        {"c", "confirm", 20, "0", ASSENT_GUARD_RUN, 70},
        {"c", "confirm", 20, "0", ASSENT_GUARD_DUPLICATE, 70},
        {"c", "cancel", 30, "30", ASSENT_GUARD_CONFLICT, 70},
        {"x", "try", 10, "-30", ASSENT_GUARD_RUN, 40},
        {"x", "cancel", 9007199254740993, "30", ASSENT_GUARD_RUN, 70},
        {"x", "cancel", 9007199254740992, "30", ASSENT_GUARD_STALE, 70}, /* one less: beyond Lua's numbers */
        {"x", "cancel", 9007199254740993, "30", ASSENT_GUARD_DUPLICATE, 70},
        {"x", "try", 9007199254740993, "-30", ASSENT_GUARD_LATE, 70},
        {"x", "confirm", 9007199254740994, "0", ASSENT_GUARD_CONFLICT, 70},
        {"e", "confirm", 5, "0", ASSENT_GUARD_NO_TRY, 70},
        {"e", "cancel", 5, "30", ASSENT_GUARD_EMPTY, 70},
        {"e", "try", 5, "-30", ASSENT_GUARD_LATE, 70},
        {"r", "try", 5, "-71", ASSENT_GUARD_REFUSED, 70},
        {"r", "cancel", 6, "71", ASSENT_GUARD_EMPTY, 70},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum assent_guard_verdict said = row(rows[i].gid, rows[i].op, rows[i].token, rows[i].amount);
        if (said != rows[i].says || number(a, "GET balance") != rows[i].balance)
            fail_msg("row %zu: %s", i, assent_guard_verdict_name(said));
    }
    assert_int_equal(outcome("c"), ASSENT_GUARD_COMMITTED);
    assert_int_equal(outcome("x"), ASSENT_GUARD_ABORTED);
    assert_int_equal(outcome("e"), ASSENT_GUARD_ABORTED);
}

static void asking_for_an_outcome_bars_a_late_try(void **state)
{
    (void)state;
    assert_int_equal(outcome("late"), ASSENT_GUARD_ABORTED);
    assert_int_equal(row("late", "try", 7, "-30"), ASSENT_GUARD_LATE);
    assert_int_equal(number(a, "GET balance"), 100);
    number(a, "HSET assent_branch:bad:01 state 9 token 0");
    struct assent_guard_call call;
    struct assent_guard_result result;
    assert_int_equal(assent_guard_call_init(&call, "tcc", "bad", "01", "try"), ASSENT_OK);
    assert_int_equal(assent_guard_redis_branch(a, &call, "", "balance", "", 0, &result), ASSENT_CORRUPT);
    call.table = "no table";
    assert_int_equal(assent_guard_redis_branch(a, &call, "", "balance", "", 0, &result), ASSENT_INVALID);
    call.table = "own";
    assert_int_equal(assent_guard_redis_branch(a, &call, "", "balance", "", 60, &result), ASSENT_OK);
    long long ttl = number(a, "TTL own:bad:01");
    assert_true(ttl > 0 && ttl <= 60);
}

static void errors_are_told_apart(void **state)
{
    (void)state;
    struct assent_guard_result result;
    struct assent_guard_call call;
    number(a, "DEL balance");
    number(a, "LPUSH balance x");
    assert_int_equal(assent_guard_call_init(&call, "saga", "x", "01", "action"), ASSENT_OK);
    int rc = assent_guard_redis_adjust(a, &call, "balance", 1, 60, &result);
    assert_true(rc == ASSENT_CONFLICT || rc == ASSENT_INVALID);
    assert_non_null(strstr(result.detail, "WRONGTYPE"));
    assert_int_equal(number(a, "DBSIZE"), 1);
    assert_int_equal(assent_guard_redis_adjust(a, &call, "balance", 1, 0, &result), ASSENT_INVALID);
    redisReply *reply = redisCommand(b, "CLIENT KILL TYPE normal SKIPME yes");
    freeReplyObject(reply);
    assert_int_equal(assent_guard_redis_adjust(a, &call, "balance", 1, 60, &result), ASSENT_UNKNOWN_OUTCOME);
    assert_int_equal(assent_guard_redis_adjust(a, &call, "balance", 1, 60, &result), ASSENT_UNREACHABLE);
}

#define ROUNDS 100
static void *race(void *data)
{
    long *ran = data;
    redisContext *c = connect_redis();
    struct assent_guard_result result;
    for (int i = 0; i < ROUNDS; i++) {
        char gid[32];
        snprintf(gid, sizeof gid, "race-%d", i);
        *ran += adjust(c, gid, "confirm", 1, &result) == ASSENT_OK && result.verdict == ASSENT_GUARD_RUN;
    }
    redisFree(c);
    return NULL;
}

static void a_confirm_by_two_connections_at_once_has_one_effect(void **state)
{
    (void)state;
    pthread_t threads[2];
    long ran[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &ran[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(ran[0] + ran[1], ROUNDS);
    assert_int_equal(number(a, "GET balance"), 100 + ROUNDS);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, fresh, done)
    const struct CMUnitTest tests[] = {
        CLAIM(a_repeated_action_has_one_effect_even_when_the_balance_is_gone),
        CLAIM(a_balance_too_low_refuses_and_leaves_nothing),
        CLAIM(compensation_without_action_is_remembered_and_the_late_action_refused),
        CLAIM(the_keys_are_those_of_dtm_and_expire),
        CLAIM(a_message_is_committed_or_never_will_be),
        CLAIM(any_effect_runs_once_and_may_refuse),
        CLAIM(a_guard_row_judges_every_order_of_calls),
        CLAIM(asking_for_an_outcome_bars_a_late_try),
        CLAIM(errors_are_told_apart),
        CLAIM(a_confirm_by_two_connections_at_once_has_one_effect),
    };
    signal(SIGPIPE, SIG_IGN); /* hiredis writes to connections the server has closed */
    guard_server_start(&server, GUARD_SERVER_REDIS);
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    guard_server_stop(&server);
    return failures;
}

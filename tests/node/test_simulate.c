/* Faults on demand: rules, and what they do to calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "executor_world.h"
#include "simulate.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

static struct simulate *open_rules(uint64_t seed, const char *first, const char *second)
{
    char *rules[2] = {(char *)(uintptr_t)first, (char *)(uintptr_t)second};
    char err[256] = "";
    struct simulate *s;
    bool ok = simulate_open(&s, rules, second != NULL ? 2 : 1, seed, err, sizeof(err));
    if (!ok)
        print_error("%s\n", err);
    assert_true(ok);
    return s;
}

static enum simulate_fault pick(struct simulate *s, const char *url, const char *mode, enum sm_op op)
{
    struct sm_work work = {.url = text(url), .mode = text(mode), .op = op};
    uint32_t rule;
    return simulate_pick(s, &work, &rule);
}

/* ---- rules ---- */

static void bad_rules_get_a_sentence(void **state)
{
    static const struct {
        const char *rule, *part;
    } rows[] = {
        {"", "is no part of a rule"},
        {"op=action", "names no fault"},
        {"fault=explode", "'fault=explode' is no part"},
        {"fault=none", "'fault=none' is no part"},
        {"fault=refuse,mode=saga", "'mode=saga' is no part"},
        {"fault=refuse,op=commit", "'op=commit' is no part"},
        {"fault=refuse,count=-1", "'count=-1' is no part"},
        {"fault=refuse,count=1x", "'count=1x' is no part"},
        {"fault=refuse,count=99999999999999999999", "is no part"},
        {"fault=refuse,probability=1.1", "is no part"},
        {"fault=refuse,probability=nan", "is no part"},
        {"fault=refuse,probability=", "is no part"},
        {"fault=refuse,url=", "is no part"},
        {"fault=refuse,colour=red", "'colour=red' is no part"},
        {"fault=refuse,", "is no part"},
        {"fault", "'fault' is no part"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *rule = (char *)(uintptr_t)rows[i].rule, err[256] = "";
        struct simulate *s;
        assert_false(simulate_open(&s, &rule, 1, 1, err, sizeof(err)));
        assert_null(s);
        assert_non_null(strstr(err, rows[i].part));
    }
}

static void a_rule_fits_by_url_mode_and_operation(void **state)
{
    (void)state;
    struct simulate *s =
        open_rules(1, "url=http://bank/pay,mode=SAGA,op=action,fault=refuse", "op=try,fault=crash");
    assert_int_equal(pick(s, "http://bank/pay", "SAGA", SM_OP_ACTION), SIMULATE_REFUSE);
    assert_int_equal(pick(s, "http://bank/pay/now?a", "SAGA", SM_OP_ACTION), SIMULATE_REFUSE);
    assert_int_equal(pick(s, "http://bank/payout", "SAGA", SM_OP_ACTION), SIMULATE_NONE);
    assert_int_equal(pick(s, "http://bank/pay", "MESSAGE", SM_OP_ACTION), SIMULATE_NONE);
    assert_int_equal(pick(s, "http://bank/pay", "SAGA", SM_OP_COMPENSATE), SIMULATE_NONE);
    assert_int_equal(pick(s, "http://x/", "TCC", SM_OP_TRY), SIMULATE_CRASH);
    simulate_close(s);
    assert_int_equal(pick(NULL, "http://x/", "TCC", SM_OP_TRY), SIMULATE_NONE);
}

static void a_rule_fires_so_many_times(void **state)
{
    (void)state;
    struct simulate *s = open_rules(1, "fault=refuse,count=2", "fault=timeout,count=1");
    assert_int_equal(pick(s, "http://x", "TCC", SM_OP_TRY), SIMULATE_REFUSE);
    assert_int_equal(pick(s, "http://x", "TCC", SM_OP_TRY), SIMULATE_REFUSE);
    assert_int_equal(pick(s, "http://x", "TCC", SM_OP_TRY), SIMULATE_TIMEOUT);
    assert_int_equal(pick(s, "http://x", "TCC", SM_OP_TRY), SIMULATE_NONE);
    simulate_close(s);
}

static void the_dice_follow_their_seed(void **state)
{
    uint64_t first[3] = {0};
    (void)state;
    for (int run = 0; run < 3; run++) {
        struct simulate *s = open_rules(run < 2 ? 7 : 8, "fault=refuse,probability=0.25", NULL);
        int n = 0;
        for (int i = 0; i < 4000; i++) {
            bool hit = pick(s, "http://x", "TCC", SM_OP_TRY) == SIMULATE_REFUSE;
            n += hit;
            first[run] |= i < 64 && hit ? UINT64_C(1) << i : 0;
        }
        assert_true(n > 850 && n < 1150);
        simulate_close(s);
    }
    assert_true(first[0] == first[1] && first[0] != first[2]);
    struct simulate *s = open_rules(1, "fault=refuse,probability=0", "fault=timeout,probability=1");
    for (int i = 0; i < 100; i++)
        assert_int_equal(pick(s, "http://x", "TCC", SM_OP_TRY), SIMULATE_TIMEOUT);
    simulate_close(s);
}

/* ---- calls ---- */

static void a_call_that_fails_before_is_not_made(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.simulate = open_rules(1, "fault=fail-before,count=1", NULL)});
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, w->failures == 1);
    assert_string_equal(w->error, "simulated: the call was not made");
    assert_int_equal(w->p.requests, 0);
    assert_int_equal(w->faults, 1);
    assert_string_equal(w->fault.fault, "fail-before");
    assert_int_equal(world_metrics(w).simulated[SIMULATE_FAIL_BEFORE], 1);
    until(w, world_metrics(w).reporting == 0);
    sm_advance(&w->h, 100);
    executor_kick(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    world_assert_idle(w);
}

static void a_call_that_fails_after_was_made(void **state)
{
    struct world *w = *state;
    world_executor(
        w, (struct executor_config){.simulate = open_rules(1, "op=confirm,fault=fail-after,count=1", NULL)});
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, w->failures == 1);
    assert_string_equal(w->error, "simulated: the answer was lost");
    assert_int_equal(w->p.requests, 1);
    until(w, world_metrics(w).reporting == 0);
    sm_advance(&w->h, 100);
    executor_kick(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->p.requests, 2);
}

static void a_simulated_refusal_turns_a_saga_back(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.simulate = open_rules(1, "op=action,fault=refuse", NULL)});
    world_saga(w, "/ok", "/ok");
    until(w, world_stands(w, "t", "ROLLED_BACK"));
    assert_int_equal(w->p.requests, 1); /* the compensation alone */
    assert_non_null(strstr(w->p.last, "\r\nAssent-Op: compensate\r\n"));
}

static void a_simulated_timeout_takes_its_time_and_its_slot(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.per_host_max = 1,
                                               .simulate = open_rules(1, "fault=timeout,count=1", NULL)});
    world_commit(w, "t", w->p.port, "/ok", ",'timeoutMs':80");
    uint64_t from_ms = uv_now(&w->loop);
    world_commit(w, "u", w->p.port, "/ok", "");
    until(w, world_metrics(w).in_flight == 1 && world_metrics(w).queued == 1);
    assert_int_equal(w->p.requests, 0);
    until(w, w->failures == 1);
    assert_true(uv_now(&w->loop) - from_ms >= 80);
    assert_string_equal(w->error, "simulated: no answer within the time limit");
    until(w, world_stands(w, "u", "COMMITTED"));
    assert_int_equal(w->p.requests, 1);
}

static void a_deposed_leader_ends_what_it_pretends(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){.simulate = open_rules(1, "fault=timeout,count=1", NULL)});
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, world_metrics(w).in_flight == 1);
    executor_stop(w->ex);
    world_assert_idle(w);
    executor_start(w->ex);
    until(w, world_stands(w, "t", "COMMITTED"));
    assert_int_equal(w->failures, 0);
}

/* The process would be gone; a test's is not, and goes on as after a failure. */
static void a_crash_is_told_before_and_after_the_call(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){
                          .simulate = open_rules(1, "fault=crash-before,count=1", "fault=crash,count=1")});
    world_commit(w, "t", w->p.port, "/ok", "");
    until(w, w->faults == 1);
    assert_true(w->fault.crash);
    assert_string_equal(w->fault.fault, "crash-before");
    assert_int_equal(w->fault.rule, 0);
    assert_int_equal(w->p.requests, 0);
    until(w, world_metrics(w).reporting == 0);
    sm_advance(&w->h, 100);
    executor_kick(w->ex);
    until(w, w->faults == 2);
    assert_string_equal(w->fault.fault, "crash");
    assert_int_equal(w->fault.rule, 1);
    assert_int_equal(w->p.requests, 1); /* it had answered */
}

/* They say nothing of the host. */
static void simulated_faults_do_not_count_against_the_host(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){
                          .breaker_failures = 1,
                          .simulate = open_rules(1, "fault=fail-before,count=3", "fault=timeout,count=1")});
    for (int i = 0; i < 4; i++) {
        char xid[16];
        snprintf(xid, sizeof(xid), "t%d", i % 10);
        world_commit(w, xid, w->p.port, "/ok", ",'timeoutMs':50");
        until(w, w->failures == (uint32_t)i + 1);
    }
    assert_int_equal(world_metrics(w).breaker_opened, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_rules_get_a_sentence),
        cmocka_unit_test(a_rule_fits_by_url_mode_and_operation),
        cmocka_unit_test(a_rule_fires_so_many_times),
        cmocka_unit_test(the_dice_follow_their_seed),
        T(a_call_that_fails_before_is_not_made),
        T(a_call_that_fails_after_was_made),
        T(a_simulated_refusal_turns_a_saga_back),
        T(a_simulated_timeout_takes_its_time_and_its_slot),
        T(a_deposed_leader_ends_what_it_pretends),
        T(a_crash_is_told_before_and_after_the_call),
        T(simulated_faults_do_not_count_against_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Claims about the page Prometheus reads. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

static struct harness h;

static int start(void **state)
{
    (void)state;
    harness_start(&h, 1, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(&h);
    return 0;
}

/* A line is a comment, or name, optional labels and a number; every name was announced by its TYPE. */
static void check_line(const char *page, const char *line)
{
    if (*line == '#' || *line == 0)
        return;
    size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_");
    assert_true(name > 0 && strncmp(line, "assent_", 7) == 0);
    const char *value = strrchr(line, ' ');
    assert_non_null(value);
    char *end;
    strtod(value + 1, &end);
    assert_true(*end == 0 && end > value + 1);
    assert_true(line[name] == ' ' || (line[name] == '{' && value[-1] == '}'));
    static const char *const endings[] = {"", "_bucket", "_sum", "_count"};
    bool announced = false;
    for (int i = 0; i < 4; i++) {
        size_t cut = strlen(endings[i]);
        char type[256];
        if (cut > name || strncmp(line + name - cut, endings[i], cut) != 0)
            continue;
        snprintf(type, sizeof type, "# TYPE %.*s ", (int)(name - cut), line);
        announced = announced || strstr(page, type) != NULL;
    }
    if (!announced)
        fail_msg("no TYPE for %s", line);
}

static void the_page_is_well_formed_and_counts(void **state)
{
    (void)state;
    struct reply r = http_call(&h, 0, "POST", "/api/v1/lamport/tick", NULL, "{\"clock\":\"m\"}");
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/api/v1/lamport/current?clock=m", NULL, NULL);
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/nowhere", NULL, NULL);
    reply_free(&r);
    r = http_call(&h, 0, "POST", "/api/v1/transaction/begin", NULL, "{}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    r = http_call(&h, 0, "POST", "/api/v1/transaction/none/force", NULL, "{\"by\":\"a\",\"reason\":\"r\"}");
    assert_int_equal(r.status, 404);
    reply_free(&r);
    r = http_call(&h, 0, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_has(r.head, "text/plain; version=0.0.4");
    static const char *const parts[] = {
        "assent_http_requests_total{method=\"POST\",route=\"/api/v1/lamport/tick\",code=\"200\"} 1\n",
        "assent_http_requests_total{method=\"\",route=\"none\",code=\"404\"} 1\n",
        "assent_http_request_seconds_count{kind=\"query\"} 1\n",
        "assent_apply_command_total{command=\"lamport_tick\"} 1\n",
        "assent_raft_role{role=\"leader\"} 1\n",
        "assent_raft_guard_total{guard=\"G1\"} 0\n",
        "assent_transactions{mode=",
        "assent_transactions_suspended 0\n",
        "assent_transactions_stopped 0\n",
        "assent_transaction_oldest_unfinished_seconds ",
        "assent_freezes_held 0\n",
        "assent_freezes_waiting 0\n",
        "assent_apply_command_total{command=\"txn_act\"} 1\n",
        "assent_log_disk_commit_seconds_bucket{le=\"+Inf\"} 0\n",
        "assent_executor_calls_total 0\n",
        "assent_executor_hosts{breaker=\"half-open\"} 0\n",
        "assent_simulated_faults_total{fault=\"crash\"} 0\n",
        "assent_rpc_connections 0\n",
        "assent_process_resident_bytes ",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        assert_has(r.body, parts[i]);
    char *copy = strdup(r.body), *rest = copy;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        check_line(r.body, line);
    free(copy);
    reply_free(&r);
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    struct raftlog_histogram hist = {.count = 6, .sum_us = 1500000};
    struct text t;
    hist.bucket[0] = 1;
    hist.bucket[2] = 3;
    hist.bucket[RAFTLOG_BUCKETS - 1] = 2;
    text_init(&t, 4096);
    metrics_histogram(&t, "x", "k=\"v\"", &hist);
    text_char(&t, 0);
    assert_has(t.base, "assent_x_bucket{k=\"v\",le=\"0.0001\"} 1\n");
    assert_has(t.base, "assent_x_bucket{k=\"v\",le=\"0.0004\"} 4\n");
    assert_has(t.base, "assent_x_bucket{k=\"v\",le=\"+Inf\"} 6\n");
    assert_has(t.base, "assent_x_sum{k=\"v\"} 1.500000\n");
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_well_formed_and_counts),
        cmocka_unit_test(histograms_are_cumulative),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

/* Claims about options: precedence, ranges, sentences; and about the lines of the log they shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "address.h"
#include "config.h"
#include "log.h"

#define BASE     "--id", "2", "--data", "d", "--cluster", "1=a:1,2=b:2,3=c:3", "--insecure"
#define ARGS_MAX 32

/* Run config_load() over arguments that end with NULL. */
static enum config_answer load(struct config *c, char **env, char *err, const char *first, ...)
{
    const char *argv[ARGS_MAX] = {"assentd"};
    int argc = 1;
    va_list args;
    va_start(args, first);
    for (const char *a = first; a != NULL; a = va_arg(args, const char *))
        argv[argc++] = a;
    va_end(args);
    return config_load(c, argc, (char **)(uintptr_t)argv, env, err, CONFIG_ERROR_BYTES);
}

static void defaults_fill_what_is_not_given(void **state)
{
    (void)state;
    struct config c;
    char err[CONFIG_ERROR_BYTES];
    assert_int_equal(load(&c, NULL, err, BASE, NULL), CONFIG_RUN);
    assert_int_equal(c.id, 2);
    assert_string_equal(c.name, "node-2");
    assert_string_equal(c.raft_listen, "b:2");
    assert_int_equal(c.servers_n, 3);
    assert_int_equal(c.servers[2].id, 3);
    assert_string_equal(c.servers[2].address, "c:3");
    assert_true(c.servers[0].voter);
    assert_int_equal(c.heartbeat_ms, 30);
    assert_int_equal(c.election_ms, 300);
    assert_int_equal(c.http.n, 1);
    assert_string_equal(c.http.item[0], "127.0.0.1:8080");
    config_close(&c);
}

static void a_flag_beats_environment_beats_file(void **state)
{
    (void)state;
    char path[] = "/tmp/assent-config-XXXXXX", err[CONFIG_ERROR_BYTES], assignment[] = "ASSENT_HOLD_MS=20";
    char second[] = "ASSENT_HTTP=127.0.0.1:1,127.0.0.1:2", other[] = "ASSENT_SOMETHING_ELSE=1";
    int fd = mkstemp(path);
    dprintf(fd, "hold-ms: 10\ndrain-ms: 11\nqueue-mb: 12\nrpc: [127.0.0.1:3, '127.0.0.1:4']\njoin: false\n");
    close(fd);
    char *env[] = {assignment, second, other, NULL};
    struct config c;
    assert_int_equal(load(&c, env, err, BASE, "--config", path, "--queue-mb", "30", NULL), CONFIG_RUN);
    assert_int_equal(c.queue_mb, 30);
    assert_int_equal(c.hold_ms, 20);
    assert_int_equal(c.drain_ms, 11);
    assert_int_equal(c.http.n, 2);
    assert_string_equal(c.http.item[1], "127.0.0.1:2");
    assert_int_equal(c.rpc.n, 2);
    assert_string_equal(c.rpc.item[1], "127.0.0.1:4");
    config_close(&c);
    unlink(path);
}

static void zero_is_a_value_like_any_other(void **state)
{
    (void)state;
    char path[] = "/tmp/assent-config-XXXXXX", err[CONFIG_ERROR_BYTES];
    int fd = mkstemp(path);
    dprintf(fd, "drain-ms: 0\n");
    close(fd);
    struct config c;
    assert_int_equal(load(&c, NULL, err, BASE, "--config", path, "--hold-ms", "0", NULL), CONFIG_RUN);
    assert_int_equal(c.hold_ms, 0);
    assert_int_equal(c.drain_ms, 0);
    config_close(&c);
    unlink(path);
}

static void mistakes_get_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *args[6], *part;
    } rows[] = {
        {{"--nonsense", "1"}, "there is no option '--nonsense'"},
        {{"--hold-ms"}, "a value is missing"},
        {{"--hold-ms", "x"}, "--hold-ms takes a whole number from 0 to 60000"},
        {{"--hold-ms", "60001"}, "not '60001'"},
        {{"--hold-ms", "-1"}, "not '-1'"},
        {{"--hold-ms", "1", "--hold-ms", "2"}, "given twice"},
        {{"stray"}, "'stray' is not an option"},
        {{"--http", "nowhere"}, "--http takes host:port"},
        {{"--rpc", "a:99999"}, "--rpc takes host:port"},
        {{"--http-advertise", "x"}, "--http-advertise takes host:port"},
        {{"--log-format", "xml"}, "json or text"},
        {{"--log-level", "loud"}, "debug, info, warning or error"},
        {{"--heartbeat-ms", "100", "--election-ms", "900"}, "at least 10 times"},
        {{"--name", ""}, "1 to 128 bytes"},
        {{"--name", "two\nlines"}, "control characters"},
        {{"--config", "/nonexistent/file"}, "cannot read /nonexistent/file"},
        {{"--tls-ca-file", "/nonexistent/ca"}, "--tls-ca-file /nonexistent/ca: No such file"},
        {{"--branch-calls", "0"}, "--branch-calls takes a whole number from 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        char err[CONFIG_ERROR_BYTES] = "";
        assert_int_equal(load(&c, NULL, err, BASE, rows[i].args[0], rows[i].args[1], rows[i].args[2],
                              rows[i].args[3], rows[i].args[4], NULL),
                         CONFIG_ERROR);
        assert_non_null(strstr(err, rows[i].part));
        config_close(&c);
    }
}

static void what_is_required_is_asked_for(void **state)
{
    (void)state;
    struct config c;
    char err[CONFIG_ERROR_BYTES];
    assert_int_equal(load(&c, NULL, err, "--data", "d", NULL), CONFIG_ERROR);
    assert_non_null(strstr(err, "--id and --data are required"));
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, "--id", "1", "--data", "d", "--cluster", "1=a:1", NULL),
                     CONFIG_ERROR);
    assert_non_null(strstr(err, "--insecure"));
    config_close(&c);
    assert_int_equal(
        load(&c, NULL, err, "--id", "4", "--data", "d", "--cluster", "1=a:1", "--insecure", NULL),
        CONFIG_ERROR);
    assert_non_null(strstr(err, "--cluster must name this node"));
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, "--id", "4", "--data", "d", "--join", "--insecure", NULL),
                     CONFIG_ERROR);
    assert_non_null(strstr(err, "--raft-listen"));
    config_close(&c);
    assert_int_equal(
        load(&c, NULL, err, "--id", "4", "--data", "d", "--join", "--insecure", "--raft-listen", "h:1", NULL),
        CONFIG_RUN);
    config_close(&c);
}

static void what_is_for_tests_is_refused_elsewhere(void **state)
{
    (void)state;
    struct config c;
    char err[CONFIG_ERROR_BYTES];
    assert_int_equal(
        load(&c, NULL, err, "--id", "1", "--data", "d", "--cluster", "1=a:1", "--branch-insecure", NULL),
        CONFIG_ERROR);
    assert_string_equal(err, "--branch-insecure is for tests: it needs --insecure too");
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, "--id", "1", "--data", "d", "--cluster", "1=a:1", "--simulate",
                          "fault=refuse", "--allow-simulated-faults", NULL),
                     CONFIG_ERROR);
    assert_string_equal(err, "--simulate is for tests: it needs --insecure too");
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, BASE, "--simulate", "fault=refuse", NULL), CONFIG_ERROR);
    assert_non_null(strstr(err, "--allow-simulated-faults"));
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, BASE, "--simulate", "fault=refuse,op=try", "--simulate",
                          "fault=crash", "--allow-simulated-faults", "--branch-insecure", NULL),
                     CONFIG_RUN);
    assert_int_equal(c.simulate.n, 2);
    assert_true(c.branch_insecure);
    config_close(&c);
}

/* Rules hold commas, so in the environment they are separated by semicolons. */
static void rules_come_from_the_environment_too(void **state)
{
    (void)state;
    struct config c;
    char err[CONFIG_ERROR_BYTES];
    char *env[] = {"ASSENT_SIMULATE=fault=refuse,op=try;fault=crash,count=1",
                   "ASSENT_BRANCH_SECRET=http://a=/k/a,http://b=/k/b", "ASSENT_ALLOW_SIMULATED_FAULTS=yes",
                   NULL};
    assert_int_equal(load(&c, env, err, BASE, NULL), CONFIG_RUN);
    assert_int_equal(c.simulate.n, 2);
    assert_string_equal(c.simulate.item[0], "fault=refuse,op=try");
    assert_string_equal(c.simulate.item[1], "fault=crash,count=1");
    assert_int_equal(c.branch_secret.n, 2);
    assert_string_equal(c.branch_secret.item[1], "http://b=/k/b");
    config_close(&c);
}

static void names_of_dtm_are_taken_when_asked_for(void **state)
{
    (void)state;
    char path[] = "/tmp/assent-config-XXXXXX", err[CONFIG_ERROR_BYTES];
    int fd = mkstemp(path);
    dprintf(fd, "dtm-environment: true\ndtm-timeout-to-fail-s: 50\n");
    close(fd);
    char *env[] = {"RETRY_INTERVAL=20",
                   "TIMEOUT_TO_FAIL=60",
                   "REQUEST_TIMEOUT=5",
                   "HTTP_PORT=36789",
                   "ALERT_WEB_HOOK=http://h/alert",
                   "ALERT_RETRY_LIMIT=7",
                   "LOG_LEVEL=warn",
                   "STORE_DRIVER=mysql",
                   "ASSENT_DTM_REQUEST_TIMEOUT_S=4",
                   NULL};
    struct config c;
    assert_int_equal(load(&c, env, err, BASE, "--alert-after", "2", "--config", path, NULL), CONFIG_RUN);
    assert_int_equal(c.dtm_retry_interval_s, 20);
    assert_int_equal(c.dtm_timeout_to_fail_s, 50); /* the file's */
    assert_int_equal(c.dtm_request_timeout_s, 4);  /* our own name */
    assert_int_equal(c.alert_after, 2);            /* the flag */
    assert_int_equal(c.dtm_http.n, 1);
    assert_string_equal(c.dtm_http.item[0], "0.0.0.0:36789");
    assert_string_equal(c.alert_url, "http://h/alert");
    assert_string_equal(c.log_level, "warning");
    config_close(&c);
    unlink(path);
    assert_int_equal(load(&c, env, err, BASE, NULL), CONFIG_RUN); /* nobody asked */
    assert_int_equal(c.dtm_retry_interval_s, 10);
    assert_int_equal(c.dtm_http.n, 0);
    assert_null(c.alert_url);
    assert_string_equal(c.log_level, "info");
    config_close(&c);
    char *empty[] = {"ALERT_WEB_HOOK=", NULL};
    assert_int_equal(load(&c, empty, err, BASE, "--dtm-environment", NULL), CONFIG_RUN);
    assert_null(c.alert_url);
    config_close(&c);
}

static void a_mistake_in_a_name_of_dtm_says_where_it_is(void **state)
{
    (void)state;
    static const struct {
        char *assignment;
        const char *part;
    } rows[] = {
        {"HTTP_PORT=0", "environment (HTTP_PORT): a port is 1 to 65535, not '0'"},
        {"HTTP_PORT=65536", "environment (HTTP_PORT)"},
        {"HTTP_PORT=localhost:1", "environment (HTTP_PORT)"},
        {"RETRY_INTERVAL=soon", "environment (RETRY_INTERVAL): --dtm-retry-interval-s"},
        {"LOG_LEVEL=loud", "--log-level"},
        {"ALERT_WEB_HOOK=h/alert", "--alert-url"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        char err[CONFIG_ERROR_BYTES], *env[] = {rows[i].assignment, NULL};
        assert_int_equal(load(&c, env, err, BASE, "--dtm-environment", NULL), CONFIG_ERROR);
        assert_non_null(strstr(err, rows[i].part));
        config_close(&c);
    }
}

static void clusters_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"1=a:1,1=b:2", "a:1",   "0=a:1",        "1=a",
                                      "1=",          "x=a:1", "1=a:1,,2=b:2", "1=a:1,"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config c;
        char err[CONFIG_ERROR_BYTES] = "";
        assert_int_equal(
            load(&c, NULL, err, "--id", "1", "--data", "d", "--insecure", "--cluster", bad[i], NULL),
            CONFIG_ERROR);
        assert_non_null(strstr(err, "--cluster"));
        config_close(&c);
    }
}

static void files_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"hold-ms: 1\nnonsense: 2\n", "line 2: there is no option 'nonsense'"},
        {"hold-ms: [1, 2]\n", "'hold-ms' takes a single value"},
        {"hold-ms: {a: 1}\n", "'hold-ms' takes a single value"},
        {"- a\n- b\n", "takes a single value"},
        {"just text\n", "must be a map"},
        {"hold-ms: 1\nhold-ms: 2\n", "given twice"},
        {"hold-ms: soon\n", "line 1: --hold-ms takes a whole number"},
        {"hold-ms: 'open\n", "not YAML"},
        {"config: other\n", "there is no option 'config'"},
        {"join: perhaps\n", "takes true or false"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[] = "/tmp/assent-config-XXXXXX", err[CONFIG_ERROR_BYTES] = "";
        int fd = mkstemp(path);
        dprintf(fd, "%s", rows[i].text);
        close(fd);
        struct config c;
        assert_int_equal(load(&c, NULL, err, BASE, "--config", path, NULL), CONFIG_ERROR);
        assert_non_null(strstr(err, rows[i].part));
        config_close(&c);
        unlink(path);
    }
}

static void help_and_version_are_answers(void **state)
{
    (void)state;
    struct config c;
    char err[CONFIG_ERROR_BYTES];
    assert_int_equal(load(&c, NULL, err, "--help", NULL), CONFIG_HELP);
    config_close(&c);
    assert_int_equal(load(&c, NULL, err, "--id", "1", "--version", NULL), CONFIG_VERSION);
    config_close(&c);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_help(out);
    config_manual(out);
    fclose(out);
    assert_non_null(strstr(text, "--http-idle-s"));
    assert_non_null(strstr(text, "| `http-idle-s` | 1 to 86400 s | 75 |"));
    free(text);
}

/* docs/configuration.md holds the table the program prints. */
static void the_manual_holds_every_option(void **state)
{
    (void)state;
    char *table = NULL, line[512];
    size_t size;
    FILE *out = open_memstream(&table, &size), *manual = fopen(MANUAL, "r");
    assert_non_null(manual);
    config_manual(out);
    fclose(out);
    size_t found = 0;
    while (fgets(line, sizeof line, manual) != NULL) {
        if (strncmp(line, "| `", 3) == 0) {
            assert_non_null(strstr(table, line));
            found += strlen(line);
        }
    }
    fclose(manual);
    assert_int_equal(found + strlen("| option | value | default | meaning |\n|---|---|---|---|\n"), size);
    free(table);
}

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    char host[32], out[64];
    uint16_t port;
    assert_true(address_split("10.0.0.1:80", host, sizeof host, &port));
    assert_string_equal(host, "10.0.0.1");
    assert_int_equal(port, 80);
    assert_true(address_split("[::1]:8080", host, sizeof host, &port));
    assert_string_equal(host, "::1");
    static const char *const bad[] = {"",           ":80",    "host", "host:", "host:x",
                                      "host:65536", "::1:80", "[]:1", "h:1 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(address_split(bad[i], host, sizeof host, &port));
    address_advertise("a:1", "b", "0.0.0.0:2", out, sizeof out);
    assert_string_equal(out, "a:1");
    address_advertise(NULL, "b", "0.0.0.0:2", out, sizeof out);
    assert_string_equal(out, "b:2");
    address_advertise(NULL, "::1", "[::]:2", out, sizeof out);
    assert_string_equal(out, "[::1]:2");
    address_advertise(NULL, NULL, "0.0.0.0:2", out, sizeof out);
    assert_string_equal(out, "0.0.0.0:2");
}

static void events_are_one_json_object_per_line(void **state)
{
    (void)state;
    struct log log = {.json = true, .node = 7};
    struct text t;
    text_init(&t, 4096);
    log_format(&log, LOG_WARNING, "call_failed", "txn=a b c err=con\"ref port=80 zero=007", 1700000000123456,
               &t);
    text_char(&t, 0);
    assert_string_equal(t.base,
                        "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"level\":\"warning\",\"event\":"
                        "\"call_failed\",\"node\":7,\"txn\":\"a b c\",\"err\":\"con\\\"ref\",\"port\":80,"
                        "\"zero\":\"007\"}");
    text_reset(&t);
    log.json = false;
    log_format(&log, LOG_INFO, "started", "a=1", 1700000000000000, &t);
    text_char(&t, 0);
    assert_string_equal(t.base, "2023-11-14T22:13:20.000000Z info    started a=1");
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_what_is_not_given),
        cmocka_unit_test(a_flag_beats_environment_beats_file),
        cmocka_unit_test(zero_is_a_value_like_any_other),
        cmocka_unit_test(mistakes_get_a_sentence),
        cmocka_unit_test(what_is_required_is_asked_for),
        cmocka_unit_test(what_is_for_tests_is_refused_elsewhere),
        cmocka_unit_test(rules_come_from_the_environment_too),
        cmocka_unit_test(names_of_dtm_are_taken_when_asked_for),
        cmocka_unit_test(a_mistake_in_a_name_of_dtm_says_where_it_is),
        cmocka_unit_test(clusters_are_checked),
        cmocka_unit_test(files_are_checked),
        cmocka_unit_test(help_and_version_are_answers),
        cmocka_unit_test(the_manual_holds_every_option),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(events_are_one_json_object_per_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* https branches: certificates and names are verified, unless somebody said otherwise.
 *
 * The participant is a libmicrohttpd server in a thread of its own.  Its key was made for this test and
 * protects nothing; the certificates are its own authorities, valid from 2020 to 2120. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <microhttpd.h>

#include "executor_world.h"

static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghfLuyEDqXfSCVGKj\n"
                          "/btcCQU8YMCdfc7HP0Ghxhhqz/ShRANCAAQuDNUa3fB5ojGACImWbI1naHCchUh0\n"
                          "JskYMq/D4DLSh0j2if/n03/bi7kzKnz9UjaxWymSeDRM7Uk/Hx9NKDA4\n"
                          "-----END PRIVATE KEY-----\n";
/* For 127.0.0.1. */
static const char right[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBQDCB56ADAgECAgEHMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC2Fzc2VudCB0\n"
                            "ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAWMRQwEgYDVQQD\n"
                            "DAthc3NlbnQgdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC4M1Rrd8Hmi\n"
                            "MYAIiZZsjWdocJyFSHQmyRgyr8PgMtKHSPaJ/+fTf9uLuTMqfP1SNrFbKZJ4NEzt\n"
                            "ST8fH00oMDijJDAiMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAK\n"
                            "BggqhkjOPQQDAgNIADBFAiBV/y93vJP7WWNg51MDEShXjlgXHbDrLs4vnL+BNbME\n"
                            "GQIhAKehfO3gTKoCo/2pTr2XQMdjnscDZbEwS6yvtTuEZdip\n"
                            "-----END CERTIFICATE-----\n";
/* For other.example. */
static const char wrong[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBSjCB8KADAgECAgEHMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC2Fzc2VudCB0\n"
                            "ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAWMRQwEgYDVQQD\n"
                            "DAthc3NlbnQgdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC4M1Rrd8Hmi\n"
                            "MYAIiZZsjWdocJyFSHQmyRgyr8PgMtKHSPaJ/+fTf9uLuTMqfP1SNrFbKZJ4NEzt\n"
                            "ST8fH00oMDijLTArMBgGA1UdEQQRMA+CDW90aGVyLmV4YW1wbGUwDwYDVR0TAQH/\n"
                            "BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA38tuvgxkzhiaeHh6NpykY37e/Xf/\n"
                            "+ASpxwvHu1ILT8ICIQD0YkATgL2906t8lWjIeL6ZHIAx5A9WfEzv3Ofz+Y12tg==\n"
                            "-----END CERTIFICATE-----\n";

static atomic_int requests;

static enum MHD_Result serve(void *data, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *body, size_t *body_size,
                             void **state)
{
    (void)data, (void)url, (void)method, (void)version, (void)body;
    if (*state == NULL) { /* the head */
        *state = &requests;
        return MHD_YES;
    }
    if (*body_size > 0) {
        *body_size = 0;
        return MHD_YES;
    }
    atomic_fetch_add(&requests, 1);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(2, (void *)(uintptr_t) "{}", MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

/* One decided branch at a participant with this certificate: its port is in the URL. */
static void run(struct world *w, const char *certificate, struct executor_config config)
{
    atomic_store(&requests, 0);
    struct MHD_Daemon *server = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS, 0, NULL, NULL,
                                                 serve, NULL, MHD_OPTION_HTTPS_MEM_KEY, key,
                                                 MHD_OPTION_HTTPS_MEM_CERT, certificate, MHD_OPTION_END);
    assert_non_null(server);
    world_executor(w, config);
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'t','branches':[{'branch':'b','confirmUrl':'https://127.0.0.1:%u/ok','cancelUrl':''}]}",
              MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port);
    world_run(w, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    until(w, world_metrics(w).calls == 1 && world_metrics(w).reporting == 0);
    MHD_stop_daemon(server);
}

/* Run with `certificate` trusted, or with the system's certificates when it is NULL. */
static void run_trusting(struct world *w, const char *served, const char *trusted)
{
    char path[] = "/tmp/assent-ca-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    if (trusted != NULL)
        dprintf(fd, "%s", trusted);
    close(fd);
    run(w, served, (struct executor_config){.ca_file = trusted != NULL ? path : NULL});
    unlink(path);
}

static void a_certificate_of_a_trusted_authority_is_taken(void **state)
{
    struct world *w = *state;
    run_trusting(w, right, right);
    assert_true(world_stands(w, "t", "COMMITTED"));
    assert_int_equal(atomic_load(&requests), 1);
}

static void a_certificate_nobody_trusts_is_refused(void **state)
{
    struct world *w = *state;
    run_trusting(w, right, NULL);
    assert_int_equal(w->failures, 1);
    assert_non_null(strstr(w->error, "certificate"));
    assert_int_equal(atomic_load(&requests), 0);
}

static void a_certificate_of_another_name_is_refused(void **state)
{
    struct world *w = *state;
    run_trusting(w, wrong, wrong);
    assert_int_equal(w->failures, 1);
    assert_non_null(strstr(w->error, "127.0.0.1"));
    assert_int_equal(atomic_load(&requests), 0);
}

static void verification_can_be_turned_off(void **state)
{
    struct world *w = *state;
    run(w, wrong, (struct executor_config){.verify_nobody = true});
    assert_true(world_stands(w, "t", "COMMITTED"));
    assert_int_equal(atomic_load(&requests), 1);
}

/* A plain server where TLS is spoken to, and the other way round. */
static void the_wrong_protocol_fails(void **state)
{
    struct world *w = *state;
    world_executor(w, (struct executor_config){0});
    world_run(w, COMMAND_TXN_BEGIN,
              "{'xid':'t','branches':[{'branch':'b','confirmUrl':'https://127.0.0.1:%u/ok','cancelUrl':'',"
              "'timeoutMs':1000}]}",
              w->p.port);
    world_run(w, COMMAND_TXN_COMMIT, "{'xid':'t'}");
    until(w, w->failures == 1);
    assert_true(w->error[0] != 0);
    assert_int_equal(w->p.requests, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_certificate_of_a_trusted_authority_is_taken),
        T(a_certificate_nobody_trusts_is_refused),
        T(a_certificate_of_another_name_is_refused),
        T(verification_can_be_turned_off),
        T(the_wrong_protocol_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Claims about the table of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"
#include "routes.h"

static int find(const char *method, const char *path, struct route_match *m)
{
    return route_find(method, (struct assent_bytes){(const uint8_t *)path, strlen(path)}, m);
}

static void paths_lead_to_their_rows(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *pattern;
        int status;
    } rows[] = {
        {"POST", "/api/v1/lamport/tick", "/lamport/tick", ASSENT_OK},
        {"GET", "/api/v1/transaction/t1", "/transaction/{xid}", ASSENT_OK},
        {"GET", "/api/v1/transaction/status/t1", "/transaction/status/{xid}", ASSENT_OK},
        {"DELETE", "/api/v1/nodes/n1", "/nodes/{node}", ASSENT_OK},
        {"POST", "/api/v1/cluster/members/4/promote", "/cluster/members/{id}/promote", ASSENT_OK},
        {"GET", "/livez", "/livez", ASSENT_OK},
        {"HEAD", "/metrics", "/metrics", ASSENT_OK},
        {"GET", "/api/v1/livez", NULL, ASSENT_NO_ROUTE},
        {"GET", "/lamport/current", NULL, ASSENT_NO_ROUTE},
        {"GET", "/api/v1/lamport/current/", NULL, ASSENT_NO_ROUTE},
        {"GET", "/api/v1//lamport/current", NULL, ASSENT_NO_ROUTE},
        {"GET", "", NULL, ASSENT_NO_ROUTE},
        {"GET", "*", NULL, ASSENT_NO_ROUTE},
        {"POST", "/api/v1/sequence/", NULL, ASSENT_NO_ROUTE},
        {"GET", "/api/v1/lamport/tick", NULL, ASSENT_METHOD},
        {"PUT", "/api/v1/nodes", NULL, ASSENT_METHOD},
        {"POST", "/api/v1/sequence/%zz", NULL, ASSENT_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct route_match m;
        assert_int_equal(find(rows[i].method, rows[i].path, &m), rows[i].status);
        if (rows[i].pattern != NULL)
            assert_string_equal(m.route->pattern, rows[i].pattern);
        else
            assert_null(m.route);
    }
}

static void the_methods_of_a_path_are_told(void **state)
{
    (void)state;
    struct route_match m;
    assert_int_equal(find("PATCH", "/api/v1/nodes", &m), ASSENT_METHOD);
    assert_string_equal(m.allow, "POST, GET");
    assert_int_equal(find("PUT", "/api/v1/xa-jta/xa/execute", &m), ASSENT_METHOD);
    assert_string_equal(m.allow, "POST");
    assert_int_equal(find("GET", "/api/v1/tso", &m), ASSENT_METHOD);
    assert_string_equal(m.allow, "POST");
}

static void captures_are_decoded_after_the_path_is_cut(void **state)
{
    (void)state;
    struct route_match m;
    assert_int_equal(find("POST", "/api/v1/sequence/a%2Fb+c%20d", &m), ASSENT_OK);
    assert_int_equal(m.captures, 1);
    assert_memory_equal(m.capture[0].name, "name", m.capture[0].name_size);
    assert_int_equal(m.capture[0].value_size, 7);
    assert_memory_equal(m.capture[0].value, "a/b+c d", 7);
    char path[ASSENT_XID_BYTES_MAX * 3] = "/api/v1/sequence/";
    memset(path + strlen(path), 'x', sizeof path - strlen(path) - 1);
    path[sizeof path - 1] = 0;
    assert_int_equal(find("POST", path, &m), ASSENT_INVALID);
}

static void every_row_has_fields_and_its_own_place(void **state)
{
    (void)state;
    assert_true(routes_n < METRICS_ROUTES_MAX);
    for (uint32_t i = 0; i < routes_n; i++) {
        assert_non_null(route_fields(&routes[i]));
        assert_true(strlen(routes[i].sentence) > 5);
        if (routes[i].kind == ROUTE_COMMAND)
            assert_false(command_schema(routes[i].type)->internal);
        for (uint32_t k = 0; k < i; k++)
            assert_false(strcmp(routes[i].method, routes[k].method) == 0 &&
                         strcmp(routes[i].pattern, routes[k].pattern) == 0 &&
                         routes[i].type == routes[k].type);
        /* each capture is a field */
        const char *open = strchr(routes[i].pattern, '{');
        if (open != NULL) {
            bool known = false;
            for (const struct field *f = route_fields(&routes[i]); f->name != NULL; f++)
                known = known || strncmp(f->name, open + 1, strlen(f->name)) == 0;
            assert_true(known);
        }
    }
}

/* Every command and query a door may send has a path. */
static void nothing_public_is_left_out(void **state)
{
    (void)state;
    static const uint32_t native_only[] = {COMMAND_SESSION_CLOSE};
    for (uint32_t type = 0; type < COMMAND_NR; type++) {
        const struct schema *schema = command_schema(type);
        if (schema == NULL || schema->internal || type == native_only[0])
            continue;
        bool found = false;
        for (uint32_t i = 0; i < routes_n; i++)
            found = found || (routes[i].kind == ROUTE_COMMAND && routes[i].type == type);
        if (!found)
            fail_msg("no path for command %s", schema->name);
    }
    for (uint32_t type = 0; type < QUERY_NR; type++) {
        const struct schema *schema = query_schema(type);
        bool found = schema == NULL || schema->internal;
        for (uint32_t i = 0; i < routes_n; i++)
            found = found || (routes[i].kind == ROUTE_QUERY && routes[i].type == type);
        if (!found)
            fail_msg("no path for query %s", schema->name);
    }
}

static void the_description_is_json_and_complete(void **state)
{
    (void)state;
    struct text t;
    text_init(&t, 1 << 20);
    routes_openapi(&t, "1.2.3");
    assert_false(t.overflow);
    assert_true(json_valid((struct assent_bytes){(const uint8_t *)t.base, t.size}));
    text_char(&t, 0);
    for (uint32_t i = 0; i < routes_n; i++) {
        char quoted[128];
        snprintf(quoted, sizeof quoted, "\"%s%s\":{", routes[i].root ? "" : ROUTES_BASE, routes[i].pattern);
        assert_non_null(strstr(t.base, quoted));
    }
    text_close(&t);
}

static void docs_name_every_path(void **state)
{
    (void)state;
    FILE *in = fopen(API_MANUAL, "r");
    assert_non_null(in);
    static char manual[1 << 18];
    manual[fread(manual, 1, sizeof manual - 1, in)] = 0;
    fclose(in);
    for (uint32_t i = 0; i < routes_n; i++) {
        char row[160];
        snprintf(row, sizeof row, "%s %s%s", routes[i].method, routes[i].root ? "" : ROUTES_BASE,
                 routes[i].pattern);
        if (strstr(manual, row) == NULL)
            fail_msg("docs/api.md does not name '%s'", row);
    }
}

static const struct route *chosen(const char *method, const char *path, const char *body,
                                  struct route_match *m)
{
    assert_int_equal(find(method, path, m), ASSENT_OK);
    route_choose(m, (struct assent_bytes){(const uint8_t *)body, strlen(body)});
    return m->route;
}

static bool says(const struct route_match *m, const char *name, const char *value)
{
    for (uint32_t i = 0; i < m->captures; i++) {
        const struct route_capture *c = &m->capture[i];
        if (c->name_size == strlen(name) && memcmp(c->name, name, c->name_size) == 0)
            return c->value_size == strlen(value) && memcmp(c->value, value, c->value_size) == 0;
    }
    return false;
}

static void a_field_of_the_body_tells_rows_apart(void **state)
{
    static const struct {
        const char *path, *body;
        uint32_t type;
        const char *mode;
    } rows[] = {
        {"/transaction/saga", "{\"steps\":[]}", COMMAND_SAGA_SUBMIT, NULL},
        {"/transaction/saga", " {\"businessType\":\"b\",\"businessData\":1}", COMMAND_BUSINESS_EXECUTE,
         "SAGA"},
        {"/transaction/saga", "{\"steps\":[{\"payload\":{\"businessData\":1}}]}", COMMAND_SAGA_SUBMIT, NULL},
        {"/transaction/saga", "[\"businessData\"]", COMMAND_SAGA_SUBMIT, NULL},
        {"/transaction/saga", "{\"businessData\":", COMMAND_SAGA_SUBMIT, NULL},
        {"/transaction/saga", "", COMMAND_SAGA_SUBMIT, NULL},
        {"/transaction/message", "{\"businessData\":null}", COMMAND_BUSINESS_EXECUTE, "MESSAGE"},
        {"/transaction/message", "{}", COMMAND_MESSAGE_SUBMIT, NULL},
        {"/transaction/tcc", "{}", COMMAND_BUSINESS_EXECUTE, "TCC"},
        {"/transaction/at", "{}", COMMAND_BUSINESS_EXECUTE, "AT"},
        {"/xa-jta/xa/execute", "{\"businessType\":\"b\"}", COMMAND_BUSINESS_EXECUTE, "XA"},
        {"/xa-jta/xa/execute", "{\"branches\":[]}", COMMAND_TXN_BEGIN, "XA"},
        {"/xa-jta/jta/execute", "{\"branches\":[]}", COMMAND_TXN_BEGIN, "XA"},
        {"/transaction/begin", "{\"branches\":[],\"businessData\":1}", COMMAND_TXN_BEGIN, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct route_match m;
        char path[128];
        snprintf(path, sizeof path, "/api/v1%s", rows[i].path);
        assert_int_equal(chosen("POST", path, rows[i].body, &m)->type, rows[i].type);
        assert_true(rows[i].mode == NULL || says(&m, "mode", rows[i].mode));
        assert_true(rows[i].mode != NULL || m.captures == 0);
        assert_int_equal(says(&m, "execute", "true"),
                         rows[i].type == COMMAND_TXN_BEGIN && rows[i].mode != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_lead_to_their_rows),
        cmocka_unit_test(the_methods_of_a_path_are_told),
        cmocka_unit_test(captures_are_decoded_after_the_path_is_cut),
        cmocka_unit_test(every_row_has_fields_and_its_own_place),
        cmocka_unit_test(nothing_public_is_left_out),
        cmocka_unit_test(the_description_is_json_and_complete),
        cmocka_unit_test(docs_name_every_path),
        cmocka_unit_test(a_field_of_the_body_tells_rows_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

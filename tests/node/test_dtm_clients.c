/* The conversations of six client libraries, replayed byte for byte over a raw socket.
 *
 * A file of tests/dtm/ holds requests, each behind a line "### STATUS TEXT": the status its answer must have
 * and a text that must stand in it; "### then LETTERS/STATUS" waits until query shows these statuses.  Two
 * texts are replaced, by others of the same length, so that every other byte stays: the gid (by the one
 * newGid gave) and the port of the participant.  What Python sends was recorded from the library;
 * the others' requests are written after what their sources send (dtm-protocol.md 16). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "harness.h"
#include "participant.h"

#define GID         "recordedGid0123456789A"
#define PORT        "50505"
#define PATIENCE_NS 20000000000ull

static struct harness h;
static struct participant p;

static int start(void **state)
{
    (void)state;
    static const char *const options[] = {"--branch-breaker-failures", "0", "--drain-ms", "200", NULL};
    harness_start(&h, 3, options);
    participant_open(&p, &h.loop);
    assert_true(p.port >= 10000); /* as long as the recorded one */
    return 0;
}

static int stop(void **state)
{
    (void)state;
    participant_close(&p);
    harness_settle(&h);
    harness_stop(&h);
    return 0;
}

struct conversation {
    const char *name;
    char *text;
    char gid[sizeof GID];
    struct client client;
    int node;
    bool open;
};

static void replace(char *text, size_t size, const char *from, const char *to)
{
    assert_int_equal(strlen(from), strlen(to));
    for (char *at = text; (at = memmem(at, size - (size_t)(at - text), from, strlen(from))) != NULL;) {
        memcpy(at, to, strlen(to));
        at += strlen(to); /* it may be the same text */
    }
}

/* What every one of the libraries takes for granted. */
static void check_reply(struct conversation *c, const struct reply *r, const char *request)
{
    if (r->status != 200)
        return;
    bool shows = strstr(request, "/query?") != NULL || strstr(request, "/all?") != NULL; /* reasons, too */
    if (strstr(r->body, "FAILURE") != NULL && !shows)
        fail_msg("%s: a success with FAILURE in it: %s", c->name, r->body);
    json_t *root = json_loads(r->body, JSON_DECODE_ANY, NULL);
    assert_non_null(root);
    json_t *result = json_object_get(root, "result"), *row, *branches = json_object_get(root, "branches");
    const char *gid = json_string_value(json_object_get(json_is_object(result) ? result : root, "gid"));
    if (gid != NULL) {
        assert_int_equal(strlen(gid), sizeof GID - 1);
        memcpy(c->gid, gid, sizeof GID);
    }
    size_t i;
    json_array_foreach(branches, i, row)
    {
        assert_in_range(json_integer_value(json_object_get(row, "id")), 1, INT32_MAX);
        assert_true(json_is_string(json_object_get(row, "create_time")));
        assert_true(json_is_string(json_object_get(row, "update_time")));
    }
    json_decref(root);
}

static void ask(struct conversation *c, const char *expectation, char *request, size_t size)
{
    char port[8];
    int status = atoi(expectation);
    const char *part = strchr(expectation, ' ') + 1;
    snprintf(port, sizeof port, "%u", p.port);
    replace(request, size, GID, c->gid);
    replace(request, size, PORT, port);
    if (!c->open)
        client_open(&c->client, &h, c->node++ % 3, false); /* every connection at another node */
    c->open = true;
    client_send(&c->client, request, size);
    struct reply r;
    client_wait(&c->client, &r);
    if (r.status != status || strstr(r.body, part) == NULL)
        fail_msg("%s: %.*s\n%d %s", c->name, (int)size, request, r.status, r.body);
    check_reply(c, &r, request);
    reply_free(&r);
    if (memmem(request, size, "Connection: close", 17) != NULL) {
        client_close(&c->client);
        c->open = false;
    }
}

static void then(struct conversation *c, const char *want)
{
    char have[128] = "", url[128];
    snprintf(url, sizeof url, "/api/dtmsvr/query?gid=%s", c->gid);
    for (uint64_t end = uv_hrtime() + PATIENCE_NS; uv_hrtime() < end; harness_step(&h)) {
        struct reply r = http_call(&h, 0, "GET", url, NULL, NULL);
        json_t *root = json_loads(r.body, 0, NULL), *row;
        size_t k, n = 0;
        json_array_foreach(json_object_get(root, "branches"), k, row) have[n++] =
            json_string_value(json_object_get(row, "status"))[0];
        snprintf(have + n, sizeof have - n, "/%s",
                 json_string_value(json_object_get(json_object_get(root, "transaction"), "status")));
        json_decref(root);
        reply_free(&r);
        if (strcmp(have, want) == 0)
            return;
    }
    fail_msg("%s: %s, not %s", c->name, have, want);
}

static void replay(const char *name)
{
    struct conversation c = {.name = name, .gid = GID};
    char path[512];
    snprintf(path, sizeof path, "%s/%s.http", CONVERSATIONS, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    c.text = calloc(1, 65536);
    size_t size = fread(c.text, 1, 65535, f);
    fclose(f);
    unsigned asked = 0;
    for (char *at = strstr(c.text, "### "); at != NULL;) {
        char *line = at + 4, *end = strchr(line, '\n');
        char *next = memmem(end, size - (size_t)(end - c.text), "\n### ", 5);
        char *stop_at =
            next != NULL ? next : c.text + size - 1; /* the newline behind the request is not its */
        *end = 0;
        if (strncmp(line, "then ", 5) == 0) {
            then(&c, line + 5);
        } else {
            ask(&c, line, end + 1, (size_t)(stop_at - end - 1));
            asked++;
        }
        at = next != NULL ? next + 1 : NULL;
    }
    assert_true(asked >= 5);
    if (c.open)
        client_close(&c.client);
    free(c.text);
}

#define CONVERSATION(name)                                                                                   \
    static void name##_clients_are_served(void **state)                                                      \
    {                                                                                                        \
        (void)state;                                                                                         \
        replay(#name);                                                                                       \
    }
CONVERSATION(go)
CONVERSATION(python)
CONVERSATION(node)
CONVERSATION(java)
CONVERSATION(php)
CONVERSATION(csharp)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_clients_are_served),   cmocka_unit_test(python_clients_are_served),
        cmocka_unit_test(node_clients_are_served), cmocka_unit_test(java_clients_are_served),
        cmocka_unit_test(php_clients_are_served),  cmocka_unit_test(csharp_clients_are_served),
    };
    return cmocka_run_group_tests(tests, start, stop);
}

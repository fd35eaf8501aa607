/* The state machine as a whole: time, timers, batches, replicas, images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sm_harness.h"

static struct assent_bytes text(const char *s)
{
    return (struct assent_bytes){(const uint8_t *)s, strlen(s)};
}

/* ---- one machine */

static void time_never_stands_still_nor_runs_back(void **state)
{
    struct sm_harness *h = *state;
    h->step_us = 0;
    int64_t start = h->now_us;
    sm_run(h, COMMAND_TICK, "{}");
    assert_true(sm_time_us(h->sm) == start);
    sm_run(h, COMMAND_TICK, "{}");
    assert_true(sm_time_us(h->sm) == start + 1);
    h->now_us = 5;
    sm_run(h, COMMAND_TICK, "{}");
    assert_true(sm_time_us(h->sm) == start + 2);
    h->now_us = start + 100;
    sm_run(h, COMMAND_TICK, "{}");
    assert_true(sm_time_us(h->sm) == start + 100);
}

static void entries_at_or_below_the_applied_index_are_skipped(void **state)
{
    struct sm_harness *h = *state;
    struct codec_writer w;
    codec_writer_init(&w);
    struct assent_bytes tick = sm_encode(&w, false, COMMAND_LAMPORT_TICK, NULL, "{}");
    struct sm_command c[3] = {{.index = 4, .time_us = 1, .command = tick, .awaited = true},
                              {.index = 5, .time_us = 1, .command = tick, .awaited = true},
                              {.index = 5, .slot = 1, .time_us = 1, .command = tick, .awaited = true}};
    sm_apply(h->sm, c, 1, 4);
    uint64_t digest = sm_digest(h->sm);
    sm_apply(h->sm, c, 1, 4);
    assert_int_equal(c[0].result.size, 0);
    assert_true(sm_digest(h->sm) == digest);
    sm_apply(h->sm, c, 3, 5);
    assert_int_equal(c[0].result.size, 0);
    assert_true(c[1].result.size > 0 && c[2].result.base == c[1].result.base + c[1].result.size);
    sm_ask(h, QUERY_LAMPORT, "{}");
    assert_int_equal(sm_uint(h, "value"), 3);
    sm_apply(h->sm, NULL, 0, 9); /* an entry of the log's own */
    assert_int_equal(sm_applied_index(h->sm), 9);
    codec_writer_close(&w);
}

static void a_refusal_leaves_the_digest_but_for_its_time(void **state)
{
    struct sm_harness *h = *state;
    sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s'}");
    uint64_t digest = sm_digest(h->sm);
    assert_int_equal(sm_run(h, COMMAND_NODE_REMOVE, "{'node':'n'}"), ASSENT_NODE_UNKNOWN);
    assert_int_equal(sm_run(h, COMMAND_SEQUENCE_NEXT, "{'name':'s','count':0}"), ASSENT_INVALID);
    assert_string_equal(sm_detail(h), "count must be at least 1");
    assert_true(sm_digest(h->sm) == digest);
}

static void bad_queries_are_answered(void **state)
{
    struct sm_harness *h = *state;
    struct codec_writer w;
    struct codec_arena a;
    struct result r;
    codec_writer_init(&w);
    codec_arena_init(&a);
    assert_true(result_decode(&a, sm_query(h->sm, text("rubbish")), &r));
    assert_int_equal(r.code, ASSENT_MALFORMED);
    assert_true(result_decode(&a, sm_query(h->sm, sm_encode(&w, true, QUERY_SEQUENCE, NULL, "{}")), &r));
    assert_int_equal(r.code, ASSENT_INVALID);
    assert_memory_equal(r.detail.base, "name is missing", r.detail.size);
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'none'}"), ASSENT_TXN_NOT_FOUND);
    codec_arena_close(&a);
    codec_writer_close(&w);
}

static void queries_see_what_was_just_applied(void **state)
{
    struct sm_harness *h = *state;
    for (unsigned i = 1; i <= 5; i++) {
        sm_run(h, COMMAND_LAMPORT_TICK, "{}");
        sm_ask(h, QUERY_LAMPORT, "{}");
        assert_int_equal(sm_uint(h, "value"), i);
        sm_ask(h, QUERY_LAMPORT, "{}");
        assert_int_equal(sm_uint(h, "value"), i);
    }
}

static void a_crowd_of_timers_fires_in_portions(void **state)
{
    struct sm_harness *h = *state;
    struct sm_metrics m;
    char args[64];
    for (int i = 0; i < 600; i++) {
        snprintf(args, sizeof args, "{'node':'n%d','failedMs':100000000}", i);
        sm_run(h, COMMAND_NODE_REGISTER, args);
    }
    sm_advance(h, 20000);
    sm_run(h, COMMAND_TICK, "{}");
    sm_metrics(h->sm, &m);
    assert_int_equal(m.timers_fired, 256);
    assert_true(sm_next_due_us(h->sm) <= sm_time_us(h->sm));
    sm_run(h, COMMAND_TICK, "{}");
    sm_run(h, COMMAND_TICK, "{}");
    sm_metrics(h->sm, &m);
    assert_int_equal(m.timers_fired, 600);
    assert_true(sm_next_due_us(h->sm) > sm_time_us(h->sm));
    assert_int_equal(m.command_count[COMMAND_TICK], 3);
    assert_int_equal(m.command_count[COMMAND_NODE_REGISTER], 600);
    assert_true(m.store_bytes > 0);
}

static void an_undecodable_committed_command_stops_the_process(void **state)
{
    struct sm_harness *h = *state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct sm_command c = {.index = 1, .command = text("rubbish")};
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        sm_apply(h->sm, &c, 1, 1);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void a_clean_stop_keeps_the_state_an_unclean_one_does_not(void **state)
{
    (void)state;
    char dir[256], err[256];
    struct sm *sm;
    temp_dir_make(dir, sizeof dir);
    struct sm_config config = {.dir = dir, .cluster_tag = 1};
    assert_int_equal(sm_open(&sm, &config, err, sizeof err), ASSENT_OK);
    sm_apply(sm, NULL, 0, 8);
    uint64_t digest = sm_digest(sm);
    sm_close(sm, true);
    assert_int_equal(sm_open(&sm, &config, err, sizeof err), ASSENT_OK);
    assert_int_equal(sm_applied_index(sm), 8);
    assert_true(sm_digest(sm) == digest);
    sm_close(sm, false);
    assert_int_equal(sm_open(&sm, &config, err, sizeof err), ASSENT_OK);
    assert_int_equal(sm_applied_index(sm), 0);
    sm_close(sm, false);
    sm_close(NULL, false);
    config.dir = "/dev/null/state";
    assert_int_equal(sm_open(&sm, &config, err, sizeof err), ASSENT_IO);
    temp_dir_remove(dir);
}

static void a_pin_holds_while_commands_go_on(void **state)
{
    struct sm_harness *h = *state;
    char image[300], err[256];
    uint64_t size, digest;
    snprintf(image, sizeof image, "%s/pinned", h->dir);
    sm_run(h, COMMAND_LAMPORT_TICK, "{}");
    uint64_t at_pin = sm_digest(h->sm);
    void *pin = sm_pin(h->sm);
    sm_unpin(h->sm, sm_pin(h->sm));
    for (int i = 0; i < 50; i++)
        sm_run(h, COMMAND_LAMPORT_TICK, "{}");
    assert_int_equal(sm_dump(h->sm, pin, image, &size, &digest), ASSENT_OK);
    assert_int_equal(sm_restore(h->sm, image, err, sizeof err), ASSENT_OK);
    assert_true(sm_digest(h->sm) == at_pin);
    assert_int_equal(sm_applied_index(h->sm), 1);
    sm_ask(h, QUERY_LAMPORT, "{}");
    assert_int_equal(sm_uint(h, "value"), 1);
    h->index = 1;
    sm_run(h, COMMAND_LAMPORT_TICK, "{}");
    assert_int_equal(sm_uint(h, "value"), 2);
    sm_ask(h, QUERY_LAMPORT, "{}");
    assert_int_equal(sm_uint(h, "value"), 2);
    assert_int_not_equal(sm_restore(h->sm, "/no/such/image", err, sizeof err), ASSENT_OK);
    assert_int_equal(sm_applied_index(h->sm), 2);
}

/* ---- the largest of everything */

static void repeat(struct codec_writer *w, char c, size_t size)
{
    char *v = malloc(size);
    memset(v, c, size);
    codec_text(w, (struct assent_bytes){(const uint8_t *)v, size});
    free(v);
}

static void write_largest(struct codec_writer *w, const struct field *fields, bool optional);

/* The largest value of a field.  Words of a closed list (mode, status, resolution) are short texts: left out
 * when `optional` is false, else they are refused and nothing else is tried. */
static void write_value(struct codec_writer *w, const struct field *f, bool optional)
{
    char name[160];
    uint32_t n = f->kind == FIELD_OBJECTS ? 20 : (uint32_t)f->max;
    switch (f->kind) {
    case FIELD_BOOL:
        codec_bool(w, true);
        return;
    case FIELD_UINT:
        codec_uint(w, f->max != 0 ? f->max : INT64_MAX);
        return;
    case FIELD_TEXT:
        repeat(w, 'n', f->max);
        return;
    case FIELD_JSON:
        snprintf(name, sizeof name, "\"%0*d\"", 100, 0);
        codec_json(w, text(name));
        return;
    case FIELD_COUNTERS:
    case FIELD_TEXTS:
        codec_map(w, n);
        for (uint32_t i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%0*u", ASSENT_NAME_BYTES_MAX, i);
            codec_cstr(w, name);
            if (f->kind == FIELD_COUNTERS)
                codec_uint(w, INT64_MAX);
            else
                repeat(w, 'h', 100);
        }
        return;
    case FIELD_LIST:
        codec_list(w, n);
        for (uint32_t i = 0; i < n; i++)
            codec_uint(w, INT64_MAX);
        return;
    case FIELD_OBJECTS:
        codec_list(w, n);
        for (uint32_t i = 0; i < n; i++)
            write_largest(w, f->fields, optional);
        return;
    }
}

static void write_largest(struct codec_writer *w, const struct field *fields, bool optional)
{
    uint32_t n = 0;
    while (fields[n].name != NULL)
        n++;
    codec_list(w, n);
    for (uint32_t i = 0; i < n; i++) {
        bool word = fields[i].kind == FIELD_TEXT && fields[i].max <= 32;
        bool own = (fields[i].flags & FIELD_INTERNAL) != 0; /* no door takes it */
        bool required = (fields[i].flags & FIELD_REQUIRED) != 0;
        if (!own && (required || (optional && !word)))
            write_value(w, &fields[i], optional);
        else
            codec_nil(w);
    }
}

/* Whatever passes the door must not break an invariant (keys of joined names, records, sums of times): a
 * failed assertion would stop every node of the cluster at the same entry, again and again. */
static void the_largest_arguments_break_nothing(void **state)
{
    struct sm_harness *h = *state;
    struct codec_writer w;
    struct codec_arena a;
    char why[128];
    codec_writer_init(&w);
    codec_arena_init(&a);
    for (int round = 0; round < 4; round++) {
        for (uint32_t type = 0; type < COMMAND_NR + QUERY_NR; type++) {
            bool query = type >= COMMAND_NR;
            uint32_t number = query ? type - COMMAND_NR : type;
            const struct schema *schema = query ? query_schema(number) : command_schema(number);
            if (schema == NULL)
                continue;
            codec_writer_reset(&w);
            command_begin(&w, number, NULL, 0);
            codec_truncate(&w, codec_written(&w).size - 1);
            write_largest(&w, schema->fields, round % 2 == 0);
            struct command c;
            if (command_decode(&a, codec_written(&w), query, !schema->internal, &c, why, sizeof why) !=
                ASSENT_OK)
                fail_msg("%s: %s", schema->name, why);
            if (query) {
                assert_true(sm_query(h->sm, codec_written(&w)).size > 0);
                continue;
            }
            struct sm_command run = {.index = ++h->index, .time_us = h->now_us, .awaited = true};
            run.command = codec_written(&w);
            sm_apply(h->sm, &run, 1, h->index);
            assert_true(run.result.size > 0);
            h->now_us += INT64_C(3600) * 1000000;
        }
    }
    for (int i = 0; i < 50; i++) {
        sm_advance(h, INT64_C(40) * 24 * 3600 * 1000);
        sm_run(h, COMMAND_TICK, "{}");
    }
    sm_reincarnate(h);
    codec_arena_close(&a);
    codec_writer_close(&w);
}

/* ---- many machines: one log, cut in different ways */

#define ENTRIES       700
#define PER_ENTRY_MAX 6
#define COMMANDS      (ENTRIES * PER_ENTRY_MAX)
#define CLIENTS       5

struct history {
    struct sm_command commands[COMMANDS];
    uint32_t count;
    uint32_t first[ENTRIES + 2]; /* first command of each entry; entries count from 1 */
    uint64_t rng;
};

static uint64_t next(uint64_t *rng)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return *rng;
}

static uint32_t below(uint64_t *rng, uint32_t n)
{
    return (uint32_t)(next(rng) >> 32) % n;
}

/* Arguments of one random command; small names, so that commands meet. */
static uint32_t invent(struct history *h, char *args, size_t size)
{
    static const struct {
        uint32_t type;
        const char *form; /* #0..#3 stand for numbers */
    } forms[] = {
        {COMMAND_LAMPORT_TICK, "{'clock':'c#0'}"},
        {COMMAND_LAMPORT_SYNC, "{'clock':'c#0','received':#1}"},
        {COMMAND_SEQUENCE_NEXT, "{'name':'s#0','count':#1}"},
        {COMMAND_NODE_REGISTER, "{'node':'n#0','inactiveMs':#1,'metadata':{'z':#2}}"},
        {COMMAND_NODE_HEARTBEAT, "{'node':'n#0'}"},
        {COMMAND_NODE_HEARTBEAT, "{'node':'n#0'}"},
        {COMMAND_NODE_REMOVE, "{'node':'n#1'}"},
        {COMMAND_TICK, "{}"},
        {COMMAND_VECTOR_JOIN, "{'clock':'v#0','node':'m#2'}"},
        {COMMAND_VECTOR_TICK, "{'clock':'v#0','node':'m#2'}"},
        {COMMAND_VECTOR_SYNC, "{'clock':'v#0','node':'m#2','received':{'m1':#1,'m2':3}}"},
        {COMMAND_VERSION_INCREMENT, "{'object':'o#0','node':'m#2','value':{'x':#1}}"},
        {COMMAND_VERSION_MERGE, "{'object':'o#0','version':{'m1':#1,'m9':#2},'value':[1]}"},
        {COMMAND_TIMESTAMP_EVENT, "{'node':'n#0','type':'t#2','data':{'d':#1}}"},
        {COMMAND_TSO_WINDOW, "{'bound':#1}"},
        {COMMAND_TXN_BEGIN, "{'xid':'x#1','timeoutMs':#3,'branches':[{'branch':'a',"
                            "'confirmUrl':'u','cancelUrl':'v','payload':{'p':#2}}]}"},
        {COMMAND_TXN_BEGIN, "{'businessType':'b#2','timeoutMs':#3}"},
        {COMMAND_TXN_BRANCH, "{'xid':'x#1','branch':'b#0','confirmUrl':'u','cancelUrl':'v'}"},
        {COMMAND_TXN_COMMIT, "{'xid':'x#1'}"},
        {COMMAND_TXN_ROLLBACK, "{'xid':'x#1','reason':'why'}"},
        {COMMAND_BRANCH_REPORT, "{'xid':'x#1','branch':'a','op':#0,'attempt':0,'success':true}"},
        {COMMAND_SAGA_SUBMIT, "{'xid':'x#1','timeoutMs':#3,'steps':[{'actionUrl':'http://h/a',"
                              "'compensateUrl':'http://h/c'},{},{'actionUrl':'http://h/#2'}]}"},
        {COMMAND_SAGA_SUBMIT, "{'xid':'y#0','concurrent':true,'steps':[{'actionUrl':'http://h/a'},"
                              "{'actionUrl':'http://h/b','compensateUrl':'http://h/c','after':[0]}]}"},
        {COMMAND_BRANCH_REPORT, "{'xid':'y#0','branch':'01','op':3,'attempt':0,'success':true}"},
        {COMMAND_BRANCH_REPORT, "{'xid':'y#0','branch':'02','op':3,'attempt':0,'success':false,'outcome':2}"},
        {COMMAND_SESSION_OPEN, "{'ttlMs':#3}"},
    };
    uint32_t row = below(&h->rng, sizeof forms / sizeof forms[0]);
    uint32_t numbers[4] = {below(&h->rng, 3), below(&h->rng, 40), below(&h->rng, 4),
                           1000 + below(&h->rng, 60000)};
    size_t used = 0;
    for (const char *p = forms[row].form; *p != '\0'; p++) {
        assert_true(used + 12 < size);
        if (*p == '#')
            used += (size_t)snprintf(args + used, size - used, "%u", numbers[*++p - '0']);
        else
            args[used++] = *p;
    }
    args[used] = '\0';
    return forms[row].type;
}

/* The session of a command: none, a key (sometimes used before), or a sequence of a client that exists or
 * not. */
static void invent_session(struct history *h, struct command_session *s, uint64_t *sequences, char *key,
                           size_t size)
{
    *s = (struct command_session){.kind = SESSION_NONE};
    uint32_t kind = below(&h->rng, 4);
    if (kind == 0) {
        s->kind = SESSION_KEY;
        int n = snprintf(key, size, "key-%u", below(&h->rng, 200));
        s->key = (struct assent_bytes){(const uint8_t *)key, (size_t)n};
    } else if (kind == 1) {
        uint32_t client = below(&h->rng, CLIENTS);
        uint64_t back = below(&h->rng, 4), to = ++sequences[client] / 2;
        s->kind = SESSION_SEQUENCE;
        s->client = assent_position(1, client); /* opened by the first entry */
        s->sequence = sequences[client] > back ? sequences[client] - back : 1;
        s->acknowledged = below(&h->rng, 3) == 0 && to < s->sequence ? to : 0;
    }
}

static void add(struct history *h, uint32_t entry, int64_t time_us, uint32_t type,
                const struct command_session *s, const char *args)
{
    struct codec_writer w;
    codec_writer_init(&w);
    struct assent_bytes b = sm_encode(&w, false, type, s, args);
    uint8_t *own = malloc(b.size);
    memcpy(own, b.base, b.size);
    h->commands[h->count] = (struct sm_command){
        .index = entry, .slot = h->count - h->first[entry], .time_us = time_us, .command = {own, b.size}};
    h->count++;
    codec_writer_close(&w);
}

static void invent_history(struct history *h, uint64_t seed)
{
    uint64_t sequences[CLIENTS] = {0};
    int64_t time_us = INT64_C(1700000000000000);
    char args[512], key[32];
    *h = (struct history){.rng = seed * 2654435761u + 1};
    for (uint32_t entry = 1; entry <= ENTRIES; entry++) {
        h->first[entry] = h->count;
        uint32_t n = entry == 1 ? CLIENTS : below(&h->rng, PER_ENTRY_MAX);
        time_us += below(&h->rng, 10) == 0 ? below(&h->rng, 20000000) : below(&h->rng, 2000);
        for (uint32_t i = 0; i < n; i++) {
            struct command_session s = {.kind = SESSION_NONE};
            if (entry == 1) {
                snprintf(args, sizeof args, "{'ttlMs':%u}", 60000 + 600000 * i);
                add(h, entry, time_us, COMMAND_SESSION_OPEN, &s, args);
                continue;
            }
            uint32_t type = invent(h, args, sizeof args);
            invent_session(h, &s, sequences, key, sizeof key);
            add(h, entry, time_us, type, &s, args);
        }
    }
    h->first[ENTRIES + 1] = h->count;
}

enum turn { ONE_BY_ONE, GATHERED, RESTORED, REOPENED };

struct replica {
    char dir[256], image[300];
    struct sm *sm;
    uint64_t digest;
    struct codec_writer results; /* of all commands, one behind the other */
};

static void replica_open(struct replica *r, const char *name)
{
    char path[300], err[256];
    snprintf(path, sizeof path, "%s/%s", r->dir, name);
    struct sm_config config = {.dir = path, .map_bytes = 1u << 30, .cluster_tag = 9};
    assert_int_equal(sm_open(&r->sm, &config, err, sizeof err), ASSENT_OK);
}

/* In the middle of its life a replica may move into a fresh store by an image, or stop and start again. */
static void replica_turn(struct replica *r, enum turn turn)
{
    char err[256];
    uint64_t size, digest;
    if (turn == RESTORED) {
        assert_int_equal(sm_dump(r->sm, sm_pin(r->sm), r->image, &size, &digest), ASSENT_OK);
        sm_close(r->sm, false);
        replica_open(r, "second");
        assert_int_equal(sm_restore(r->sm, r->image, err, sizeof err), ASSENT_OK);
    } else if (turn == REOPENED) {
        sm_close(r->sm, true);
        replica_open(r, "first");
    }
}

static void replica_live(struct replica *r, struct history *h, enum turn turn, uint64_t rng)
{
    uint64_t size;
    bool turned = false;
    temp_dir_make(r->dir, sizeof r->dir);
    snprintf(r->image, sizeof r->image, "%s/image", r->dir);
    codec_writer_init(&r->results);
    replica_open(r, "first");
    for (uint32_t entry = 1; entry <= ENTRIES;) {
        uint32_t last = turn == ONE_BY_ONE ? entry : entry + below(&rng, 60);
        last = last > ENTRIES ? ENTRIES : last;
        struct sm_command *c = &h->commands[h->first[entry]];
        uint32_t n = h->first[last + 1] - h->first[entry];
        for (uint32_t i = 0; i < n; i++)
            c[i].awaited = true;
        sm_apply(r->sm, c, n, last);
        for (uint32_t i = 0; i < n; i++)
            codec_raw(&r->results, c[i].result);
        entry = last + 1;
        if (!turned && entry > ENTRIES / 2) {
            turned = true;
            replica_turn(r, turn);
        }
    }
    assert_int_equal(sm_dump(r->sm, sm_pin(r->sm), r->image, &size, &r->digest), ASSENT_OK);
}

static void replica_die(struct replica *r)
{
    sm_close(r->sm, false);
    codec_writer_close(&r->results);
    temp_dir_remove(r->dir);
}

static bool same_files(const char *a, const char *b)
{
    char command[700];
    snprintf(command, sizeof command, "cmp '%s' '%s' >&2", a, b);
    return system(command) == 0;
}

static void compare(const struct replica *a, const struct replica *b, enum turn turn, uint64_t seed)
{
    struct assent_bytes ra = codec_written(&a->results), rb = codec_written(&b->results);
    bool results = ra.size == rb.size && memcmp(ra.base, rb.base, ra.size) == 0;
    if (sm_digest(a->sm) != sm_digest(b->sm) || a->digest != b->digest || !results ||
        sm_time_us(a->sm) != sm_time_us(b->sm) || sm_next_due_us(a->sm) != sm_next_due_us(b->sm) ||
        !same_files(a->image, b->image))
        fail_msg("seed %llu, replica %d: again with ASSENT_SEED=%llu", (unsigned long long)seed, (int)turn,
                 (unsigned long long)seed);
}

static void replicas_agree_however_the_log_is_cut(void **state)
{
    (void)state;
    static struct history h;
    const char *given = getenv("ASSENT_SEED");
    uint64_t from = given != NULL ? strtoull(given, NULL, 10) : 1;
    for (uint64_t seed = from; seed < (given != NULL ? from + 1 : from + 3); seed++) {
        struct replica one, other;
        struct sm_metrics m;
        invent_history(&h, seed);
        replica_live(&one, &h, ONE_BY_ONE, seed);
        sm_metrics(one.sm, &m);
        /* the history is worth its name */
        assert_true(m.refusals > m.commands / 20 && m.refusals < m.commands * 3 / 4 && m.timers_fired > 20 &&
                    m.replies_repeated > 5);
        for (enum turn turn = GATHERED; turn <= REOPENED; turn++) {
            replica_live(&other, &h, turn, seed + (uint64_t)turn);
            compare(&one, &other, turn, seed);
            replica_die(&other);
        }
        replica_die(&one);
        for (uint32_t i = 0; i < h.count; i++)
            free((void *)(uintptr_t)h.commands[i].command.base);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(time_never_stands_still_nor_runs_back),
        TEST(entries_at_or_below_the_applied_index_are_skipped),
        TEST(a_refusal_leaves_the_digest_but_for_its_time),
        TEST(bad_queries_are_answered),
        TEST(queries_see_what_was_just_applied),
        TEST(a_crowd_of_timers_fires_in_portions),
        TEST(an_undecodable_committed_command_stops_the_process),
        cmocka_unit_test(a_clean_stop_keeps_the_state_an_unclean_one_does_not),
        TEST(a_pin_holds_while_commands_go_on),
        TEST(the_largest_arguments_break_nothing),
        cmocka_unit_test(replicas_agree_however_the_log_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

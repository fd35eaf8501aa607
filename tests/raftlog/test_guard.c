/* The guards one by one: each acts on the input that the library would mishandle, and on nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "entry.h"
#include "guard.h"

#define SELF 1

/* A library instance with real state: `n` voters, entry 1 the configuration, then commands of these terms. */
struct fixture {
    struct raft r;
    struct guard g;
    struct raft_update u;
    uint64_t now;
};

static int step(struct fixture *f, struct raft_event *e)
{
    e->time = ++f->now;
    memset(&f->u, 0, sizeof f->u);
    return raft_step(&f->r, e, &f->u);
}

static struct raft_buffer configuration(uint32_t voters, uint32_t standbys)
{
    struct raft_configuration c;
    struct raft_buffer buf;
    raft_configuration_init(&c);
    for (uint32_t i = 1; i <= voters + standbys; i++) {
        char address[16] = {'n', (char)('0' + i), 0};
        assert_int_equal(raft_configuration_add(&c, i, address, i <= voters ? RAFT_VOTER : RAFT_STANDBY), 0);
    }
    assert_int_equal(raft_configuration_encode(&c, &buf), 0);
    raft_configuration_close(&c);
    return buf;
}

static void boot(struct fixture *f, uint32_t voters, uint32_t standbys, const uint64_t *terms, uint32_t n)
{
    struct raft_event e = {.type = RAFT_START};
    struct raft_buffer conf = configuration(voters, standbys);
    struct raft_entry *entries = raft_calloc(n + 1, sizeof *entries);
    memset(f, 0, sizeof *f);
    assert_non_null(entries);
    assert_int_equal(raft_init(&f->r, NULL, NULL, SELF, "n1"), 0);
    raft_seed(&f->r, 1);
    raft_set_election_timeout(&f->r, 100);
    entries[0] = (struct raft_entry){.term = 1, .type = RAFT_CHANGE, .buf = conf, .batch = conf.base};
    for (uint32_t i = 0; i < n; i++) {
        entries[i + 1] = (struct raft_entry){.term = terms[i], .type = RAFT_COMMAND, .batch = conf.base};
    }
    e.start.term = n > 0 ? terms[n - 1] : 1;
    e.start.start_index = 1;
    e.start.entries = entries;
    e.start.n_entries = n + 1;
    assert_int_equal(step(f, &e), 0);
    raft_free(entries);
    raft_free(conf.base);
}

static void receive(struct fixture *f, struct raft_message *m)
{
    struct raft_event e = {.type = RAFT_RECEIVE};
    m->server_address = "n2";
    e.receive.message = m;
    assert_int_equal(step(f, &e), 0);
}

static void lead(struct fixture *f)
{
    struct raft_event e = {.type = RAFT_TIMEOUT};
    f->now += 1000;
    assert_int_equal(step(f, &e), 0);
    assert_int_equal(f->r.state, RAFT_CANDIDATE);
    struct raft_message m = {.type = RAFT_REQUEST_VOTE_RESULT, .server_id = 2};
    m.request_vote_result =
        (struct raft_request_vote_result){.version = 2, .term = f->r.current_term, .vote_granted = true};
    receive(f, &m);
    assert_int_equal(f->r.state, RAFT_LEADER);
    if ((f->u.flags & (RAFT_UPDATE_ENTRIES)) != 0) {
        raft_free(f->r.barrier.batch);
    }
}

static void acknowledge(struct fixture *f, uint64_t from, uint64_t match)
{
    struct raft_message m = {.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = from};
    m.append_entries_result =
        (struct raft_append_entries_result){.version = 2, .term = f->r.current_term, .last_log_index = match};
    receive(f, &m);
}

static void close_fixture(struct fixture *f)
{
    raft_close(&f->r, NULL);
}

/* Sealed entries of one message: types as letters, c command, b barrier, m membership change. */
struct run {
    struct entry *entries[32];
    uint32_t n;
};

static struct run run_of(const char *types, uint64_t first, uint64_t term)
{
    struct run run = {.n = (uint32_t)strlen(types)};
    for (uint32_t i = 0; i < run.n; i++) {
        struct raft_buffer conf = configuration(3, 0);
        uint8_t type = types[i] == 'c' ? ENTRY_COMMAND : types[i] == 'b' ? ENTRY_BARRIER : ENTRY_CHANGE;
        run.entries[i] = entry_new(type, (uint32_t)conf.len);
        assert_non_null(run.entries[i]);
        memcpy(run.entries[i]->payload, conf.base, conf.len);
        entry_seal(run.entries[i], first + i, term);
        raft_free(conf.base);
    }
    return run;
}

static void run_close(struct run *run)
{
    for (uint32_t i = 0; i < run->n; i++) {
        entry_unref(run->entries[i]);
    }
}

static void g1_the_reply_to_an_old_term_claims_nothing(void **state)
{
    (void)state;
    struct fixture f;
    boot(&f, 3, 0, (uint64_t[]){1, 1, 4}, 3);
    struct raft_append_entries_result result = {.term = 4, .rejected = 0, .last_log_index = 0xdeadbeef};
    guard_reply(&f.g, &f.r, false, &result);
    assert_int_equal(result.last_log_index, 0xdeadbeef);
    guard_reply(&f.g, &f.r, true, &result);
    assert_int_equal(result.last_log_index, 0);
    assert_int_equal(result.rejected, 0);
    assert_int_equal(result.term, 4);
    assert_int_equal(f.g.count[1], 1);
    close_fixture(&f);
}

static void g2_a_late_rejection_does_not_undo_an_acknowledgement(void **state)
{
    (void)state;
    struct fixture f;
    static const struct {
        uint64_t term_off, rejected, last;
        bool passes;
        uint64_t last_after;
    } rows[] = {
        {0, 3, 2, false, 2}, {0, 5, 4, false, 4}, {0, 7, 2, true, 5},
        {0, 7, 6, true, 6},  {1, 3, 2, true, 2},  {0, 0, 6, true, 6},
    };
    boot(&f, 3, 0, (uint64_t[]){1, 1, 1, 1, 1, 1}, 6);
    lead(&f);
    acknowledge(&f, 2, 5);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raft_message m = {.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = 2, .server_address = "n2"};
        m.append_entries_result =
            (struct raft_append_entries_result){.term = f.r.current_term - rows[i].term_off,
                                                .rejected = rows[i].rejected,
                                                .last_log_index = rows[i].last};
        assert_int_equal(guard_message(&f.g, &f.r, &m, NULL), rows[i].passes);
        assert_int_equal(m.append_entries_result.last_log_index, rows[i].last_after);
    }
    assert_int_equal(f.g.count[2], 3);
    close_fixture(&f);
}

static void g3_entries_from_below_the_base_skip_the_snapshot(void **state)
{
    (void)state;
    struct fixture f;
    struct run run = run_of("cccccccccccc", 1, 2);
    boot(&f, 3, 0, (uint64_t[]){2}, 1);
    f.r.trail.offset = 10;
    f.r.trail.snapshot.index = 10;
    f.r.trail.snapshot.term = 2;
    struct guard_append a = {2, 0, 0, 0, run.entries, 12};
    guard_append_base(&f.g, &f.r, &a);
    assert_int_equal(a.prev_index, 10);
    assert_int_equal(a.prev_term, 2);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.entries[0]->index, 11);
    struct guard_append shorter = {2, 0, 0, 0, run.entries, 5};
    guard_append_base(&f.g, &f.r, &shorter);
    assert_int_equal(shorter.prev_index, 10);
    assert_int_equal(shorter.n, 0);
    struct guard_append middle = {2, 4, 2, 0, run.entries + 4, 8}; /* entries 5 to 12 */
    guard_append_base(&f.g, &f.r, &middle);
    assert_int_equal(middle.prev_index, 10);
    assert_int_equal(middle.n, 2);
    assert_int_equal(middle.entries[0]->index, 11);
    struct guard_append exact = {2, 10, 2, 0, run.entries + 10, 2};
    guard_append_base(&f.g, &f.r, &exact);
    assert_int_equal(exact.n, 2);
    struct guard_append old = {1, 0, 0, 0, run.entries, 12};
    guard_append_base(&f.g, &f.r, &old);
    assert_int_equal(old.n, 12);
    assert_int_equal(f.g.count[3], 3);
    run_close(&run);
    f.r.trail.offset = 0;
    close_fixture(&f);
}

static void g4_a_short_append_does_not_carry_a_commit_index(void **state)
{
    (void)state;
    struct fixture f;
    struct run run = run_of("cc", 4, 2);
    boot(&f, 3, 0, (uint64_t[]){2, 2, 2, 2, 2, 2, 2, 2}, 8);
    f.r.commit_index = 9;
    struct guard_append a = {2, 3, 2, 30, run.entries, 2};
    struct guard_append piece = guard_append_piece(&f.g, &f.r, &a);
    assert_int_equal(piece.leader_commit, 0);
    assert_int_equal(piece.n, 2);
    f.r.commit_index = 5;
    a = (struct guard_append){2, 3, 2, 30, run.entries, 2};
    piece = guard_append_piece(&f.g, &f.r, &a);
    assert_int_equal(piece.leader_commit, 30);
    assert_int_equal(f.g.count[4], 1);
    run_close(&run);
    close_fixture(&f);
}

static void g5_a_change_is_always_the_first_entry_of_its_piece(void **state)
{
    (void)state;
    struct fixture f;
    static const struct {
        const char *types;
        uint32_t pieces[5];
    } rows[] = {
        {"", {0}}, {"ccc", {3}}, {"mcc", {3}}, {"cmc", {1, 2}}, {"mm", {1, 1}}, {"ccmcmb", {2, 2, 2}},
    };
    boot(&f, 3, 0, NULL, 0);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct run run = run_of(rows[i].types, 8, 3);
        struct guard_append rest = {3, 7, 2, 0, run.entries, run.n};
        uint64_t prev = 7;
        uint32_t j = 0;
        do {
            struct guard_append piece = guard_append_piece(&f.g, &f.r, &rest);
            assert_int_equal(piece.n, rows[i].pieces[j++]);
            assert_int_equal(piece.prev_index, prev);
            assert_int_equal(piece.prev_term, prev == 7 ? 2 : 3);
            prev += piece.n;
        } while (rest.n > 0);
        assert_int_equal(prev, 7 + run.n);
        run_close(&run);
    }
    assert_int_equal(f.g.count[5], 1 + 1 + 2);
    close_fixture(&f);
}

static void g5_a_second_change_confirms_the_first(void **state)
{
    (void)state;
    struct fixture f;
    struct run change = run_of("mc", 5, 2), command = run_of("cm", 5, 2);
    boot(&f, 3, 0, (uint64_t[]){2, 2, 2}, 3);
    f.r.configuration_uncommitted_index = 3;
    struct guard_append piece = {2, 4, 2, 0, change.entries, 2};
    assert_int_equal(guard_append_confirms(&f.g, &f.r, &piece), 3);
    piece.prev_term = 1; /* logs do not match there: it proves nothing */
    assert_int_equal(guard_append_confirms(&f.g, &f.r, &piece), 0);
    piece = (struct guard_append){2, 4, 2, 0, command.entries, 1};
    assert_int_equal(guard_append_confirms(&f.g, &f.r, &piece), 0);
    f.r.configuration_uncommitted_index = 0;
    piece = (struct guard_append){2, 4, 2, 0, change.entries, 2};
    assert_int_equal(guard_append_confirms(&f.g, &f.r, &piece), 0);
    run_close(&change);
    run_close(&command);
    close_fixture(&f);
}

static void g6_vote_results_reach_candidates_only(void **state)
{
    (void)state;
    struct fixture f;
    struct raft_message m = {.type = RAFT_REQUEST_VOTE_RESULT, .server_id = 2, .server_address = "n2"};
    m.request_vote_result.term = 9;
    boot(&f, 3, 0, NULL, 0);
    assert_false(guard_message(&f.g, &f.r, &m, NULL));
    lead(&f);
    assert_false(guard_message(&f.g, &f.r, &m, NULL));
    assert_int_equal(f.g.count[6], 2);
    close_fixture(&f);
    boot(&f, 3, 0, NULL, 0);
    struct raft_event e = {.type = RAFT_TIMEOUT};
    f.now += 1000;
    assert_int_equal(step(&f, &e), 0);
    assert_true(guard_message(&f.g, &f.r, &m, NULL));
    close_fixture(&f);
}

static void g7_an_install_is_not_interrupted_by_another(void **state)
{
    (void)state;
    struct fixture f;
    struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = 2, .server_address = "n2"};
    m.install_snapshot.term = 2;
    m.install_snapshot.last_index = 7;
    m.install_snapshot.last_term = 2;
    boot(&f, 3, 0, NULL, 0);
    assert_true(guard_message(&f.g, &f.r, &m, NULL));
    f.r.snapshot.installing = true;
    assert_false(guard_message(&f.g, &f.r, &m, NULL));
    assert_int_equal(f.g.count[7], 1);
    f.r.snapshot.installing = false;
    close_fixture(&f);
}

static void g8_the_next_change_waits_for_the_last(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t who;
    boot(&f, 3, 0, (uint64_t[]){1, 1}, 2);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 0, true, &who), GATE_NOT_READY); /* no leader */
    lead(&f);
    acknowledge(&f, 2, 3);
    assert_int_equal(guard_change_gate(&f.g, &f.r, false, 0, 0, true, &who), GATE_NOT_READY);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 0, true, &who), GATE_UNINFORMED);
    assert_int_equal(who, 3);
    /* Node 3 knows for certain that it votes, unless the last change made it a voter. */
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 0, false, &who), GATE_OPEN);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 2, false, &who), GATE_OPEN);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 3, false, &who), GATE_UNINFORMED);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, UINT64_MAX, false, &who), GATE_UNINFORMED);
    /* What is about to stop voting needs to know nothing. */
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 3, UINT64_MAX, true, &who), GATE_OPEN);
    acknowledge(&f, 3, 3);
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, UINT64_MAX, true, &who), GATE_OPEN);
    f.r.configuration_uncommitted_index = 3;
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 0, true, &who), GATE_PENDING);
    f.r.configuration_uncommitted_index = 0;
    f.r.leader_state.promotee_id = 3;
    assert_int_equal(guard_change_gate(&f.g, &f.r, true, 0, 0, true, &who), GATE_PENDING);
    f.r.leader_state.promotee_id = 0;
    close_fixture(&f);
}

static void g8_a_non_voter_is_lent_its_vote(void **state)
{
    (void)state;
    struct fixture f;
    boot(&f, 2, 0, NULL, 0);
    assert_null(guard_lend_vote(&f.g, &f.r));
    f.r.configuration.servers[0].role = RAFT_STANDBY;
    assert_ptr_equal(guard_lend_vote(&f.g, &f.r), &f.r.configuration.servers[0].role);
    assert_int_equal(f.g.count[8], 1);
    close_fixture(&f);
}

/* Configurations as text: "1v 2v 3s" is two voters and a standby. */
static struct raft_configuration parse(const char *text)
{
    struct raft_configuration c;
    raft_configuration_init(&c);
    for (; *text != '\0'; text += text[2] == '\0' ? 2 : 3) {
        char address[4] = {'n', text[0], 0};
        assert_int_equal(raft_configuration_add(&c, (raft_id)(text[0] - '0'), address,
                                                text[1] == 'v' ? RAFT_VOTER : RAFT_STANDBY),
                         0);
    }
    return c;
}

static void g8_and_g10_a_change_is_one_step_that_leaves_two_voters(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        bool allowed;
    } rows[] = {
        {"1v 2v 3v", "1v 2v 3v 4s", true},
        {"1v 2v 3v 4s", "1v 2v 3v 4v", true},
        {"1v 2v 3v", "1v 2v 3s", true},
        {"1v 2v 3s", "1v 2v", true},
        {"1v 2v 3v", "1v 3v", true},
        {"1v 2v 3v", "1v 2v 3v", false},
        {"1v 2v 3v", "2v 1v 3v", false},
        {"1v 2v 3v", "1v 2v 3s 4s", false},
        {"1v 2v", "1v 2s", false},
        {"1v 2v 3v", "1v", false},
        {"1v 2v", "1v", false},
        {"1v", "1v 2s", true},
        {"1v 2s", "1v 2v", true},
        {"1v 2s", "1v", true},
        {"1v 2s 3s", "1v 3s 2s", false},
        {"1v 2v 3v", "1v 2v 4v", false},
    };
    struct guard g = {0};
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raft_configuration from = parse(rows[i].from), to = parse(rows[i].to);
        if (guard_change_step(&g, &from, &to) != rows[i].allowed) {
            fail_msg("%s -> %s", rows[i].from, rows[i].to);
        }
        raft_configuration_close(&from);
        raft_configuration_close(&to);
    }
}

static void g9_an_own_snapshot_is_new_and_in_the_log(void **state)
{
    (void)state;
    struct fixture f;
    boot(&f, 3, 0, (uint64_t[]){1, 1, 2, 2}, 4);
    assert_true(guard_own_snapshot(&f.g, &f.r, 3));
    assert_true(guard_own_snapshot(&f.g, &f.r, 5));
    assert_false(guard_own_snapshot(&f.g, &f.r, 6));
    f.r.trail.snapshot.index = 3;
    assert_false(guard_own_snapshot(&f.g, &f.r, 3));
    assert_false(guard_own_snapshot(&f.g, &f.r, 2));
    assert_true(guard_own_snapshot(&f.g, &f.r, 4));
    f.r.snapshot.installing = true;
    assert_false(guard_own_snapshot(&f.g, &f.r, 4));
    assert_int_equal(f.g.count[9], 4);
    f.r.snapshot.installing = false;
    close_fixture(&f);
}

static void g10_a_sole_voter_is_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool sole;
    } rows[] = {{"1v", true}, {"1v 2s", true}, {"1v 2v", false}, {"1s 2v", false}, {"2v", false}};
    struct guard g = {0};
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raft_configuration c = parse(rows[i].text);
        assert_int_equal(guard_sole_voter(&g, &c, SELF), rows[i].sole);
        raft_configuration_close(&c);
    }
}

static void g11_a_leader_timeout_fires_once_per_heartbeat_for_all(void **state)
{
    (void)state;
    static const struct {
        uint64_t library, newest, fired, deadline;
    } rows[] = {
        {1050, 1000, 1000, 1050}, /* all were sent to at 1000 */
        {1050, 1030, 1000, 1080}, /* the later one waits too: both leave together */
        {1050, 1049, 1000, 1099}, /* at most one heartbeat late */
        {1050, 2000, 1000, 1100}, /* at most one heartbeat late */
        {10, 1000, 1000, 1050},   /* a deadline in the past does not spin */
        {1020, 900, 900, 1020},
    };
    struct guard g = {0};
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(guard_leader_deadline(&g, rows[i].library, rows[i].newest, rows[i].fired, 50),
                         rows[i].deadline);
    }
}

static void g12_a_completion_counts_what_is_still_in_the_log(void **state)
{
    (void)state;
    struct guard g = {0};
    struct guard_writes w = {0};
    assert_int_equal(guard_writes_push(&w, 10, 1), 0);
    assert_int_equal(guard_writes_push(&w, 20, 1), 0);
    assert_int_equal(guard_writes_done(&g, &w, 7, 1), 0); /* unknown */
    assert_int_equal(guard_writes_done(&g, &w, 10, 1), 10);
    guard_writes_cut(&w, 15); /* 15.. replaced by term 2 */
    assert_int_equal(guard_writes_push(&w, 16, 2), 0);
    assert_int_equal(guard_writes_done(&g, &w, 20, 1), 14);
    assert_int_equal(guard_writes_done(&g, &w, 16, 2), 16);
    assert_int_equal(w.n, 0);
    /* One commit may cover several appends: the newest names them all. */
    for (uint64_t i = 1; i <= 200; i++) {
        assert_int_equal(guard_writes_push(&w, 16 + i, 2), 0);
    }
    assert_int_equal(guard_writes_done(&g, &w, 216, 2), 216);
    assert_int_equal(w.n, 0);
    /* Replaced and come back: the completion of the first must not pass for that of the second. */
    assert_int_equal(guard_writes_push(&w, 217, 2), 0);
    assert_false(guard_writes_ambiguous(&w, 217, 2));
    guard_writes_cut(&w, 217);
    assert_int_equal(guard_writes_push(&w, 217, 3), 0);
    guard_writes_cut(&w, 217);
    assert_true(guard_writes_ambiguous(&w, 217, 2));
    assert_int_equal(guard_writes_done(&g, &w, 217, 3), 216);
    assert_false(guard_writes_ambiguous(&w, 217, 2));
    assert_int_equal(g.count[12], 2);
    guard_writes_close(&w);
}

static void g13_a_transfer_waits_for_the_whole_log(void **state)
{
    (void)state;
    struct fixture f;
    boot(&f, 3, 0, (uint64_t[]){1, 1, 1}, 3);
    lead(&f);
    acknowledge(&f, 2, 3);
    assert_false(guard_transfer_ready(&f.g, &f.r, 2));
    acknowledge(&f, 2, raft_last_index(&f.r));
    assert_true(guard_transfer_ready(&f.g, &f.r, 2));
    assert_false(guard_transfer_ready(&f.g, &f.r, 3));
    assert_false(guard_transfer_ready(&f.g, &f.r, 9));
    assert_int_equal(f.g.count[13], 2);
    close_fixture(&f);
}

static void g14_fields_the_library_asserts_are_checked(void **state)
{
    (void)state;
    struct fixture f;
    struct run run = run_of("cc", 5, 3), other = run_of("cc", 9, 3);
    struct raft_message good = {.type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "n2"};
    good.append_entries =
        (struct raft_append_entries){.term = 3, .prev_log_index = 4, .prev_log_term = 2, .n_entries = 2};
    boot(&f, 3, 0, NULL, 0);
    assert_true(guard_message(&f.g, &f.r, &good, run.entries));
    struct raft_message bad[8];
    for (uint32_t i = 0; i < 8; i++) {
        bad[i] = good;
    }
    bad[0].server_id = 0;
    bad[1].server_id = SELF;
    bad[2].server_address = NULL;
    bad[3].append_entries.term = 0;
    bad[4].append_entries.prev_log_term = 0; /* with an index */
    bad[5].append_entries.prev_log_term = 4; /* beyond the message's term */
    bad[6].append_entries.term = 2;          /* below its entries' */
    bad[7].type = (enum raft_message_type)77;
    for (uint32_t i = 0; i < 8; i++) {
        struct raft_message m = bad[i];
        assert_false(guard_message(&f.g, &f.r, &m, run.entries));
    }
    assert_false(guard_message(&f.g, &f.r, &good, other.entries)); /* indexes do not follow */
    run.entries[1]->term = 2;                                      /* terms decrease */
    assert_false(guard_message(&f.g, &f.r, &good, run.entries));
    struct raft_message vote = {.type = RAFT_REQUEST_VOTE, .server_id = 2, .server_address = "n2"};
    vote.request_vote.term = 3;
    vote.request_vote.candidate_id = 3; /* not the sender */
    assert_false(guard_message(&f.g, &f.r, &vote, NULL));
    assert_int_equal(f.g.count[14], 11);
    run_close(&run);
    run_close(&other);
    close_fixture(&f);
}

static void g15_a_rejection_skips_the_conflicting_term(void **state)
{
    (void)state;
    struct fixture f;
    static const struct {
        uint64_t rejected, hint, commit, match, hint_after;
    } rows[] = {
        {8, 7, 1, 0, 5},  /* 8 is of term 3, whose run begins at 6 */
        {5, 4, 1, 0, 2},  /* the run of term 2 begins at 3 */
        {8, 7, 6, 0, 6},  /* what is committed cannot conflict */
        {8, 7, 1, 7, 7},  /* nor what has matched */
        {20, 9, 1, 0, 9}, /* no such entry: the hint is our last index */
    };
    boot(&f, 3, 0, (uint64_t[]){1, 2, 2, 2, 3, 3, 3, 3}, 8);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raft_append_entries_result result = {
            .term = 3, .rejected = rows[i].rejected, .last_log_index = rows[i].hint};
        f.r.commit_index = rows[i].commit;
        f.r.follower_state.match = rows[i].match;
        guard_reply(&f.g, &f.r, false, &result);
        assert_int_equal(result.last_log_index, rows[i].hint_after);
    }
    assert_int_equal(f.g.count[15], 3);
    f.r.commit_index = 4;
    assert_true(guard_submit(&f.g, &f.r, 5, 10));
    assert_false(guard_submit(&f.g, &f.r, 6, 10)); /* last 9, commit 4 */
    close_fixture(&f);
}

static void g16_a_refused_pre_vote_names_the_higher_term(void **state)
{
    (void)state;
    struct fixture f;
    boot(&f, 3, 0, (uint64_t[]){1, 7}, 2);
    struct raft_request_vote_result refused = {.term = 4, .pre_vote = true};
    guard_vote_reply(&f.g, &f.r, &refused);
    assert_int_equal(refused.term, 7);
    struct raft_request_vote_result granted = {.term = 4, .pre_vote = true, .vote_granted = true};
    guard_vote_reply(&f.g, &f.r, &granted);
    assert_int_equal(granted.term, 4);
    struct raft_request_vote_result ahead = {.term = 8, .pre_vote = true};
    guard_vote_reply(&f.g, &f.r, &ahead);
    assert_int_equal(ahead.term, 8);
    assert_int_equal(f.g.count[16], 1);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g1_the_reply_to_an_old_term_claims_nothing),
        cmocka_unit_test(g2_a_late_rejection_does_not_undo_an_acknowledgement),
        cmocka_unit_test(g3_entries_from_below_the_base_skip_the_snapshot),
        cmocka_unit_test(g4_a_short_append_does_not_carry_a_commit_index),
        cmocka_unit_test(g5_a_change_is_always_the_first_entry_of_its_piece),
        cmocka_unit_test(g5_a_second_change_confirms_the_first),
        cmocka_unit_test(g6_vote_results_reach_candidates_only),
        cmocka_unit_test(g7_an_install_is_not_interrupted_by_another),
        cmocka_unit_test(g8_the_next_change_waits_for_the_last),
        cmocka_unit_test(g8_a_non_voter_is_lent_its_vote),
        cmocka_unit_test(g8_and_g10_a_change_is_one_step_that_leaves_two_voters),
        cmocka_unit_test(g9_an_own_snapshot_is_new_and_in_the_log),
        cmocka_unit_test(g10_a_sole_voter_is_recognised),
        cmocka_unit_test(g11_a_leader_timeout_fires_once_per_heartbeat_for_all),
        cmocka_unit_test(g12_a_completion_counts_what_is_still_in_the_log),
        cmocka_unit_test(g13_a_transfer_waits_for_the_whole_log),
        cmocka_unit_test(g14_fields_the_library_asserts_are_checked),
        cmocka_unit_test(g15_a_rejection_skips_the_conflicting_term),
        cmocka_unit_test(g16_a_refused_pre_vote_names_the_higher_term),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

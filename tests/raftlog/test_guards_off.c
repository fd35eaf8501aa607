/* Without its guards the packaged library fails: each guard below is switched off alone, and an oracle, an
 * assertion of ours or a crash must notice; with all guards on the same schedules pass.  Guards whose absence
 * leaks, slows down or needs thousands of runs to show have their unit tests in test_guard.c only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core_chaos.h"
#include "core_cluster.h"
#include "guard.h"

#ifndef ASSENT_TEST_GUARDS
#error "this test needs the driver built with ASSENT_TEST_GUARDS"
#endif

/* True: something was noticed. */
struct trial {
    const char *name;
    uint32_t guard;
    bool (*run)(uint32_t off);
};

static bool has_leader(struct cluster *c, void *arg)
{
    (void)arg;
    return cluster_leader(c) != 0;
}

static bool all_applied(struct cluster *c, void *arg)
{
    (void)arg;
    uint32_t leader = cluster_leader(c);
    return leader != 0 && cluster_applied_everywhere(c) == cluster_status(c, leader).last_index;
}

static struct cluster *started(uint32_t nodes, uint32_t voters, uint32_t off, uint32_t snapshot_every)
{
    struct cluster_options o;
    cluster_options_init(&o, nodes, 11);
    o.voters = voters;
    o.guards_off = off;
    o.snapshot_every = snapshot_every;
    o.trailing = 0;
    o.uncommitted_max = 100000;
    struct cluster *c = cluster_new(&o);
    cluster_start_all(c);
    (void)cluster_run_until(c, has_leader, NULL, 10000);
    return c;
}

static bool over(struct cluster *c, bool bad)
{
    bad = bad || cluster_failure(c) != NULL;
    cluster_close(c);
    return bad;
}

/* A message that begins at index 1 reaches a node that has compacted its log. */
static bool append_from_the_beginning(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 20);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    struct entry *entries[101];
    for (uint32_t i = 0; i < 100; i++) {
        if (cluster_submit(c, leader, 1) != 0) {
            return over(c, true);
        }
        entries[i] = entry_ref(core_entry(cluster_core(c, leader), i == 0 ? 1 : i + 1));
        cluster_run(c, 5);
    }
    cluster_run(c, 1000);
    struct message m = {.type = MESSAGE_RAFT, .from = leader};
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries.term = cluster_status(c, leader).term;
    m.raft.raft.append_entries.leader_commit = cluster_status(c, leader).commit_index;
    m.raft.raft.append_entries.n_entries = 100;
    m.raft.entries = entries;
    bool compacted = cluster_status(c, follower).first_index > 1;
    cluster_deliver(c, follower, &m);
    for (uint32_t i = 0; i < 100; i++) {
        entry_unref(entries[i]);
    }
    return over(c, !compacted || !cluster_run_until(c, all_applied, NULL, 10000));
}

/* A voter that has not heard of its promotion, another one demoted, then one crash. */
static bool promoted_without_knowing(uint32_t off)
{
    struct cluster *c = started(4, 3, off, 0);
    uint32_t leader = cluster_leader(c), other = leader % 3 + 1;
    (void)cluster_member(c, leader, RAFTLOG_ADD, 4);
    cluster_run(c, 1000);
    cluster_isolate(c, 4, true);
    (void)cluster_member(c, leader, RAFTLOG_PROMOTE, 4);
    cluster_run(c, 200);
    (void)cluster_member(c, leader, RAFTLOG_DEMOTE, other);
    cluster_run(c, 200);
    cluster_crash(c, leader);
    cluster_heal(c);
    return over(c, !cluster_run_until(c, has_leader, NULL, 30000));
}

/* A sole voter restarts and leads the term again that it led before. */
static bool sole_voter_restarts(uint32_t off)
{
    struct cluster *c = started(1, 1, off, 0);
    cluster_crash(c, 1);
    cluster_start(c, 1);
    return over(c, !cluster_run_until(c, has_leader, NULL, 10000));
}

static bool submitted(struct cluster *c, uint32_t leader, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        if (cluster_submit(c, leader, 60) != 0) {
            return false;
        }
        cluster_run(c, 1);
    }
    return true;
}

/* A deposed leader comes back with thousands of entries that conflict with as many of a third leader's. */
static bool long_conflicting_tail(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t first = cluster_leader(c);
    cluster_isolate(c, first, true);
    bool went = submitted(c, first, 50);
    cluster_run(c, 5000);
    uint32_t second = cluster_leader(c);
    went = went && second != 0 && second != first && submitted(c, second, 50) &&
           cluster_member(c, second, RAFTLOG_TRANSFER, 6 - first - second) == 0;
    cluster_run(c, 5000);
    went = went && cluster_leader(c) == 6 - first - second;
    cluster_heal(c);
    return over(c, !went || !cluster_run_until(c, all_applied, NULL, 2000));
}

/* The longer log knows the lower term, the third voter is down. */
static bool long_log_low_term(uint32_t off)
{
    struct cluster_options o;
    cluster_options_init(&o, 3, 12);
    o.guards_off = off;
    struct cluster *c = cluster_new(&o);
    cluster_disk_vote(c, 1, 3, 0);
    cluster_disk_vote(c, 2, 12, 0);
    cluster_disk_entry(c, 1, 2);
    cluster_disk_entry(c, 1, 3);
    cluster_disk_entry(c, 2, 2);
    cluster_start(c, 1);
    cluster_start(c, 2);
    return over(c, !cluster_run_until(c, has_leader, NULL, 30000));
}

/* Seeds until one notices; with all guards on a few must pass. */
static bool chaos_of(const struct chaos_shape *shape, uint32_t off)
{
    uint64_t seeds = off == 0 ? 5 : 300;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (chaos_run(shape, seed, off, NULL) != NULL) {
            return true;
        }
    }
    return false;
}

static bool chaos_changes(uint32_t off)
{
    return chaos_of(&chaos_changing, off);
}

static bool chaos_snapshots(uint32_t off)
{
    return chaos_of(&chaos_five, off);
}

static const struct trial trials[] = {
    {"append_from_the_beginning", GUARD_PREV_ZERO, append_from_the_beginning},
    {"chaos_with_membership", GUARD_CHANGE_FIRST, chaos_changes},
    {"promoted_without_knowing", GUARD_CHANGE_GATE, promoted_without_knowing},
    {"chaos_with_snapshots", GUARD_OWN_SNAPSHOT, chaos_snapshots},
    {"sole_voter_restarts", GUARD_SOLE_VOTER, sole_voter_restarts},
    {"long_conflicting_tail", GUARD_CONFLICT, long_conflicting_tail},
    {"long_log_low_term", GUARD_PRE_VOTE, long_log_low_term},
};

/* In a child, because a library out of its contract may crash. */
static bool noticed(const struct trial *trial, uint32_t off)
{
    fflush(NULL);
    pid_t child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        alarm(30); /* a run that never ends is noticed as well */
        _exit(trial->run(off) ? 1 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void without_its_guard_each_fault_is_noticed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        if (!noticed(&trials[i], 1U << trials[i].guard)) {
            fail_msg("guard %u off, %s: nothing noticed", trials[i].guard, trials[i].name);
        }
    }
}

static void with_all_guards_nothing_is(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        if (noticed(&trials[i], 0)) {
            fail_msg("guards on, %s: failed", trials[i].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_its_guard_each_fault_is_noticed),
        cmocka_unit_test(with_all_guards_nothing_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

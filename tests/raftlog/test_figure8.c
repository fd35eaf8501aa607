/* Figure 8 of the Raft paper, and other schedules that have broken implementations of it.
 *
 * Figure 8: an entry of an older term on a majority of servers is not committed by counting; only an entry of
 * the leader's own term commits it.  libraft 0.15.0 gets this wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "assent/error.h"
#include "core_cluster.h"

static bool has_leader(struct cluster *c, void *arg)
{
    uint32_t leader = cluster_leader(c);
    return arg == NULL ? leader != 0 : leader == *(uint32_t *)arg;
}

static bool all_applied(struct cluster *c, void *arg)
{
    (void)arg;
    uint32_t leader = cluster_leader(c);
    return leader != 0 && cluster_applied_everywhere(c) == cluster_status(c, leader).last_index;
}

static void assert_sound(struct cluster *c)
{
    if (cluster_failure(c) != NULL) {
        fail_msg("%s", cluster_failure(c));
    }
}

static void assert_converges(struct cluster *c)
{
    bool converged = cluster_run_until(c, all_applied, NULL, 20000);
    assert_sound(c);
    assert_true(converged);
}

/* Entry A (index 2, term 2) on servers 1 and 2, entry B (index 2, term 3) on server 5, all in term 3; server
 * 5 is cut off, server 1 is quickest.  One entry per message, so that A spreads before the barrier does. */
static struct cluster *figure8(void)
{
    struct cluster_options o;
    cluster_options_init(&o, 5, 8);
    o.inflight_entries = 1;
    struct cluster *c = cluster_new(&o);
    for (uint32_t i = 1; i <= 5; i++) {
        cluster_disk_vote(c, i, 3, 0);
        cluster_election_ms(c, i, i == 1 ? 100 : 2000);
    }
    cluster_disk_entry(c, 1, 2);
    cluster_disk_entry(c, 2, 2);
    cluster_disk_entry(c, 5, 3);
    cluster_isolate(c, 5, true);
    cluster_start_all(c);
    return c;
}

static void an_old_entry_on_a_majority_is_not_committed_by_counting(void **state)
{
    (void)state;
    struct cluster *c = figure8();
    /* Until a majority (1, 2, 3 or 4) stores A while the barrier is nowhere but at the leader. */
    while (cluster_status(c, 3).stored_index < 2 && cluster_status(c, 4).stored_index < 2) {
        cluster_run(c, 1);
        assert_true(cluster_now_ms(c) < 10000);
    }
    struct raftlog_status s = cluster_status(c, 1);
    assert_int_equal(s.role, RAFTLOG_LEADER);
    assert_int_equal(s.term, 4);
    assert_int_equal(s.commit_index, 1);
    assert_int_equal(s.applied_index, 1);
    /* Server 1 goes, server 5 comes back and wins with its newer entry: B replaces A, which is allowed only
     * because nobody committed A. */
    cluster_isolate(c, 1, true);
    for (uint32_t i = 2; i <= 5; i++) {
        cluster_crash(c, i);
        cluster_election_ms(c, i, i == 5 ? 100 : 5000);
    }
    for (uint32_t i = 2; i <= 5; i++) {
        cluster_cut(c, i, 5, false);
        cluster_cut(c, 5, i, false);
        cluster_start(c, i);
    }
    uint32_t five = 5;
    assert_true(cluster_run_until(c, has_leader, &five, 4000));
    assert_int_equal(cluster_committed_term(c, 2), 3);
    cluster_heal(c);
    assert_converges(c);
    cluster_close(c);
}

static void once_its_own_entry_is_committed_the_rival_never_wins(void **state)
{
    (void)state;
    struct cluster *c = figure8();
    uint32_t one = 1;
    assert_true(cluster_run_until(c, has_leader, &one, 10000));
    assert_int_equal(cluster_committed_term(c, 2), 2);
    assert_true(cluster_committed(c) >= 3);
    cluster_crash(c, 1);
    for (uint32_t i = 2; i <= 5; i++) {
        cluster_crash(c, i);
        cluster_election_ms(c, i, i == 5 ? 100 : 1000);
    }
    cluster_heal(c);
    for (uint32_t i = 2; i <= 5; i++) {
        cluster_start(c, i);
    }
    assert_true(cluster_run_until(c, has_leader, NULL, 20000));
    assert_int_not_equal(cluster_leader(c), 5);
    cluster_start(c, 1);
    assert_converges(c);
    assert_int_equal(cluster_committed_term(c, 2), 2);
    cluster_close(c);
}

static struct cluster *started(uint32_t nodes, uint32_t voters, uint64_t seed)
{
    struct cluster_options o;
    cluster_options_init(&o, nodes, seed);
    o.voters = voters;
    struct cluster *c = cluster_new(&o);
    cluster_start_all(c);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    return c;
}

static void commit_advances_under_load_without_flow_control(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 3);
    uint32_t leader = cluster_leader(c);
    uint64_t commit = cluster_status(c, leader).commit_index;
    for (uint32_t i = 0; i < 40; i++) {
        for (uint32_t j = 0; j < 25; j++) {
            int rv = cluster_submit(c, leader, 10);
            assert_true(rv == 0 || rv == ASSENT_BUSY);
            cluster_run(c, 1);
        }
        assert_true(cluster_status(c, leader).commit_index > commit);
        commit = cluster_status(c, leader).commit_index;
    }
    assert_sound(c);
    assert_converges(c);
    cluster_close(c);
}

static void private_entries_of_a_deposed_leader_do_not_count(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster *c = started(3, 3, seed);
        uint32_t old = cluster_leader(c);
        cluster_isolate(c, old, true);
        assert_int_equal(cluster_submit(c, old, 2), 0);
        cluster_run(c, 3000);
        uint32_t next = cluster_leader(c);
        assert_int_not_equal(next, 0);
        assert_int_not_equal(next, old);
        /* Its only helper goes; the deposed one comes back with entries that look as long. */
        cluster_isolate(c, 6 - old - next, true);
        cluster_cut(c, old, next, false);
        cluster_cut(c, next, old, false);
        cluster_run(c, seed);
        (void)cluster_submit(c, next, 2);
        cluster_run(c, 2000);
        assert_sound(c);
        cluster_heal(c);
        assert_converges(c);
        cluster_close(c);
    }
}

static void a_transfer_may_race_a_rival(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct cluster *c = started(3, 3, seed);
        uint32_t leader = cluster_leader(c);
        uint32_t target = leader % 3 + 1, rival = 6 - leader - target;
        cluster_cut(c, leader, rival, true); /* the rival hears nothing and campaigns */
        cluster_run(c, 500 + seed * 10);
        if (cluster_leader(c) == leader) {
            (void)cluster_member(c, leader, RAFTLOG_TRANSFER, target);
        }
        cluster_run(c, 20);
        cluster_heal(c);
        assert_converges(c);
        cluster_close(c);
    }
}

static void an_uncommitted_configuration_is_rolled_back_when_overwritten(void **state)
{
    (void)state;
    struct cluster *c = started(4, 3, 5);
    uint32_t old = cluster_leader(c);
    for (uint32_t i = 1; i <= 4; i++) {
        cluster_cut(c, old, i, true); /* it still hears, so it leads for a while */
    }
    assert_int_equal(cluster_member(c, old, RAFTLOG_ADD, 4), 0);
    cluster_run(c, 50);
    assert_int_equal(core_configuration(cluster_core(c, old))->n, 4);
    cluster_stop(c, old);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    assert_int_equal(cluster_submit(c, cluster_leader(c), 3), 0);
    cluster_heal(c);
    cluster_start(c, old);
    assert_int_equal(core_configuration(cluster_core(c, old))->n, 4); /* until it hears better */
    assert_converges(c);
    assert_int_equal(core_configuration(cluster_core(c, old))->n, 3);
    cluster_close(c);
}

static bool member_ended(struct cluster *c, void *arg)
{
    int status;
    return cluster_members_done(c, &status) >= *(uint32_t *)arg;
}

static int member(struct cluster *c, enum raftlog_change change, uint64_t id)
{
    int status;
    uint32_t done = cluster_members_done(c, &status) + 1;
    int rv = cluster_member(c, cluster_leader(c), change, id);
    if (rv != 0) {
        return rv;
    }
    assert_true(cluster_run_until(c, member_ended, &done, 60000));
    (void)cluster_members_done(c, &status);
    return status;
}

/* Otherwise the voters left could include one that does not know it may vote, and one crash more would leave
 * nobody electable for good. */
static void nothing_changes_while_a_promoted_node_does_not_know_it_votes(void **state)
{
    (void)state;
    struct cluster *c = started(4, 3, 6);
    uint32_t leader = cluster_leader(c), other = leader % 3 + 1;
    assert_int_equal(member(c, RAFTLOG_ADD, 4), 0);
    cluster_run(c, 500);
    cluster_isolate(c, 4, true); /* it holds everything so far, and will not hear of its promotion */
    assert_int_equal(member(c, RAFTLOG_PROMOTE, 4), 0);
    assert_true(cluster_status(c, 4).configuration_index < cluster_status(c, leader).configuration_index);
    assert_int_equal(member(c, RAFTLOG_DEMOTE, other), ASSENT_CHANGE_PENDING);
    assert_int_equal(member(c, RAFTLOG_DEMOTE, 4), 0); /* the uninformed one itself may go */
    assert_int_equal(member(c, RAFTLOG_REMOVE, 4), 0);
    cluster_heal(c);
    assert_converges(c);
    cluster_close(c);
}

static void a_dead_voter_is_replaced_under_a_new_leader(void **state)
{
    (void)state;
    struct cluster *c = started(4, 3, 9);
    uint32_t dead = cluster_leader(c);
    cluster_crash(c, dead);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    assert_int_equal(member(c, RAFTLOG_ADD, 4), 0);
    assert_int_equal(member(c, RAFTLOG_PROMOTE, 4), 0);
    assert_int_equal(member(c, RAFTLOG_REMOVE, dead), 0);
    assert_int_equal(core_configuration(cluster_core(c, cluster_leader(c)))->n, 3);
    assert_converges(c);
    cluster_close(c);
}

static void appends_in_flight_at_the_end_are_released(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 4);
    uint32_t leader = cluster_leader(c);
    cluster_freeze_disk(c, leader, true);
    assert_int_equal(cluster_submit(c, leader, 3), 0);
    assert_int_equal(cluster_submit(c, leader, 3), 0);
    assert_int_equal(cluster_read(c, leader), 0);
    cluster_run(c, 5);
    assert_sound(c);
    cluster_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_entry_on_a_majority_is_not_committed_by_counting),
        cmocka_unit_test(once_its_own_entry_is_committed_the_rival_never_wins),
        cmocka_unit_test(commit_advances_under_load_without_flow_control),
        cmocka_unit_test(private_entries_of_a_deposed_leader_do_not_count),
        cmocka_unit_test(a_transfer_may_race_a_rival),
        cmocka_unit_test(an_uncommitted_configuration_is_rolled_back_when_overwritten),
        cmocka_unit_test(nothing_changes_while_a_promoted_node_does_not_know_it_votes),
        cmocka_unit_test(a_dead_voter_is_replaced_under_a_new_leader),
        cmocka_unit_test(appends_in_flight_at_the_end_are_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

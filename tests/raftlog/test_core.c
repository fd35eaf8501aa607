/* Directed scenarios of the consensus driver: elections, replication, reads, snapshots, membership. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "assent/error.h"
#include "core_cluster.h"

static bool has_leader(struct cluster *c, void *arg)
{
    (void)arg;
    return cluster_leader(c) != 0;
}

static bool other_leads(struct cluster *c, void *arg)
{
    return cluster_leader(c) != 0 && cluster_leader(c) != *(uint32_t *)arg;
}

static bool applied_everywhere(struct cluster *c, void *arg)
{
    return cluster_applied_everywhere(c) >= *(uint64_t *)arg;
}

static bool member_done(struct cluster *c, void *arg)
{
    int status;
    return cluster_members_done(c, &status) >= *(uint32_t *)arg;
}

static bool reads_done(struct cluster *c, void *arg)
{
    return cluster_reads_done(c) >= *(uint32_t *)arg;
}

static void assert_sound(struct cluster *c)
{
    if (cluster_failure(c) != NULL) {
        fail_msg("%s", cluster_failure(c));
    }
}

static struct cluster *started(uint32_t nodes, uint32_t voters, uint32_t snapshot_every)
{
    struct cluster_options o;
    cluster_options_init(&o, nodes, 7);
    o.voters = voters;
    o.snapshot_every = snapshot_every;
    struct cluster *c = cluster_new(&o);
    cluster_start_all(c);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    assert_sound(c);
    return c;
}

static void replicate(struct cluster *c, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t leader = cluster_leader(c);
        assert_int_not_equal(leader, 0);
        assert_int_equal(cluster_submit(c, leader, 1), 0);
        cluster_run(c, 2);
    }
    uint64_t last = cluster_status(c, cluster_leader(c)).last_index;
    assert_true(cluster_run_until(c, applied_everywhere, &last, 10000));
    assert_sound(c);
}

static void one_leader_replicates_to_all(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 100);
    assert_true(cluster_committed(c) >= 100);
    cluster_close(c);
}

static void sole_voter_leads_in_a_new_term_after_each_start(void **state)
{
    (void)state;
    struct cluster *c = started(1, 1, 0);
    replicate(c, 3);
    uint64_t term = cluster_status(c, 1).term;
    cluster_crash(c, 1);
    cluster_start(c, 1);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    assert_true(cluster_status(c, 1).term > term);
    replicate(c, 3);
    assert_int_equal(cluster_read(c, 1), 0);
    uint32_t one = 1;
    assert_true(cluster_run_until(c, reads_done, &one, 1000));
    assert_sound(c);
    cluster_close(c);
}

static void a_sole_voter_deposed_by_a_higher_term_leads_in_a_newer_one(void **state)
{
    (void)state;
    struct cluster *c = started(2, 1, 0);
    replicate(c, 3);
    struct message m = {.type = MESSAGE_RAFT, .from = 2};
    m.raft.raft.type = RAFT_APPEND_ENTRIES_RESULT;
    m.raft.raft.append_entries_result.term = 40;
    cluster_deliver(c, 1, &m);
    assert_int_equal(cluster_status(c, 1).role, RAFTLOG_FOLLOWER);
    assert_true(cluster_run_until(c, has_leader, NULL, 5000));
    assert_int_equal(cluster_status(c, 1).term, 41);
    replicate(c, 3);
    cluster_close(c);
}

static void reads_on_leader_and_follower_end_at_a_committed_index(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 10);
    uint64_t begin = cluster_now_ms(c);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(cluster_read(c, i), 0);
    }
    uint32_t three = 3;
    assert_true(cluster_run_until(c, reads_done, &three, 1000));
    assert_true(cluster_now_ms(c) - begin < 30); /* less than a heartbeat */
    assert_sound(c);
    cluster_close(c);
}

static void a_clean_stop_keeps_the_application_a_crash_does_not(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 40);
    replicate(c, 100);
    cluster_stop(c, 1);
    cluster_crash(c, 2);
    cluster_start(c, 1);
    cluster_start(c, 2);
    assert_true(cluster_run_until(c, has_leader, NULL, 10000));
    replicate(c, 100);
    cluster_close(c);
}

static void a_node_far_behind_gets_a_snapshot(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 50);
    uint32_t away = cluster_leader(c) == 3 ? 1 : 3;
    cluster_isolate(c, away, true);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(cluster_submit(c, cluster_leader(c), 1), 0);
        cluster_run(c, 3);
    }
    cluster_heal(c);
    replicate(c, 20);
    assert_true(cluster_status(c, away).first_index > 1);
    assert_true(cluster_messages(c, RAFT_INSTALL_SNAPSHOT) > 0);
    cluster_close(c);
}

static void member(struct cluster *c, enum raftlog_change change, uint64_t id)
{
    static uint32_t done;
    int status;
    done = cluster_members_done(c, &status) + 1;
    assert_int_equal(cluster_member(c, cluster_leader(c), change, id), 0);
    assert_true(cluster_run_until(c, member_done, &done, 20000));
    (void)cluster_members_done(c, &status);
    assert_sound(c);
    assert_int_equal(status, 0);
}

static void nodes_join_are_promoted_demoted_and_removed(void **state)
{
    (void)state;
    struct cluster *c = started(5, 3, 30);
    replicate(c, 100);
    member(c, RAFTLOG_ADD, 4);
    member(c, RAFTLOG_PROMOTE, 4);
    replicate(c, 20);
    member(c, RAFTLOG_ADD, 5);
    member(c, RAFTLOG_PROMOTE, 5);
    replicate(c, 20);
    uint32_t leader = cluster_leader(c);
    uint32_t other = leader == 1 ? 2 : 1;
    member(c, RAFTLOG_DEMOTE, other);
    member(c, RAFTLOG_REMOVE, other);
    member(c, RAFTLOG_REMOVE, leader == 3 ? 4 : 3);
    assert_int_equal(core_configuration(cluster_core(c, leader))->n, 3);
    replicate(c, 20);
    assert_int_equal(cluster_member(c, leader, RAFTLOG_REMOVE, leader), ASSENT_INVALID);
    assert_int_equal(cluster_member(c, leader, RAFTLOG_REMOVE, 9), ASSENT_NOT_MEMBER);
    cluster_close(c);
}

static void leadership_moves_where_it_is_sent(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 20);
    uint32_t target = cluster_leader(c) % 3 + 1;
    member(c, RAFTLOG_TRANSFER, target);
    assert_true(cluster_run_until(c, has_leader, NULL, 1000));
    assert_int_equal(cluster_leader(c), target);
    member(c, RAFTLOG_TRANSFER, 0);
    cluster_run(c, 1000);
    assert_int_not_equal(cluster_leader(c), target);
    replicate(c, 20);
    cluster_close(c);
}

/* As with a clock that runs ahead: its heartbeats would keep it in office for ever. */
static void a_leader_whose_entries_are_refused_is_replaced(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 20);
    uint32_t bad = cluster_leader(c);
    uint64_t committed = cluster_committed(c);
    cluster_refuse(c, bad, 0);
    assert_int_equal(cluster_submit(c, bad, 1), 0);
    assert_true(cluster_run_until(c, other_leads, &bad, 5000));
    assert_true(cluster_committed(c) > committed);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(cluster_submit(c, cluster_leader(c), 1), 0);
        cluster_run(c, 100);
        assert_int_not_equal(cluster_leader(c), bad);
    }
    replicate(c, 20);
    cluster_close(c);
}

/* One follower alone does not unseat a leader that the others accept, and comes back by itself. */
static void a_single_refusing_follower_disturbs_nobody(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 20);
    uint32_t leader = cluster_leader(c);
    uint64_t term = cluster_status(c, leader).term;
    cluster_refuse(c, leader, leader % 3 + 1);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cluster_submit(c, leader, 1), 0);
        cluster_run(c, 100);
        assert_int_equal(cluster_leader(c), leader);
    }
    assert_int_equal(cluster_status(c, leader).term, term);
    cluster_refuse(c, 0, 0);
    replicate(c, 20);
    assert_int_equal(cluster_leader(c), leader);
    cluster_close(c);
}

static bool submit_refused(struct cluster *c, void *arg)
{
    return cluster_submit(c, *(uint32_t *)arg, 1) == ASSENT_BUSY;
}

static void too_many_uncommitted_entries_are_refused(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    uint32_t leader = cluster_leader(c);
    for (uint32_t i = 1; i <= 3; i++) {
        cluster_cut(c, i, leader, true); /* nothing is acknowledged any more */
    }
    for (uint32_t i = 0; i < 4096 && cluster_submit(c, leader, 1) == 0; i++) {
    }
    assert_true(submit_refused(c, &leader));
    cluster_heal(c);
    cluster_run(c, 3000);
    replicate(c, 3);
    cluster_close(c);
}

static void a_read_ends_when_no_leader_answers(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    uint32_t leader = cluster_leader(c), other = leader % 3 + 1;
    cluster_isolate(c, leader, true);
    cluster_isolate(c, other, true);
    assert_int_equal(cluster_read(c, leader), 0); /* it still believes it leads */
    assert_int_equal(cluster_read(c, other), 0);
    cluster_run(c, 3000);
    assert_int_equal(cluster_reads_done(c), 0);
    assert_int_equal(cluster_read(c, other), ASSENT_NO_LEADER);
    cluster_heal(c);
    uint32_t two = 2;
    assert_true(cluster_run_until(c, reads_done, &two, 1500)); /* asked again of whoever leads then */
    assert_sound(c);
    cluster_close(c);
}

static void two_voters_are_the_least_a_change_leaves(void **state)
{
    (void)state;
    struct cluster *c = started(3, 2, 0);
    uint32_t leader = cluster_leader(c);
    assert_int_equal(cluster_member(c, leader, RAFTLOG_DEMOTE, 3 - leader), ASSENT_INVALID);
    assert_int_equal(cluster_member(c, leader, RAFTLOG_REMOVE, 3 - leader), ASSENT_INVALID);
    member(c, RAFTLOG_ADD, 3);
    member(c, RAFTLOG_PROMOTE, 3);
    member(c, RAFTLOG_DEMOTE, 3 - leader);
    member(c, RAFTLOG_REMOVE, 3 - leader);
    replicate(c, 10);
    cluster_close(c);
}

static void an_idle_cluster_keeps_its_leader_and_ticks_once_per_heartbeat(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    uint32_t leader = cluster_leader(c);
    uint64_t term = cluster_status(c, leader).term;
    uint64_t ticks = cluster_ticks(c, leader);
    cluster_run(c, 10000);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_status(c, leader).term, term);
    assert_true(cluster_ticks(c, leader) - ticks <= 10000 / 40 + 10);
    cluster_close(c);
}

/* Sparse proposals must not wait for a heartbeat because a follower fell back to probing. */
static void a_lone_proposal_commits_at_once(void **state)
{
    (void)state;
    struct cluster *c = started(3, 3, 0);
    replicate(c, 10);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t leader = cluster_leader(c);
        cluster_run(c, 30 + cluster_random(c, 30));
        uint64_t begin = cluster_now_ms(c);
        uint64_t want = cluster_status(c, leader).last_index + 1;
        assert_int_equal(cluster_submit(c, leader, 1), 0);
        while (cluster_status(c, leader).applied_index < want) {
            cluster_run(c, 1);
        }
        assert_true(cluster_now_ms(c) - begin <= 16);
    }
    assert_sound(c);
    cluster_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_replicates_to_all),
        cmocka_unit_test(sole_voter_leads_in_a_new_term_after_each_start),
        cmocka_unit_test(a_sole_voter_deposed_by_a_higher_term_leads_in_a_newer_one),
        cmocka_unit_test(reads_on_leader_and_follower_end_at_a_committed_index),
        cmocka_unit_test(a_clean_stop_keeps_the_application_a_crash_does_not),
        cmocka_unit_test(a_node_far_behind_gets_a_snapshot),
        cmocka_unit_test(nodes_join_are_promoted_demoted_and_removed),
        cmocka_unit_test(leadership_moves_where_it_is_sent),
        cmocka_unit_test(a_leader_whose_entries_are_refused_is_replaced),
        cmocka_unit_test(a_single_refusing_follower_disturbs_nobody),
        cmocka_unit_test(too_many_uncommitted_entries_are_refused),
        cmocka_unit_test(a_read_ends_when_no_leader_answers),
        cmocka_unit_test(two_voters_are_the_least_a_change_leaves),
        cmocka_unit_test(an_idle_cluster_keeps_its_leader_and_ticks_once_per_heartbeat),
        cmocka_unit_test(a_lone_proposal_commits_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

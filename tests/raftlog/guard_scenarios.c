/* What goes wrong without each guard; see guard_scenarios.h. */
#include "guard_scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_chaos.h"
#include "core_cluster.h"

#define HEARTBEAT_MS 40 /* of cluster_options_init() */

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
    const char *why = cluster_failure(c);
    if (bad || why != NULL) {
        fprintf(stderr, "  %s\n", why != NULL ? why : "not what it should be");
    }
    bad = bad || why != NULL;
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

/* ---- G1 */

/* Fill the stack below with a number.  The packaged library answers with what an earlier call left there;
 * which one that is depends on the build, so this run is the earlier call. */
__attribute__((noinline)) static void leave_on_the_stack(uint64_t number)
{
    volatile uint64_t room[8192];
    for (uint32_t i = 0; i < sizeof room / sizeof room[0]; i++) {
        room[i] = number;
    }
}

static bool leads(struct cluster *c, void *arg)
{
    return cluster_leader(c) == *(uint32_t *)arg;
}

static bool handed(struct cluster *c, uint32_t from, uint32_t to)
{
    return cluster_member(c, from, RAFTLOG_TRANSFER, to) == 0 && cluster_run_until(c, leads, &to, 5000);
}

/* A heartbeat of a leader's earlier term arrives when it leads again and has entries nobody else holds. */
static bool heartbeat_of_an_earlier_term(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), other = leader % 3 + 1, third = 6 - leader - other;
    struct message m = {.type = MESSAGE_RAFT, .from = leader};
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries.term = cluster_status(c, leader).term;
    if (!handed(c, leader, other) || !handed(c, other, leader)) {
        return over(c, true);
    }
    cluster_run(c, 100);
    cluster_cut(c, leader, other, true);
    cluster_cut(c, leader, third, true);
    if (cluster_submit(c, leader, 5) != 0) {
        return over(c, true);
    }
    cluster_run(c, 20); /* on its own disk */
    leave_on_the_stack(cluster_status(c, leader).last_index);
    cluster_deliver(c, other, &m);
    cluster_run(c, 20);
    return over(c, false); /* the oracle: committed without a majority of disks */
}

/* ---- G2 */

/* A rejection from before a follower fell silent arrives while it is probed. */
static bool rejection_from_before(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    if (cluster_submit(c, leader, 20) != 0) {
        return over(c, true);
    }
    cluster_run(c, 500);
    uint64_t match = core_match_index(cluster_core(c, leader), follower);
    cluster_isolate(c, follower, true);
    cluster_run(c, 2000); /* the leader gives the pipeline up and probes */
    if (cluster_leader(c) != leader || cluster_submit(c, leader, 5) != 0) {
        return over(c, true);
    }
    struct message m = {.type = MESSAGE_RAFT, .from = follower};
    m.raft.raft.type = RAFT_APPEND_ENTRIES_RESULT;
    m.raft.raft.append_entries_result.version = 1;
    m.raft.raft.append_entries_result.term = cluster_status(c, leader).term;
    m.raft.raft.append_entries_result.rejected = match;
    m.raft.raft.append_entries_result.last_log_index = match - 1;
    cluster_deliver(c, leader, &m);
    cluster_heal(c);
    return over(c, !cluster_run_until(c, all_applied, NULL, 3000));
}

/* ---- G4 */

/* A short message that was under way for long: less than what the follower knows to be committed. */
static bool short_append_late(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    if (cluster_submit(c, leader, 20) != 0) {
        return over(c, true);
    }
    cluster_run(c, 500);
    uint64_t commit = cluster_status(c, follower).commit_index;
    struct message m = {.type = MESSAGE_RAFT, .from = leader};
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries.term = cluster_status(c, leader).term;
    m.raft.raft.append_entries.prev_log_index = commit - 10;
    m.raft.raft.append_entries.prev_log_term = core_term_at(cluster_core(c, leader), commit - 10);
    m.raft.raft.append_entries.leader_commit = commit + 1;
    cluster_deliver(c, follower, &m);
    return over(c, commit < 12 || cluster_status(c, follower).commit_index < commit);
}

/* ---- G6 */

/* A node that was restarted gets the answer to what it asked before its end, ahead of the first heartbeat. */
static bool answer_of_an_old_election(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    cluster_run(c, 500);
    uint64_t term = cluster_status(c, leader).term;
    struct message m = {.type = MESSAGE_RAFT, .from = 6 - leader - follower};
    m.raft.raft.type = RAFT_REQUEST_VOTE_RESULT;
    m.raft.raft.request_vote_result.version = 2;
    m.raft.raft.request_vote_result.term = term + 1; /* what a vote in the next term would have been */
    m.raft.raft.request_vote_result.pre_vote = true;
    cluster_stop(c, follower);
    cluster_start(c, follower);
    cluster_deliver(c, follower, &m);
    cluster_run(c, 3000);
    uint32_t now = cluster_leader(c);
    return over(c, now != leader || cluster_status(c, now).term != term); /* a healthy leader was deposed */
}

/* ---- G7 */

static int64_t held; /* allocations of the library that are not freed */

static void *count_malloc(void *data, size_t size)
{
    (void)data;
    held++;
    return malloc(size);
}

static void count_free(void *data, void *at)
{
    (void)data;
    held -= at != NULL;
    free(at);
}

static void *count_calloc(void *data, size_t n, size_t size)
{
    (void)data;
    held++;
    return calloc(n, size);
}

static void *count_realloc(void *data, void *at, size_t size)
{
    (void)data;
    held += at == NULL;
    return realloc(at, size);
}

static void *count_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    held++;
    return aligned_alloc(alignment, size);
}

static void count_aligned_free(void *data, size_t alignment, void *at)
{
    (void)alignment;
    count_free(data, at);
}

static bool installs(struct cluster *c, void *arg)
{
    return cluster_status(c, *(uint32_t *)arg).installing;
}

/* The leader offers its snapshot again while a follower installs it. */
static bool offer_during_an_install(uint32_t off)
{
    static struct raft_heap counting = {.malloc = count_malloc,
                                        .free = count_free,
                                        .calloc = count_calloc,
                                        .realloc = count_realloc,
                                        .aligned_alloc = count_aligned_alloc,
                                        .aligned_free = count_aligned_free};
    raft_heap_set(&counting);
    held = 0;
    struct cluster *c = started(3, 3, off, 20);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    cluster_isolate(c, follower, true);
    for (uint32_t i = 0; i < 100; i++) {
        (void)cluster_submit(c, leader, 1);
        cluster_run(c, 10);
    }
    cluster_heal(c);
    bool bad = !cluster_run_until(c, installs, &follower, 10000);
    struct message m = {.type = MESSAGE_RAFT, .from = leader};
    struct core *core = cluster_core(c, leader);
    m.raft.manifest.index = cluster_status(c, leader).snapshot_index;
    m.raft.manifest.term = core_term_at(core, m.raft.manifest.index);
    m.raft.manifest.configuration = core_applied_configuration(core, &m.raft.manifest.configuration_index);
    m.raft.manifest.size = 1;
    m.raft.raft.type = RAFT_INSTALL_SNAPSHOT;
    m.raft.raft.install_snapshot.term = cluster_status(c, leader).term;
    m.raft.raft.install_snapshot.last_index = m.raft.manifest.index;
    m.raft.raft.install_snapshot.last_term = m.raft.manifest.term;
    for (uint32_t i = 0; i < 10 && !bad; i++) {
        cluster_deliver(c, follower, &m);
    }
    bad = bad || !cluster_run_until(c, all_applied, NULL, 20000);
    bad = over(c, bad);
    raft_heap_set_default();
    return bad || held != 0;
}

/* ---- G11 */

/* Bursts that leave in pieces, so that no two followers are sent to at the same time; then a proposal now and
 * then, which must commit as fast as messages travel and not with the next heartbeat. */
static bool sparse_proposals(uint32_t off)
{
    struct cluster_options o;
    uint64_t slowest_ms = 0;
    cluster_options_init(&o, 3, 11);
    o.guards_off = off;
    o.inflight_entries = 2;
    struct cluster *c = cluster_new(&o);
    cluster_start_all(c);
    (void)cluster_run_until(c, has_leader, NULL, 10000);
    for (uint32_t i = 0; i < 50; i++) {
        uint32_t leader = cluster_leader(c);
        bool went = cluster_submit(c, leader, 20) == 0;
        cluster_run(c, 300 + cluster_random(c, 40));
        uint64_t from_ms = cluster_now_ms(c), want = cluster_status(c, leader).last_index + 1;
        if (!went || cluster_submit(c, leader, 1) != 0) {
            return over(c, true);
        }
        while (cluster_status(c, leader).applied_index < want && cluster_now_ms(c) < from_ms + 1000) {
            cluster_run(c, 1);
        }
        uint64_t took_ms = cluster_now_ms(c) - from_ms;
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
    }
    printf("  the slowest of 50 lone commits took %llu ms\n", (unsigned long long)slowest_ms);
    fflush(stdout);
    return over(c, slowest_ms > 16);
}

/* ---- G13 */

/* The target has not written the end of the log yet when leadership is to move there. */
static bool transfer_to_one_behind(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), target = leader % 3 + 1;
    int status = 0;
    cluster_run(c, 500);
    cluster_slow_disk(c, target, 15);
    for (uint32_t i = 0; i < 20; i++) {
        (void)cluster_submit(c, leader, 5);
        cluster_run(c, 5);
    }
    uint64_t from_ms = cluster_now_ms(c);
    if (cluster_member(c, leader, RAFTLOG_TRANSFER, target) != 0) {
        return over(c, true);
    }
    while (cluster_members_done(c, &status) == 0 && cluster_now_ms(c) < from_ms + 20000) {
        cluster_run(c, 5);
    }
    printf("  status %d after %llu ms\n", status, (unsigned long long)(cluster_now_ms(c) - from_ms));
    fflush(stdout);
    return over(c, status != 0 || cluster_now_ms(c) > from_ms + 300);
}

/* ---- G14 */

/* An append behind an entry that has an index and no term: a broken peer, or a forged one. */
static bool append_behind_no_term(uint32_t off)
{
    struct cluster *c = started(3, 3, off, 0);
    uint32_t leader = cluster_leader(c), follower = leader % 3 + 1;
    if (cluster_submit(c, leader, 5) != 0) {
        return over(c, true);
    }
    cluster_run(c, 500);
    struct message m = {.type = MESSAGE_RAFT, .from = leader};
    m.raft.raft.type = RAFT_APPEND_ENTRIES;
    m.raft.raft.append_entries.term = cluster_status(c, leader).term;
    m.raft.raft.append_entries.prev_log_index = cluster_status(c, follower).commit_index;
    cluster_deliver(c, follower, &m);
    return over(c, !cluster_run_until(c, all_applied, NULL, 3000)); /* the oracle: a node stopped */
}

const struct guard_scenario guard_scenarios[] = {
    {GUARD_STALE_REPLY, "heartbeat_of_an_earlier_term",
     "a node acknowledges entries it does not hold: an oracle", heartbeat_of_an_earlier_term},
    {GUARD_STALE_REJECTION, "rejection_from_before", "a follower is sent no entries any more",
     rejection_from_before},
    {GUARD_PREV_ZERO, "append_from_the_beginning",
     "entries at the wrong end of a compacted log: an assertion of ours", append_from_the_beginning},
    {GUARD_COMMIT_BACK, "short_append_late", "the commit index goes back", short_append_late},
    {GUARD_CHANGE_FIRST, "chaos_changes", "a node goes by an old configuration: an oracle", chaos_changes},
    {GUARD_VOTE_RESULT, "answer_of_an_old_election", "a healthy leader is deposed",
     answer_of_an_old_election},
    {GUARD_INSTALL_TWICE, "offer_during_an_install", "memory of the library is lost",
     offer_during_an_install},
    {GUARD_CHANGE_GATE, "promoted_without_knowing", "nobody is elected any more", promoted_without_knowing},
    {GUARD_OWN_SNAPSHOT, "chaos_snapshots",
     "the log in memory is not the library's: an oracle or an assertion", chaos_snapshots},
    {GUARD_SOLE_VOTER, "sole_voter_restarts", "a term is led twice: an oracle", sole_voter_restarts},
    {GUARD_LEADER_DEADLINE, "sparse_proposals", "commits wait for a heartbeat", sparse_proposals},
    {GUARD_PERSISTED, "write_of_replaced_entries", "entries are acknowledged that are on no disk",
     write_of_replaced_entries},
    {GUARD_TRANSFER, "transfer_to_one_behind", "nobody leads for a time limit, then it is tried again",
     transfer_to_one_behind},
    {GUARD_INPUT, "append_behind_no_term", "one message stops a node", append_behind_no_term},
    {GUARD_CONFLICT, "long_conflicting_tail", "thousands of round trips before anything commits",
     long_conflicting_tail},
    {GUARD_PRE_VOTE, "long_log_low_term", "two live nodes refuse each other for ever", long_log_low_term},
};
const uint32_t guard_scenarios_n = sizeof guard_scenarios / sizeof guard_scenarios[0];

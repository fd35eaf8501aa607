/* Nested transactions: who waits for whom, what one's end means to the others, limits, and random trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sm_harness.h"

#define ok(h, type, args) assert_int_equal(sm_run(h, type, args), ASSENT_OK)
#define BRANCH            "'branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]"
#define STEP              "'steps':[{'actionUrl':'http://p/a','compensateUrl':'http://p/c'}]"

/* "p/b:cancel q/01:action" of everything that is due, in order of xid. */
static const char *due(struct sm_harness *h)
{
    static char out[4096];
    char rows[64][64];
    struct sm_work_cursor c = {0};
    struct sm_work w;
    size_t n = 0, rows_n = 0;
    sm_work_begin(h->sm, &c);
    while (rows_n < 64 && sm_work_next(h->sm, &c, INT64_MAX - 1, &w))
        snprintf(rows[rows_n++], sizeof(rows[0]), "%.*s/%.*s:%s", (int)w.xid.size, (const char *)w.xid.base,
                 (int)w.branch.size, (const char *)w.branch.base, sm_op_name(w.op));
    sm_work_end(h->sm, &c);
    qsort(rows, rows_n, sizeof(rows[0]), (int (*)(const void *, const void *))strcmp);
    out[0] = 0;
    for (size_t i = 0; i < rows_n; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", i > 0 ? " " : "", rows[i]);
    return out;
}

static const char *status(struct sm_harness *h, const char *xid)
{
    char args[64];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    return sm_ask(h, QUERY_TXN_STATUS, args) == ASSENT_OK ? sm_text(h, "status") : "";
}
#define stands(h, xid, expected) assert_string_equal(status(h, xid), expected)

static int begin(struct sm_harness *h, const char *xid, const char *parent, const char *what)
{
    char args[512];
    bool saga = strncmp(what, "'steps'", 7) == 0;
    snprintf(args, sizeof(args), "{'xid':'%s'%s%s%s%s%s}", xid, parent[0] != 0 ? ",'parent':'" : "", parent,
             parent[0] != 0 ? "'" : "", what[0] != 0 ? "," : "", what);
    return sm_run(h, saga ? COMMAND_SAGA_SUBMIT : COMMAND_TXN_BEGIN, args);
}
#define begun(h, xid, parent, what) assert_int_equal(begin(h, xid, parent, what), ASSENT_OK)

static int decide(struct sm_harness *h, uint32_t type, const char *xid)
{
    char args[64];
    snprintf(args, sizeof(args), "{'xid':'%s'}", xid);
    return sm_run(h, type, args);
}
#define commit(h, xid)   decide(h, COMMAND_TXN_COMMIT, xid)
#define rollback(h, xid) decide(h, COMMAND_TXN_ROLLBACK, xid)

static int report_attempt(struct sm_harness *h, const char *xid, const char *branch, enum sm_op op,
                          uint32_t attempt, enum sm_outcome outcome)
{
    char args[256];
    snprintf(args, sizeof(args),
             "{'xid':'%s','branch':'%s','op':%d,'attempt':%u,'success':%s,'error':'%s','outcome':%d}", xid,
             branch, op, attempt, outcome == SM_OUTCOME_SUCCESS ? "true" : "false",
             outcome == SM_OUTCOME_SUCCESS ? "" : "no", outcome);
    return sm_run(h, COMMAND_BRANCH_REPORT, args);
}
#define report(h, xid, branch, op, outcome)                                                                  \
    assert_int_equal(report_attempt(h, xid, branch, SM_OP_##op, 0, SM_OUTCOME_##outcome), ASSENT_OK)

/* ---- forward */

static void a_vote_waits_for_the_transaction_around_it(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "PREPARING");
    assert_string_equal(due(h), "");
    assert_int_equal(commit(h, "q"), ASSENT_OK); /* again */
    assert_int_equal(rollback(h, "q"), ASSENT_TXN_DECIDED);
    sm_advance(h, 70000); /* its time was for the vote, the other one's is over */
    ok(h, COMMAND_TICK, "{}");
    stands(h, "p", "ROLLING_BACK");
    stands(h, "q", "ROLLING_BACK");
}

static void a_commit_goes_down_the_tree(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    begun(h, "r", "q", BRANCH);
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    stands(h, "q", "PREPARING");
    sm_reincarnate(h);
    assert_int_equal(commit(h, "p"), ASSENT_OK);
    stands(h, "p", "COMMITTING");
    stands(h, "q", "COMMITTING");
    stands(h, "r", "COMMITTING");
    assert_string_equal(due(h), "p/b:confirm q/b:confirm r/b:confirm");
    report(h, "p", "b", CONFIRM, SUCCESS);
    report(h, "q", "b", CONFIRM, SUCCESS);
    report(h, "r", "b", CONFIRM, SUCCESS);
    stands(h, "r", "COMMITTED");
}

static void nobody_commits_over_an_undecided_child(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", "");
    begun(h, "q", "p", "");
    begun(h, "r", "p", STEP);
    assert_int_equal(commit(h, "p"), ASSENT_CONFLICT);
    assert_string_equal(sm_detail(h), "2 nested transactions are undecided");
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    assert_int_equal(commit(h, "p"), ASSENT_CONFLICT);
    report(h, "r", "01", ACTION, SUCCESS);
    stands(h, "r", "COMMITTED");
    assert_int_equal(commit(h, "p"), ASSENT_OK);
    stands(h, "p", "COMMITTED");
    stands(h, "q", "COMMITTED");
}

static void a_child_that_rolled_back_binds_nobody(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    begun(h, "r", "p", STEP);
    assert_int_equal(rollback(h, "q"), ASSENT_OK);
    report(h, "r", "01", ACTION, FAILURE);
    assert_int_equal(commit(h, "p"), ASSENT_OK); /* their decisions stand, though they are not done */
    stands(h, "p", "COMMITTING");
    assert_string_equal(due(h), "p/b:confirm q/b:cancel r/01:compensate");
}

static void a_saga_waits_for_its_children_in_its_last_step(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", STEP);
    begun(h, "q", "p", STEP);
    begun(h, "r", "p", BRANCH);
    report(h, "p", "01", ACTION, SUCCESS);
    stands(h, "p", "RUNNING");
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    stands(h, "p", "RUNNING");
    sm_reincarnate(h);
    report(h, "q", "01", ACTION, SUCCESS);
    stands(h, "p", "COMMITTED");
    stands(h, "r", "COMMITTING"); /* decided with it */
}

static void tries_wait_for_children_too(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'p','execute':true,'branches':[{'branch':'b','tryUrl':'http://p/t','confirmUrl':'http://p/c',"
       "'cancelUrl':'http://p/x'}]}");
    begun(h, "q", "p", BRANCH);
    report(h, "p", "b", TRY, SUCCESS);
    stands(h, "p", "RUNNING");
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    stands(h, "p", "COMMITTING");
    stands(h, "q", "COMMITTING");
}

static void nested_tries_vote_when_they_are_done(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    ok(h, COMMAND_TXN_BEGIN,
       "{'xid':'q','parent':'p','execute':true,'branches':[{'branch':'b','tryUrl':'http://p/t',"
       "'confirmUrl':'http://p/c','cancelUrl':'http://p/x'}]}");
    report(h, "q", "b", TRY, SUCCESS);
    stands(h, "q", "PREPARING");
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    assert_string_equal(due(h), "q/b:cancel");
    report(h, "q", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "p/b:cancel");
}

/* ---- back */

static void the_leaves_are_undone_first(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    begun(h, "r", "q", BRANCH);
    begun(h, "s", "p", BRANCH);
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    assert_string_equal(due(h), "r/b:cancel s/b:cancel");
    assert_int_equal(report_attempt(h, "p", "b", SM_OP_CANCEL, 0, SM_OUTCOME_SUCCESS), ASSENT_REPORT_STALE);
    report(h, "s", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "r/b:cancel");
    sm_reincarnate(h);
    report(h, "r", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "q/b:cancel");
    report(h, "q", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "p/b:cancel");
    report(h, "p", "b", CANCEL, SUCCESS);
    stands(h, "p", "ROLLED_BACK");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'q'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "reason"), "the transaction around it rolled back");
    assert_string_equal(sm_text(h, "parent"), "p");
    assert_int_equal(sm_uint(h, "nestedCount"), 1);
}

/* The executor looks at what is due from the last command on: a call planned into the past is never made. */
static void who_waited_for_children_is_called_from_then_on(void **state)
{
    static const char *const orders[] = {"", ",'order':'reverse'"};
    struct sm_harness *h = *state;
    for (uint32_t i = 0; i < 2; i++) {
        char what[256];
        struct sm_work_cursor c = {0};
        struct sm_work w;
        sm_harness_teardown(state);
        sm_harness_setup(state);
        snprintf(what, sizeof(what), BRANCH "%s", orders[i]);
        begun(h, "p", "", what);
        begun(h, "q", "p", BRANCH);
        assert_int_equal(commit(h, "q"), ASSENT_OK);
        assert_int_equal(rollback(h, "p"), ASSENT_OK);
        sm_advance(h, 5000);
        report(h, "q", "b", CANCEL, SUCCESS);
        assert_string_equal(due(h), "p/b:cancel");
        sm_work_begin(h->sm, &c);
        assert_true(sm_work_next(h->sm, &c, INT64_MAX - 1, &w));
        assert_int_equal(w.due_us, sm_time_us(h->sm));
        sm_work_end(h->sm, &c);
        assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'p'}"), ASSENT_OK);
        assert_int_equal(sm_int(h, "branches.0.nextDueUs"), sm_time_us(h->sm));
        sm_reincarnate(h);
        report(h, "p", "b", CANCEL, ERROR); /* finds the row it clears */
        assert_string_equal(due(h), "p/b:cancel");
        assert_int_equal(report_attempt(h, "p", "b", SM_OP_CANCEL, 1, SM_OUTCOME_SUCCESS), ASSENT_OK);
        assert_string_equal(due(h), "");
        stands(h, "p", "ROLLED_BACK");
    }
}

static void a_committed_saga_goes_back_with_the_one_around_it(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", STEP);
    begun(h, "q", "p", STEP);
    begun(h, "r", "q", BRANCH);
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    report(h, "q", "01", ACTION, SUCCESS);
    stands(h, "q", "COMMITTED");
    stands(h, "r", "PREPARING"); /* q may still turn */
    assert_int_equal(rollback(h, "q"), ASSENT_TXN_DECIDED);
    report(h, "p", "01", ACTION, FAILURE);
    assert_string_equal(due(h), "r/b:cancel");
    report(h, "r", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "q/01:compensate");
    sm_reincarnate(h);
    report(h, "q", "01", COMPENSATE, SUCCESS);
    assert_string_equal(due(h), "p/01:compensate");
    report(h, "p", "01", COMPENSATE, SUCCESS);
    stands(h, "p", "ROLLED_BACK");
    sm_advance(h, 8ll * 24 * 3600 * 1000); /* the timer of q's first end is no harm */
    ok(h, COMMAND_TICK, "{}");
    ok(h, COMMAND_TICK, "{}");
    stands(h, "p", "");
}

static void votes_below_a_committed_saga_wait_for_the_outermost(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", STEP);
    begun(h, "q", "p", STEP);
    begun(h, "r", "q", BRANCH);
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    report(h, "q", "01", ACTION, SUCCESS);
    report(h, "p", "01", ACTION, SUCCESS);
    stands(h, "p", "COMMITTED");
    stands(h, "r", "COMMITTING");
}

static void an_empty_saga_and_an_empty_child_go_back_at_once(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", "'steps':[]");
    begun(h, "r", "p", "");
    stands(h, "q", "COMMITTED");
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    stands(h, "q", "ROLLED_BACK");
    stands(h, "r", "ROLLED_BACK");
    assert_string_equal(due(h), "p/b:cancel");
}

static void a_child_given_up_holds_those_around_it_visibly(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p",
          "'branches':[{'branch':'b','confirmUrl':'http://p/c','cancelUrl':'http://p/x','retryLimit':1}]");
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    report(h, "q", "b", CANCEL, ERROR);
    stands(h, "q", "SUSPENDED");
    assert_string_equal(due(h), "");
    assert_int_equal(sm_ask(h, QUERY_TXN, "{'xid':'p'}"), ASSENT_OK);
    assert_int_equal(sm_uint(h, "nestedOpen"), 1);
    ok(h, COMMAND_TXN_RESUME, "{'xid':'q','move':'skip','branch':'b','by':'ann','reason':'by hand'}");
    stands(h, "q", "ROLLED_BACK");
    assert_string_equal(due(h), "p/b:cancel");
}

static void a_saga_suspended_over_its_children_goes_on_when_resumed(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "",
          "'steps':[{'actionUrl':'http://p/a'},{'actionUrl':'http://p/a'}],'onFailure':'suspend'");
    begun(h, "q", "p", BRANCH);
    report(h, "p", "01", ACTION, SUCCESS);
    report(h, "p", "02", ACTION, FAILURE);
    stands(h, "p", "SUSPENDED");
    assert_int_equal(begin(h, "r", "p", BRANCH), ASSENT_CONFLICT);
    ok(h, COMMAND_TXN_RESUME, "{'xid':'p','move':'skip','branch':'02','by':'ann','reason':'by hand'}");
    stands(h, "p", "RUNNING"); /* all its steps are done, its child is not */
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    stands(h, "p", "COMMITTED");
}

/* ---- operators */

#define ACT(h, xid, act)                                                                                     \
    ok(h, COMMAND_TXN_ACT, "{'xid':'" xid "','act':'" act "','by':'ann','reason':'look'}")

static void a_stopped_transaction_leaves_its_children_to_themselves(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    begun(h, "r", "p", BRANCH);
    begun(h, "s", "p", BRANCH);
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    assert_int_equal(commit(h, "s"), ASSENT_OK);
    ACT(h, "p", "force");
    assert_string_equal(sm_text(h, "status"), "STOPPED");
    assert_int_equal(sm_uint(h, "nestedCount"), 3); /* who forced it is told */
    stands(h, "q", "PREPARING");
    stands(h, "r", "ACTIVE");
    assert_int_equal(commit(h, "q"), ASSENT_OK); /* nothing is around it any more */
    stands(h, "q", "COMMITTING");
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    stands(h, "r", "COMMITTING");
    assert_int_equal(rollback(h, "s"), ASSENT_OK);
    stands(h, "s", "ROLLING_BACK");
}

static void a_stopped_child_holds_nobody(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", STEP);
    begun(h, "q", "p", BRANCH);
    begun(h, "r", "p", BRANCH);
    report(h, "p", "01", ACTION, SUCCESS);
    ACT(h, "q", "force");
    stands(h, "p", "RUNNING");
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    assert_string_equal(due(h), "r/b:cancel");
    ACT(h, "r", "force");
    assert_string_equal(due(h), "p/01:compensate");
}

static void a_pause_on_the_way_back_outlasts_the_children(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    ACT(h, "p", "pause");
    report(h, "q", "b", CANCEL, SUCCESS);
    stands(h, "q", "ROLLED_BACK");
    assert_string_equal(due(h), "");
    sm_reincarnate(h);
    ACT(h, "p", "resume");
    assert_string_equal(due(h), "p/b:cancel");
    ACT(h, "p", "pause");
    ACT(h, "p", "resume"); /* its calls begin once */
    assert_string_equal(due(h), "p/b:cancel");
    report(h, "p", "b", CANCEL, SUCCESS);
    stands(h, "p", "ROLLED_BACK");
}

static void an_action_is_not_repeated_on_the_way_back(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", STEP);
    begun(h, "q", "p", BRANCH);
    assert_int_equal(rollback(h, "p"), ASSENT_OK); /* its action was due: it waits for q, then goes back */
    ACT(h, "p", "pause");
    ACT(h, "p", "resume");
    assert_string_equal(due(h), "q/b:cancel");
    assert_int_equal(
        sm_run(h, COMMAND_TXN_ACT, "{'xid':'p','act':'skip','branch':'01','by':'ann','reason':'look'}"),
        ASSENT_INVALID);
    report(h, "q", "b", CANCEL, SUCCESS);
    assert_string_equal(due(h), "p/01:compensate");
}

static void what_is_paused_turns_back_with_the_one_around_it(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", STEP);
    begun(h, "r", "p", BRANCH);
    ACT(h, "q", "pause");
    ACT(h, "r", "pause");
    assert_int_equal(commit(h, "p"), ASSENT_CONFLICT);
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    assert_string_equal(due(h), "q/01:compensate r/b:cancel");
}

/* ---- begin and limits */

/* ---- what is told: "q:COMMITTED" of every status, with "!" where nothing follows */

static void on_event(void *data, const struct sm_event *e)
{
    char *said = data;
    size_t n = strlen(said);
    if (e->kind == SM_EVENT_STATUS && n < 900)
        snprintf(said + n, 1024 - n, "%s%.*s:%s%s%s", n > 0 ? " " : "", (int)e->xid.size,
                 (const char *)e->xid.base, e->status, e->final ? "!" : "", e->asked ? "?" : "");
}

static void a_nested_saga_has_the_last_word_when_nobody_can_turn_it(void **state)
{
    struct sm_harness *h = *state;
    char said[1024] = "";
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", STEP);
    begun(h, "r", "q", STEP);
    sm_on_event(h->sm, on_event, said);
    report(h, "r", "01", ACTION, SUCCESS);
    report(h, "q", "01", ACTION, SUCCESS);
    assert_string_equal(said, "r:COMMITTED q:COMMITTED");
    said[0] = 0;
    assert_int_equal(commit(h, "p"), ASSENT_OK);
    assert_string_equal(said, "p:COMMITTING q:COMMITTED! r:COMMITTED!");
    said[0] = 0;
    report(h, "p", "b", CONFIRM, SUCCESS);
    assert_string_equal(said, "p:COMMITTED!"); /* the others are not told again */
}

static void a_saga_that_may_turn_is_not_final(void **state)
{
    struct sm_harness *h = *state;
    char said[1024] = "";
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", STEP);
    sm_on_event(h->sm, on_event, said);
    report(h, "q", "01", ACTION, SUCCESS);
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    report(h, "q", "01", COMPENSATE, SUCCESS);
    report(h, "p", "b", CANCEL, SUCCESS);
    assert_string_equal(said, "q:COMMITTED p:ROLLING_BACK? q:ROLLING_BACK? q:ROLLED_BACK!? p:ROLLED_BACK!?");
}

static void what_a_stopped_transaction_left_committed_is_final(void **state)
{
    struct sm_harness *h = *state;
    char said[1024] = "";
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", STEP);
    begun(h, "r", "q", BRANCH);
    assert_int_equal(commit(h, "r"), ASSENT_OK);
    report(h, "q", "01", ACTION, SUCCESS);
    stands(h, "q", "COMMITTED");
    stands(h, "r", "PREPARING");
    sm_on_event(h->sm, on_event, said);
    ok(h, COMMAND_TXN_ACT, "{'xid':'p','act':'force','by':'ann','reason':'lost'}");
    assert_string_equal(said, "p:STOPPED! q:COMMITTED! r:COMMITTING");
}

/* ---- freezes */

static int freeze(struct sm_harness *h, const char *xid, const char *resource)
{
    char args[128];
    snprintf(args, sizeof(args), "{'xid':'%s','resource':'%s','waitMs':1000}", xid, resource);
    return sm_run(h, COMMAND_FREEZE, args);
}

static void nobody_waits_for_who_waits_for_it(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH); /* two siblings and one below */
    begun(h, "r", "p", BRANCH);
    begun(h, "s", "q", BRANCH);
    assert_int_equal(freeze(h, "p", "a"), ASSENT_OK);
    assert_int_equal(freeze(h, "q", "b"), ASSENT_OK);
    assert_int_equal(freeze(h, "s", "a"), ASSENT_DEADLOCK); /* an ancestor's */
    assert_int_equal(freeze(h, "p", "b"), ASSENT_DEADLOCK); /* a child's, kept to the own decision */
    assert_int_equal(freeze(h, "r", "b"), ASSENT_DEADLOCK); /* a sibling's: likewise */
    begun(h, "x", "", BRANCH);
    assert_int_equal(freeze(h, "x", "c"), ASSENT_OK);
    assert_int_equal(freeze(h, "x", "a"), ASSENT_OK); /* nobody waits for x: in line */
    assert_string_equal(sm_text(h, "status"), "WAITING");
    assert_int_equal(freeze(h, "s", "c"), ASSENT_DEADLOCK); /* x waits for p, p for q, q for s */
    begun(h, "y", "", BRANCH);
    assert_int_equal(freeze(h, "y", "b"), ASSENT_OK); /* a stranger waits */
    assert_string_equal(sm_text(h, "status"), "WAITING");
    assert_int_equal(rollback(h, "q"), ASSENT_OK);
    report(h, "s", "b", CANCEL, SUCCESS);
    report(h, "q", "b", CANCEL, SUCCESS);
    assert_int_equal(freeze(h, "p", "c"), ASSENT_DEADLOCK); /* x waits for p itself */
}

static void a_saga_lets_go_by_itself(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", STEP);
    begun(h, "r", "p", STEP);
    assert_int_equal(freeze(h, "q", "a"), ASSENT_OK);
    assert_int_equal(freeze(h, "r", "a"), ASSENT_OK);
    assert_string_equal(sm_text(h, "status"), "WAITING");
    report(h, "q", "01", ACTION, SUCCESS);
    ok(h, COMMAND_FREEZE, "{'xid':'r','resource':'a'}");
    assert_string_equal(sm_text(h, "status"), "GRANTED");
}

static void only_what_goes_forward_takes_children(void **state)
{
    struct sm_harness *h = *state;
    assert_int_equal(begin(h, "q", "p", BRANCH), ASSENT_TXN_NOT_FOUND);
    assert_int_equal(begin(h, "p", "p", BRANCH), ASSENT_TXN_NOT_FOUND);
    begun(h, "p", "", BRANCH);
    begun(h, "q", "p", BRANCH);
    assert_int_equal(begin(h, "q", "", BRANCH), ASSENT_EXISTS); /* inside is not outside */
    assert_int_equal(commit(h, "q"), ASSENT_OK);
    assert_int_equal(begin(h, "r", "q", BRANCH), ASSENT_TXN_DECIDED); /* it has voted */
    assert_int_equal(commit(h, "p"), ASSENT_OK);
    assert_int_equal(begin(h, "r", "p", STEP), ASSENT_TXN_DECIDED);
    begun(h, "q", "p", BRANCH); /* a repetition is answered all the same */
    assert_string_equal(sm_text(h, "status"), "COMMITTING");
    begun(h, "o", "", BRANCH);
    assert_int_equal(rollback(h, "o"), ASSENT_OK);
    assert_int_equal(begin(h, "r", "o", BRANCH), ASSENT_TXN_DECIDED);
    assert_int_equal(sm_run(h, COMMAND_MESSAGE_PREPARE, "{'xid':'m','parent':'p'}"), ASSENT_INVALID);
    stands(h, "r", "");
}

static void depth_and_number_have_limits(void **state)
{
    struct sm_harness *h = *state;
    char xid[16], parent[16] = "";
    for (int i = 0; i <= 16; i++) {
        snprintf(xid, sizeof(xid), "d%02d", i);
        begun(h, xid, parent, "");
        snprintf(parent, sizeof(parent), "d%02d", i);
    }
    assert_int_equal(begin(h, "deeper", parent, ""), ASSENT_LIMIT);
    for (int i = 16; i < 1000; i++) {
        snprintf(xid, sizeof(xid), "w%04d", i);
        begun(h, xid, i % 2 ? "d00" : "d05", i % 3 ? "" : "'steps':[]");
    }
    assert_int_equal(begin(h, "one-more", "d09", ""), ASSENT_LIMIT); /* counted at the outermost */
    assert_int_equal(sm_ask(h, QUERY_TXN_TREE, "{'xid':'d00'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "nodes"), 1000);
    assert_int_equal(sm_uint(h, "omitted"), 1);
    assert_int_equal(rollback(h, "d00"), ASSENT_OK); /* all of them, in one command */
    stands(h, "d16", "ROLLED_BACK");
    stands(h, "w0999", "ROLLED_BACK");
    stands(h, "d00", "ROLLED_BACK");
}

static void a_tree_shows_parents_before_children(void **state)
{
    struct sm_harness *h = *state;
    begun(h, "p", "", "");
    begun(h, "q", "p", "");
    begun(h, "s", "p", STEP);
    begun(h, "r", "q", "");
    assert_int_equal(sm_ask(h, QUERY_TXN_TREE, "{'xid':'p'}"), ASSENT_OK);
    static const struct {
        const char *xid, *parent;
        unsigned depth;
    } rows[] = {{"p", "", 0}, {"q", "p", 1}, {"r", "q", 2}, {"s", "p", 1}};
    assert_int_equal(sm_count(h, "nodes"), 4);
    for (unsigned i = 0; i < 4; i++) {
        char path[40];
        snprintf(path, sizeof(path), "nodes.%u.xid", i);
        assert_string_equal(sm_text(h, path), rows[i].xid);
        snprintf(path, sizeof(path), "nodes.%u.parent", i);
        assert_string_equal(sm_text(h, path), rows[i].parent);
        snprintf(path, sizeof(path), "nodes.%u.depth", i);
        assert_int_equal(sm_uint(h, path), rows[i].depth);
    }
    assert_int_equal(sm_ask(h, QUERY_TXN_TREE, "{'xid':'q'}"), ASSENT_OK);
    assert_string_equal(sm_text(h, "root"), "p");
    assert_int_equal(sm_count(h, "nodes"), 2);
    assert_int_equal(sm_ask(h, QUERY_TXN_TREE, "{'xid':'none'}"), ASSENT_TXN_NOT_FOUND);
}

static void children_stay_until_the_outermost_has_ended(void **state)
{
    struct sm_harness *h = *state;
    ok(h, COMMAND_TXN_BEGIN, "{'xid':'p','timeoutMs':0}");
    begun(h, "q", "p", STEP);
    report(h, "q", "01", ACTION, SUCCESS);
    for (int i = 0; i < 3; i++) {
        sm_advance(h, 8ll * 24 * 3600 * 1000);
        ok(h, COMMAND_TICK, "{}");
        stands(h, "q", "COMMITTED"); /* it may still have to go back */
    }
    assert_int_equal(rollback(h, "p"), ASSENT_OK);
    assert_string_equal(due(h), "q/01:compensate");
    report(h, "q", "01", COMPENSATE, SUCCESS);
    stands(h, "p", "ROLLED_BACK");
    for (int i = 0; i < 2; i++) {
        sm_advance(h, 8ll * 24 * 3600 * 1000);
        ok(h, COMMAND_TICK, "{}");
    }
    stands(h, "p", "");
    stands(h, "q", "");
    sm_reincarnate(h);
    begun(h, "p", "", ""); /* nothing of it is left */
    assert_int_equal(sm_ask(h, QUERY_TXN_TREE, "{'xid':'p'}"), ASSENT_OK);
    assert_int_equal(sm_count(h, "nodes"), 1);
}

/* ---- random trees */

#define NODES 12

struct model {
    int parent[NODES]; /* -1: none */
    bool saga[NODES];
    char real[NODES][16]; /* statuses, SUSPENDED among them */
    int n;
};

/* Read all statuses; what must hold of any tree at any time. */
static void check(struct sm_harness *h, struct model *m, char now[NODES][16])
{
    for (int i = 0; i < m->n; i++) {
        char xid[8];
        snprintf(xid, sizeof(xid), "t%02u", (unsigned)i % 100);
        snprintf(m->real[i], sizeof(m->real[0]), "%s", status(h, xid));
        snprintf(now[i], sizeof(now[0]), "%s", sm_text(h, "stands")); /* a paused one stands where it was */
    }
    for (int i = 1; i < m->n; i++) {
        const char *p = now[m->parent[i]], *c = now[i];
        bool undecided = strcmp(c, "ACTIVE") == 0 || strcmp(c, "RUNNING") == 0;
        bool committed = strcmp(p, "COMMITTED") == 0 || strcmp(p, "COMMITTING") == 0;
        assert_false(committed && undecided);
        if (strcmp(p, "ROLLED_BACK") == 0)
            assert_string_equal(c, "ROLLED_BACK");
        if (strcmp(p, "ROLLING_BACK") == 0)
            assert_true(strcmp(c, "ROLLING_BACK") == 0 || strcmp(c, "ROLLED_BACK") == 0);
        if (committed && !m->saga[m->parent[i]])
            assert_true(strcmp(c, "PREPARING") != 0);
        if (!m->saga[i] && strcmp(c, "COMMITTED") == 0)
            assert_true(committed);
    }
}

/* No child is still going back when its parent's own call is due to undo something. */
static void check_call(const struct model *m, char now[NODES][16], int node, enum sm_op op)
{
    if (op != SM_OP_CANCEL && op != SM_OP_COMPENSATE)
        return;
    for (int i = 1; i < m->n; i++)
        if (m->parent[i] == node)
            assert_string_equal(now[i], "ROLLED_BACK");
}

static int act(struct sm_harness *h, const char *xid, const char *what)
{
    char args[256];
    snprintf(args, sizeof(args), "{'xid':'%s','act':'%s','by':'ann','reason':'look'}", xid, what);
    return sm_run(h, COMMAND_TXN_ACT, args);
}

static void random_command(struct sm_harness *h, struct model *m, unsigned *seed, char now[NODES][16])
{
    char xid[8], parent[8], branch[8];
    int node = (int)((unsigned)rand_r(seed) % (unsigned)m->n), dice = rand_r(seed) % 20;
    snprintf(xid, sizeof(xid), "t%02u", (unsigned)node % 100);
    if (dice < 6 && m->n < NODES) {
        m->saga[m->n] = rand_r(seed) % 2;
        m->parent[m->n] = node;
        snprintf(parent, sizeof(parent), "t%02u", (unsigned)node % 100);
        snprintf(xid, sizeof(xid), "t%02u", (unsigned)m->n % 100);
        bool forward = strcmp(m->real[node], "ACTIVE") == 0 || strcmp(m->real[node], "RUNNING") == 0;
        int code = begin(h, xid, parent, m->saga[m->n] ? STEP : BRANCH);
        bool paused = strcmp(m->real[node], "SUSPENDED") == 0;
        assert_int_equal(code, forward ? ASSENT_OK : paused ? ASSENT_CONFLICT : ASSENT_TXN_DECIDED);
        m->n += forward;
    } else if (dice < 9) {
        commit(h, xid);
    } else if (dice < 10) {
        rollback(h, xid);
    } else if (dice < 12) {
        act(h, xid, strcmp(m->real[node], "SUSPENDED") == 0 ? "resume" : "pause");
    } else {
        struct sm_work_cursor c = {0};
        struct sm_work w, chosen = {0};
        unsigned seen = 0;
        char name[8] = "";
        sm_work_begin(h->sm, &c);
        while (sm_work_next(h->sm, &c, INT64_MAX - 1, &w)) {
            int at = atoi((const char *)w.xid.base + 1); /* "t07" and a NUL in the key */
            check_call(m, now, at, w.op);
            if ((unsigned)rand_r(seed) % ++seen != 0)
                continue;
            chosen = w;
            snprintf(name, sizeof(name), "%.*s", (int)w.xid.size, (const char *)w.xid.base);
            snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
        }
        sm_work_end(h->sm, &c);
        if (seen == 0)
            return;
        int answer = rand_r(seed) % 8;
        assert_int_equal(report_attempt(h, name, branch, chosen.op, chosen.attempt,
                                        answer < 5   ? SM_OUTCOME_SUCCESS
                                        : answer < 7 ? SM_OUTCOME_ERROR
                                                     : SM_OUTCOME_FAILURE),
                         ASSENT_OK);
    }
}

static bool ended(const char *s)
{
    return strcmp(s, "COMMITTED") == 0 || strcmp(s, "ROLLED_BACK") == 0;
}

static uint64_t walk(unsigned seed, bool restart)
{
    struct sm_harness h;
    struct model m = {.n = 1, .parent = {-1}};
    char now[NODES][16], args[128];
    unsigned dice = seed;
    sm_harness_open(&h);
    m.saga[0] = rand_r(&dice) % 2;
    snprintf(args, sizeof(args), "'timeoutMs':0,%s", BRANCH);
    begun(&h, "t00", "", m.saga[0] ? STEP : args);
    check(&h, &m, now);
    for (int i = 0; i < 120; i++) {
        random_command(&h, &m, &dice, now);
        check(&h, &m, now);
        if (restart && i % 16 == 0)
            sm_reincarnate(&h);
    }
    for (int i = 0; i < m.n; i++) {
        snprintf(args, sizeof(args), "t%02u", (unsigned)i % 100);
        act(&h, args, "resume"); /* refused where there is nothing to resume */
    }
    check(&h, &m, now);
    for (int guard = 0; !ended(now[0]) || guard < 1;
         guard++) { /* deadlines and answers bring every tree to its end */
        assert_true(guard < 2000);
        if (strcmp(now[0], "ACTIVE") == 0 && commit(&h, "t00") != ASSENT_OK) {
            sm_advance(&h, 61000);
            ok(&h, COMMAND_TICK, "{}");
        }
        if (strcmp(now[0], "RUNNING") == 0 && guard % 8 == 7) {
            sm_advance(&h, 61000);
            ok(&h, COMMAND_TICK, "{}");
        }
        struct sm_work_cursor c = {0};
        struct sm_work w;
        char name[8] = "", branch[8] = "";
        sm_work_begin(h.sm, &c);
        bool there = sm_work_next(h.sm, &c, INT64_MAX - 1, &w);
        if (there) {
            snprintf(name, sizeof(name), "%.*s", (int)w.xid.size, (const char *)w.xid.base);
            snprintf(branch, sizeof(branch), "%.*s", (int)w.branch.size, (const char *)w.branch.base);
        }
        sm_work_end(h.sm, &c);
        if (there)
            assert_int_equal(report_attempt(&h, name, branch, w.op, w.attempt, SM_OUTCOME_SUCCESS),
                             ASSENT_OK);
        check(&h, &m, now);
    }
    uint64_t digest = sm_digest(h.sm);
    sm_harness_close(&h);
    return digest;
}

static void random_trees_end_and_replays_agree(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 150; seed++) {
        print_message("seed %u\n", seed);
        assert_true(walk(seed, false) == walk(seed, seed % 10 == 0));
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, sm_harness_setup, sm_harness_teardown)
    static const struct CMUnitTest tests[] = {
        T(a_vote_waits_for_the_transaction_around_it),
        T(a_commit_goes_down_the_tree),
        T(nobody_commits_over_an_undecided_child),
        T(a_child_that_rolled_back_binds_nobody),
        T(a_saga_waits_for_its_children_in_its_last_step),
        T(tries_wait_for_children_too),
        T(nested_tries_vote_when_they_are_done),
        T(the_leaves_are_undone_first),
        T(who_waited_for_children_is_called_from_then_on),
        T(a_committed_saga_goes_back_with_the_one_around_it),
        T(votes_below_a_committed_saga_wait_for_the_outermost),
        T(an_empty_saga_and_an_empty_child_go_back_at_once),
        T(a_child_given_up_holds_those_around_it_visibly),
        T(a_saga_suspended_over_its_children_goes_on_when_resumed),
        T(a_stopped_transaction_leaves_its_children_to_themselves),
        T(a_stopped_child_holds_nobody),
        T(a_pause_on_the_way_back_outlasts_the_children),
        T(an_action_is_not_repeated_on_the_way_back),
        T(what_is_paused_turns_back_with_the_one_around_it),
        T(a_nested_saga_has_the_last_word_when_nobody_can_turn_it),
        T(a_saga_that_may_turn_is_not_final),
        T(what_a_stopped_transaction_left_committed_is_final),
        T(nobody_waits_for_who_waits_for_it),
        T(a_saga_lets_go_by_itself),
        T(only_what_goes_forward_takes_children),
        T(depth_and_number_have_limits),
        T(a_tree_shows_parents_before_children),
        T(children_stay_until_the_outermost_has_ended),
        cmocka_unit_test(random_trees_end_and_replays_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The checkers of transactions with participants pass good histories and name what is wrong with bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workload_rows.h"

extern const struct workload workload_decide, workload_saga, workload_status, workload_deadline,
    workload_orphan;

#define STATUS(process, status)                                                                              \
#process " invoke status @\"t\"; " #process " ok status @\"t\" \"" status "\";"
#define BEGIN(f, n)        "0 invoke " f " @\"t\" " n "; 0 ok " f " @\"t\" \"ACTIVE\";"
#define DECIDE(f, status)  "0 invoke " f " @\"t\"; 0 ok " f " @\"t\" \"" status "\";"
#define END(status, calls) STATUS(0, status) "0 invoke effects @\"all\";" EFFECTS(calls, "")
#define BOTH(op)           R("b0", op, "done") "," R("b1", op, "done")

/* The status of transaction 1: what several workers asked and were told. */
#define S(text)              "0 invoke begin @1 0; 0 ok begin @1 \"ACTIVE\";" text
#define ASK(process, status) #process " invoke status @1; " #process " ok status @1 \"" status "\";"

#define NEAR(op, what)     R("near", op, what)
#define FAR(op, what)      R("far", op, what)
#define STUBBORN(op, what) R("stubborn", op, what)
#define ORPHAN(f, n, status, calls, near, far)                                                               \
    BEGIN(f, n)                                                                                              \
    "0 invoke return @\"all\" 60; 0 ok return @\"all\" 60;" STATUS(                                          \
        0, status) "0 invoke effects @\"all\";" EFFECTS(calls, ",\"reserved\":[" #near "," #far "]")

/* Events of rows are a nanosecond apart: a limit of 0 ms is over at once, one of 3000 ms never. */
static const struct workload_row rows[] = {
    {&workload_decide, VALID, "",
     BEGIN("begin", "2") DECIDE("commit", "COMMITTING") END("COMMITTED", BOTH("confirm"))},
    {&workload_decide, VALID, "",
     BEGIN("begin", "0") DECIDE("rollback", "ROLLED_BACK") END("ROLLED_BACK", "")},
    {&workload_decide, INVALID, "another cancelled",
     BEGIN("begin", "2") DECIDE("commit", "COMMITTING")
         END("COMMITTED", R("b0", "confirm", "done") "," R("b1", "cancel", "done"))},
    {&workload_decide, INVALID, "two tokens",
     BEGIN("begin", "2") DECIDE("commit", "COMMITTING")
         END("COMMITTED", R("b0", "confirm", "done") ",[\"t\",\"b1\",\"confirm\",6,\"done\"]")},
    {&workload_decide, INVALID, "b1 was not confirmed",
     BEGIN("begin", "2") DECIDE("commit", "COMMITTING") END("COMMITTED", R("b0", "confirm", "done"))},
    {&workload_decide, INVALID, "b0 was not cancelled",
     BEGIN("begin", "1") DECIDE("rollback", "ROLLING_BACK") END("ROLLED_BACK", "")},
    {&workload_decide, INVALID, "seen decided one way",
     BEGIN("begin", "0") DECIDE("commit", "COMMITTED") STATUS(1, "ROLLED_BACK") END("COMMITTED", "")},
    {&workload_decide, INVALID, "asked after that",
     BEGIN("begin", "0") DECIDE("rollback", "ROLLING_BACK") STATUS(1, "ACTIVE") END("ROLLED_BACK", "")},
    {&workload_decide, VALID, "", /* who asked before may be told of the past */
     BEGIN("begin", "0") "1 invoke status @\"t\";" DECIDE(
         "rollback", "ROLLING_BACK") "1 ok status @\"t\" \"ACTIVE\";" END("ROLLED_BACK", "")},
    {&workload_decide, INVALID, "is not there", BEGIN("begin", "0") STATUS(1, "none") END("ROLLED_BACK", "")},
    {&workload_decide, VALID, "", STATUS(1, "none") BEGIN("begin", "0") END("ROLLED_BACK", "")},
    {&workload_decide, INVALID, "did not end", BEGIN("begin", "0") END("ACTIVE", "")},
    {&workload_decide, INVALID, "nobody began",
     "0 invoke effects @\"all\";" EFFECTS(R("b0", "confirm", "done"), "")},
    {&workload_decide, INVALID, "j1 was not confirmed",
     BEGIN("begin", "0") "1 invoke join @\"t\" [\"j1\"]; 1 ok join @\"t\" [\"j1\"];" END("COMMITTED", "")},
    {&workload_decide, INVALID, "j1 was refused as a branch, and called",
     BEGIN("begin", "0") "1 invoke join @\"t\" [\"j1\"]; 1 fail join @\"t\" [\"j1\"];" END(
         "COMMITTED", R("j1", "confirm", "done"))},
    {&workload_decide, VALID, "", BEGIN("run", "2") END("COMMITTED", BOTH("try") "," BOTH("confirm"))},
    {&workload_decide, INVALID, "the try of b1 did not succeed",
     BEGIN("run", "2")
         END("COMMITTED", R("b0", "try", "done") "," R("b1", "try", "refused") "," BOTH("confirm"))},
    {&workload_decide, INVALID, "b0 was not cancelled",
     BEGIN("run", "2") END(
         "ROLLED_BACK", R("b0", "try", "done") "," R("b1", "try", "refused") "," R("b1", "cancel", "null"))},

    {&workload_saga, VALID, "", /* 0 and 2 at once */
     TXN("saga", "5", "ROLLED_BACK") EFFECTS(
         R("b2", "action", "done") "," R("b0", "action", "done") "," R("b3", "action", "refused") "," R(
             "b3", "compensate", "null") "," R("b0", "compensate", "done") "," R("b2", "compensate", "done"),
         "")},
    {&workload_saga, INVALID, "step 4 took effect before step 3",
     TXN("saga", "5", "COMMITTED")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "done") "," R("b2", "action", "done") "," R(
                     "b4", "action", "done") "," R("b3", "action", "done"),
                 "")},
    {&workload_saga, INVALID, "step 0 was compensated first, and step 1",
     TXN("saga", "5", "ROLLED_BACK")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "done") "," R(
                     "b0", "compensate", "done") "," R("b1", "compensate", "done"),
                 "")},
    {&workload_saga, INVALID, "steps stand",
     TXN("saga", "5", "ROLLED_BACK") EFFECTS(R("b0", "action", "done"), "")},
    {&workload_saga, INVALID, "steps are not",
     TXN("saga", "5", "COMMITTED") EFFECTS(R("b0", "action", "done"), "")},

    {&workload_status, VALID, "",
     ASK(0, "none") S(ASK(1, "ACTIVE") "0 invoke commit @1; 0 ok commit @1 \"COMMITTING\";" ASK(
         1, "COMMITTING") ASK(1, "COMMITTED") "0 invoke rollback @1; 0 ok rollback @1 \"TXN_DECIDED\";")},
    {&workload_status, VALID, "", /* the commit nobody heard of took effect, late */
     S("0 invoke commit @1; 0 info commit @1;" ASK(1, "ACTIVE") ASK(1, "COMMITTED"))},
    {&workload_status, INVALID, "", S(ASK(1, "ROLLING_BACK"))}, /* it has no time limit */
    {&workload_status, VALID, "", "0 invoke begin @1 9; 0 ok begin @1 \"ACTIVE\";" ASK(1, "ROLLED_BACK")},
    {&workload_status, INVALID, "", S(ASK(1, "none"))},
    {&workload_status, INVALID, "",
     S("0 invoke commit @1; 0 ok commit @1 \"COMMITTING\";" ASK(1, "COMMITTED") ASK(2, "COMMITTING"))},
    {&workload_status, INVALID, "", S("0 invoke commit @1; 0 ok commit @1 \"COMMITTING\";" ASK(1, "ACTIVE"))},
    {&workload_status, INVALID, "",
     S("0 invoke commit @1; 0 ok commit @1 \"COMMITTING\"; 1 invoke rollback @1; 1 ok rollback @1 "
       "\"ROLLING_BACK\";")},
    {&workload_status, INVALID, "", S("0 invoke commit @1; 0 ok commit @1 \"TXN_DECIDED\";")},
    {&workload_status, INVALID, "", S("0 invoke commit @1; 0 ok commit @1 \"TXN_NOT_FOUND\";")},
    {&workload_status, INVALID, "", ASK(1, "ACTIVE")}, /* nobody began it */

    {&workload_deadline, VALID, "",
     BEGIN("begin", "3000") DECIDE("commit", "COMMITTING") END("COMMITTED", R("b0", "confirm", "done"))},
    {&workload_deadline, INVALID, "before its time of 3000 ms could",
     BEGIN("begin", "3000") END("ROLLED_BACK", R("b0", "cancel", "done"))},
    {&workload_deadline, INVALID, "before its time of 3000 ms could",
     BEGIN("begin", "3000") DECIDE("commit", "ROLLING_BACK") END("ROLLED_BACK", R("b0", "cancel", "done"))},
    {&workload_deadline, VALID, "", /* the clocks' error */
     BEGIN("begin", "400") END("ROLLED_BACK", R("b0", "cancel", "done"))},
    {&workload_deadline, INVALID, "seen decided one way",
     BEGIN("begin", "400") DECIDE("commit", "COMMITTING") END("ROLLED_BACK", R("b0", "cancel", "done"))},
    {&workload_deadline, INVALID, "got a cancel",
     BEGIN("begin", "3000") DECIDE("commit", "COMMITTING") END("COMMITTED", R("b0", "cancel", "done"))},
    {&workload_deadline, VALID, "", /* a clock was set: the log's time may run at twice its pace */
     "-1 info clock;" BEGIN("begin", "1000") END("ROLLED_BACK", R("b0", "cancel", "done"))},
    {&workload_deadline, INVALID, "could be over",
     "-1 info clock;" BEGIN("begin", "1100") END("ROLLED_BACK", R("b0", "cancel", "done"))},

    {&workload_orphan, VALID, "",
     ORPHAN("decide", "2", "COMMITTED",
            NEAR("try", "done") "," FAR("try", "done") "," NEAR("confirm", "done") "," FAR("confirm", "done"),
            0, 0)},
    {&workload_orphan, VALID, "",
     ORPHAN("vanish", "2", "ROLLED_BACK",
            NEAR("try", "done") "," NEAR("cancel", "done") "," FAR("cancel", "null"), 0, 0)},
    {&workload_orphan, INVALID, "its try at near stands",
     ORPHAN("vanish", "2", "ROLLED_BACK", NEAR("try", "done") "," FAR("cancel", "null"), 1, 0)},
    {&workload_orphan, INVALID, "far was not confirmed",
     ORPHAN("decide", "2", "COMMITTED", NEAR("try", "done") "," NEAR("confirm", "done"), 0, 0)},
    {&workload_orphan, INVALID, "far was confirmed",
     ORPHAN("decide", "2", "ROLLED_BACK",
            NEAR("try", "done") "," NEAR("cancel", "done") "," FAR("try", "done") "," FAR("confirm", "done"),
            0, 0)},
    {&workload_orphan, INVALID, "participant far has 1 reserved",
     ORPHAN("vanish-early", "2", "ROLLED_BACK", NEAR("cancel", "null") "," FAR("cancel", "null"), 0, 1)},
    {&workload_orphan, INVALID, "has not heard of it",
     BEGIN("decide", "2") STATUS(1, "COMMITTED") "0 invoke effects @\"all\";" EFFECTS(NEAR("confirm", "done"),
                                                                                      ",\"reserved\":[0,0]")},
    {&workload_orphan, INVALID,
     "is not there", /* nobody may forget it while a participant has not heard of it */
     BEGIN("decide", "2") STATUS(1, "none") "0 invoke effects @\"all\";" EFFECTS("", ",\"reserved\":[0,0]")},
    {&workload_orphan, VALID, "",
     ORPHAN("stubborn", "1", "SUSPENDED",
            STUBBORN("try", "done") "," STUBBORN("cancel", "done") "," STUBBORN("confirm", "refused"), 0, 0)},
    {&workload_orphan, INVALID, "had cancelled by itself",
     ORPHAN("stubborn", "1", "COMMITTED",
            STUBBORN("try", "done") "," STUBBORN("cancel", "done") "," STUBBORN("confirm", "refused"), 0, 0)},
    {&workload_orphan, INVALID, "did not end",
     ORPHAN("stubborn", "1", "COMMITTING",
            STUBBORN("try", "done") "," STUBBORN("cancel", "done") "," STUBBORN("confirm", "refused"), 0, 0)},
};

static void what_is_wrong_is_found(void **state)
{
    (void)state;
    assert_int_equal(workload_rows_wrong(rows, sizeof rows / sizeof rows[0]), 0);
}

/* Rows know no long times: one is stretched by hand. */
static void what_stays_open_too_long_is_found(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct history h;
        struct verdict v;
        rows_parse(BEGIN("begin", "1000") STATUS(1, "ACTIVE") END("ROLLED_BACK", R("b0", "cancel", "done")),
                   &h);
        for (size_t i = 2; i < h.n; i++)
            h.ops[i].time_ns += UINT64_C(1000000000) * (late ? 10 : 9);
        workload_deadline.check(NULL, &h, &v);
        assert_int_equal(v.valid, late ? INVALID : VALID);
        history_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_wrong_is_found),
                                       cmocka_unit_test(what_stays_open_too_long_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

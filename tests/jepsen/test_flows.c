/* The checkers of trees, workflows and late answers pass good histories and name what is wrong with bad ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workload_rows.h"

extern const struct workload workload_nested, workload_workflow, workload_async;

#define ALL(records, rest) "0 invoke effects @\"all\";" EFFECTS(records, rest)

/* Trees of "t", "t.a" in it, "t.b" in that, and the saga "t.s". */
#define X(xid, branch, op) "[\"" xid "\",\"" branch "\",\"" op "\",5,\"done\"]"
#define BOTH(xid, op)      X(xid, "b0", op) "," X(xid, "b1", op)
#define PLANT(begun, voted, end)                                                                             \
    "0 invoke plant @\"t\" [15,15,\"commit\"]; 0 ok plant @\"t\" [" begun "," voted ",\"" end "\"];"
#define TREE(outer, a, b, s)                                                                                 \
    "1 invoke tree @\"t\"; 1 ok tree @\"t\" [\"" outer "\",\"" a "\",\"" b "\",\"" s "\"];"

/* Workflows: what a run was told, what it recorded. */
#define RUN(process, seen, recorded)                                                                         \
#process " invoke run @\"t\" 1; " #process " ok run @\"t\" [{" seen "},{" recorded "},\"\"];"
#define DID(step)   "\"" step "/action\":\"SUCCEEDED\""
#define STOOD(step) R(step, "action", "done")
#define IS(status)  "1 invoke status @\"t\"; 1 ok status @\"t\" \"" status "\";"
#define FOUR        DID("s0") "," DID("s1") "," DID("s2") "," DID("s3")
#define FOUR_STOOD  STOOD("s0") "," STOOD("s1") "," STOOD("s2") "," STOOD("s3")

/* Sagas with late answers. */
#define SAGA "0 invoke saga @\"t\" 3; 0 ok saga @\"t\" \"RUNNING\";"
#define ACK(step, what)                                                                                      \
    "0 invoke ack @\"t\" [\"" step "\",\"" what "\"]; 0 ok ack @\"t\" [\"" step "\",\"" what "\"];"
#define MARK(step, what) R(step, what, "done")
#define THREE            STOOD("b0") "," STOOD("b1") "," MARK("b1", "success") "," STOOD("b2") "," MARK("b2", "success")

static const struct workload_row rows[] = {
    {&workload_nested, VALID, "",
     PLANT("15", "6", "COMMITTING") TREE("COMMITTED", "COMMITTED", "COMMITTED", "COMMITTED") ALL(
         BOTH("t", "confirm") "," BOTH("t.a", "confirm") "," BOTH("t.b", "confirm") "," BOTH("t.s", "action"),
         "")},
    {&workload_nested, VALID, "", /* a child may roll back alone */
     PLANT("3", "0", "COMMITTING") TREE("COMMITTED", "ROLLED_BACK", "", "")
         ALL(BOTH("t.a", "cancel") "," BOTH("t", "confirm"), "")},
    {&workload_nested, INVALID, "t.a is COMMITTING inside one that is ACTIVE",
     PLANT("3", "2", "") TREE("ACTIVE", "COMMITTING", "", "") TREE("ROLLED_BACK", "ROLLED_BACK", "", "")
         ALL(BOTH("t.a", "cancel") "," BOTH("t", "cancel"), "")},
    {&workload_nested, INVALID, "t.a is ACTIVE, and the one around it",
     PLANT("3", "0", "") TREE("COMMITTING", "ACTIVE", "", "") TREE("COMMITTED", "ROLLED_BACK", "", "")
         ALL(BOTH("t.a", "cancel") "," BOTH("t", "confirm"), "")},
    {&workload_nested, INVALID, "t.s is COMMITTED inside one that is ROLLED_BACK",
     PLANT("9", "0", "ROLLING_BACK") TREE("ROLLED_BACK", "", "", "COMMITTED")
         ALL(BOTH("t.s", "action") "," BOTH("t", "cancel"), "")},
    {&workload_nested, INVALID, "t.a was taken back after the one around it",
     PLANT("3", "0", "ROLLING_BACK") TREE("ROLLED_BACK", "ROLLED_BACK", "", "")
         ALL(BOTH("t", "cancel") "," BOTH("t.a", "cancel"), "")},
    {&workload_nested, INVALID, "t.a voted, the one around it is COMMITTED, and it is not",
     PLANT("3", "2", "COMMITTING") TREE("COMMITTED", "ROLLED_BACK", "", "")
         ALL(BOTH("t.a", "cancel") "," BOTH("t", "confirm"), "")},
    {&workload_nested, INVALID, "did not end, it is ROLLING_BACK",
     PLANT("7", "0", "ROLLING_BACK") TREE("ROLLING_BACK", "ROLLING_BACK", "ACTIVE", "") ALL("", "")},
    {&workload_nested, INVALID, "t.a was begun, and is not in the tree",
     PLANT("3", "0", "ROLLING_BACK") TREE("ROLLED_BACK", "", "", "") ALL(BOTH("t", "cancel"), "")},
    {&workload_nested, INVALID, "a branch stands",
     PLANT("9", "0", "ROLLING_BACK") TREE("ROLLED_BACK", "", "", "ROLLED_BACK")
         ALL(BOTH("t.s", "action") "," BOTH("t", "cancel"), "")},
    {&workload_nested, INVALID, "has changed",
     PLANT("1", "0", "ROLLED_BACK") TREE("ROLLED_BACK", "", "", "") TREE("ROLLING_BACK", "", "", "")
         ALL(BOTH("t", "cancel"), "")},
    {&workload_nested, INVALID, "never found", PLANT("1", "0", "ROLLED_BACK") ALL("", "")},

    {&workload_workflow, VALID, "", RUN(0, "", FOUR) IS("COMMITTED") ALL(FOUR_STOOD, ",\"callbacks\":[]")},
    {&workload_workflow, VALID, "",
     RUN(0, "", DID("s0")) RUN(2, DID("s0"), DID("s1") "," DID("s2") "," DID("s3")) IS("COMMITTED")
         ALL(FOUR_STOOD, ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "a later run was not told",
     RUN(0, "", DID("s0")) RUN(2, "", "") IS("COMMITTED") ALL(FOUR_STOOD, ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "recorded twice",
     RUN(0, "", FOUR) IS("COMMITTED") ALL(FOUR_STOOD, ",\"callbacks\":[[\"t\",{},{" DID("s0") "}]]")},
    {&workload_workflow, INVALID, "and as",
     RUN(0, "", DID("s0")) RUN(2, "\"s0/action\":\"FAILED\"", "") IS("ROLLED_BACK")
         ALL(R("s0", "compensate", "done"), ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "not all done",
     RUN(0, "", DID("s0")) IS("COMMITTED") ALL(STOOD("s0"), ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "steps stand",
     RUN(0, "", DID("s0")) IS("ROLLED_BACK") ALL(STOOD("s0"), ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "step 1 was taken back after step 0",
     RUN(0, "", DID("s0")) IS("ROLLED_BACK")
         ALL(STOOD("s0") "," STOOD("s1") "," R("s0", "compensate", "done") "," R("s1", "compensate", "done"),
             ",\"callbacks\":[]")},
    {&workload_workflow, INVALID, "did not end",
     RUN(0, "", DID("s0")) IS("ACTIVE") ALL(STOOD("s0"), ",\"callbacks\":[]")},

    {&workload_async, VALID, "",
     SAGA ACK("b1", "success") ACK("b2", "success") IS("COMMITTED") ALL(THREE, "")},
    {&workload_async, VALID, "",
     SAGA ACK("b1", "failure") IS("ROLLED_BACK")
         ALL(STOOD("b0") "," R("b1", "action", "refused") "," MARK("b1", "failure") "," R(
                 "b1", "compensate", "null") "," R("b0", "compensate", "done"),
             "")},
    {&workload_async, INVALID, "both were taken",
     SAGA ACK("b1", "success") ACK("b1", "failure") ACK("b2", "success") IS("COMMITTED") ALL(THREE, "")},
    {&workload_async, INVALID, "was acknowledged",
     SAGA ACK("b1", "success") IS("COMMITTED")
         ALL(STOOD("b0") "," STOOD("b1") "," STOOD("b2") "," MARK("b1", "success") "," MARK("b2", "success"),
             "")},
    {&workload_async, INVALID, "nobody acknowledged a step",
     SAGA IS("COMMITTED") ALL(STOOD("b0") "," STOOD("b1") "," MARK("b1", "success") "," STOOD("b2"), "")},
    {&workload_async, INVALID, "against an acknowledged failure",
     SAGA ACK("b2", "failure") IS("COMMITTED") ALL(THREE, "")},
    {&workload_async, INVALID, "though its last step was acknowledged",
     SAGA ACK("b1", "success") ACK("b2", "success") IS("ROLLED_BACK")
         ALL(THREE "," R("b2", "compensate", "done") "," R("b1", "compensate",
                                                           "done") "," R("b0", "compensate", "done"),
             "")},
    {&workload_async, INVALID, "steps stand", SAGA IS("ROLLED_BACK") ALL(STOOD("b0"), "")},
};

#ifdef JEPSEN_DATABASES
extern const struct workload workload_xa;

#define REST ",100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100,100"
#define HAS(pq, maria, stand, prepared, which)                                                               \
    ",\"postgresql\":{\"balances\":[" pq REST "],\"stand\":[" stand "],\"prepared\":[]},"                    \
    "\"mariadb\":{\"balances\":[" maria REST "],\"stand\":[" which "],\"prepared\":[" prepared "]}"
#define XA(status, state)                                                                                    \
    "0 invoke transfer @\"t\" [0,0,7]; 0 ok transfer @\"t\" \"ACTIVE\";" IS(status) ALL("", state)

static const struct workload_row databases[] = {
    {&workload_xa, VALID, "", XA("COMMITTED", HAS("93", "107", "\"t\"", "", "\"t\""))},
    {&workload_xa, VALID, "", XA("ROLLED_BACK", HAS("100", "100", "", "", ""))},
    {&workload_xa, INVALID, "does not stand in mariadb", XA("COMMITTED", HAS("93", "100", "\"t\"", "", ""))},
    {&workload_xa, INVALID, "stands in postgresql", XA("ROLLED_BACK", HAS("93", "100", "\"t\"", "", ""))},
    {&workload_xa, INVALID, "still prepared in mariadb",
     XA("ROLLED_BACK", HAS("100", "100", "", "\"t\"", ""))},
    {&workload_xa, INVALID, "nobody knows of it", XA("ROLLED_BACK", HAS("100", "100", "", "\"u\"", ""))},
    {&workload_xa, INVALID, "account 0 of mariadb has 108",
     XA("COMMITTED", HAS("93", "108", "\"t\"", "", "\"t\""))},
    {&workload_xa, UNKNOWN, "did not say", XA("ROLLED_BACK", ",\"postgresql\":null,\"mariadb\":null")},
};

static void what_is_wrong_with_databases_is_found(void **state)
{
    (void)state;
    assert_int_equal(workload_rows_wrong(databases, sizeof databases / sizeof databases[0]), 0);
}
#endif

static void what_is_wrong_is_found(void **state)
{
    (void)state;
    assert_int_equal(workload_rows_wrong(rows, sizeof rows / sizeof rows[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef JEPSEN_DATABASES
        cmocka_unit_test(what_is_wrong_with_databases_is_found),
#endif
        cmocka_unit_test(what_is_wrong_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

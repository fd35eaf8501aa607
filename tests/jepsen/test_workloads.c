/* Each workload's checker passes a good history and names what is wrong with a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "workload_rows.h"

extern const struct workload workload_bank, workload_tcc, workload_saga_order, workload_message,
    workload_register, workload_registered, workload_idempotency, workload_vector, workload_freeze,
    workload_events, workload_append, workload_sessions, workload_tso, workload_sequence, workload_lamport;

#define MONEY(a, b, reserved)                                                                                \
    ",\"initial\":9,\"lowest\":0,\"reserved\":[" reserved ",0,0,0,0,0,0,0],\"balances\":[" a "," b           \
    ",9,9,9,9,9,9]"
#define TRANSFER(status) TXN("transfer", "[0,1,4]", status)

#define STAMP(member, vector) "{\"member\":\"" member "\",\"vector\":{" vector "}}"
#define TICK(member, vector)  "0 invoke tick {\"member\":\"" member "\"}; 0 ok tick " STAMP(member, vector)
#define SYNC(member, from, vector)                                                                           \
    "0 invoke sync {\"member\":\"" member "\",\"received\":" from "}; 0 ok sync " STAMP(member, vector)

static const struct workload_row rows[] = {
    {&workload_bank, VALID, "",
     TRANSFER("COMMITTED") EFFECTS(R("from", "try", "done") "," R("to", "try", "done") "," R(
                                       "from", "confirm", "done") "," R("to", "confirm", "done"),
                                   MONEY("5", "13", "0"))},
    {&workload_bank, INVALID, "account 1 has 8", TRANSFER("ROLLED_BACK") EFFECTS("", MONEY("9", "8", "0"))},
    {&workload_bank, INVALID, "account 0 has 9",
     TRANSFER("COMMITTED") EFFECTS(R("from", "try", "done") "," R("to", "try", "done") "," R(
                                       "from", "confirm", "done") "," R("to", "confirm", "done"),
                                   MONEY("9", "9", "0"))},
    {&workload_bank, INVALID, "reserved for ever", TRANSFER("ROLLED_BACK") EFFECTS("", MONEY("9", "9", "4"))},
    {&workload_bank, INVALID, "and a branch is not confirmed",
     TRANSFER("COMMITTED")
         EFFECTS(R("from", "try", "done") "," R("from", "confirm", "done"), MONEY("5", "13", "0"))},
    {&workload_tcc, INVALID, "try stands",
     TRANSFER("ROLLED_BACK") EFFECTS(R("from", "try", "done"), MONEY("9", "9", "0"))},
    {&workload_tcc, INVALID, "confirmed and cancelled",
     TRANSFER("ROLLED_BACK")
         EFFECTS(R("from", "try", "done") "," R("from", "confirm", "done") "," R("to", "cancel", "null"),
                 MONEY("9", "9", "0"))},
    {&workload_tcc, INVALID, "its try had not been made",
     TRANSFER("COMMITTED") EFFECTS(R("from", "confirm", "bare"), MONEY("5", "13", "0"))},
    {&workload_tcc, VALID, "",
     TRANSFER("ROLLED_BACK")
         EFFECTS(R("from", "cancel", "null") "," R("from", "try", "hanging"), MONEY("9", "9", "0"))},
    {&workload_tcc, INVALID, "did not end", TRANSFER("ROLLING_BACK") EFFECTS("", MONEY("9", "9", "0"))},
    {&workload_tcc, INVALID, "decided one way",
     TRANSFER("ROLLED_BACK") "1 invoke status @\"t\"; 1 ok status @\"t\" \"COMMITTING\";" EFFECTS(
         "", MONEY("9", "9", "0"))},
    {&workload_tcc, UNKNOWN, "not in the history", TRANSFER("ROLLED_BACK")},

    {&workload_saga_order, VALID, "",
     TXN("saga", "3", "ROLLED_BACK")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "refused") "," R(
                     "b1", "compensate", "null") "," R("b0", "compensate", "done"),
                 "")},
    {&workload_saga_order, INVALID, "was compensated",
     TXN("saga", "3", "ROLLED_BACK")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "done") "," R(
                     "b0", "compensate", "done") "," R("b1", "compensate", "done"),
                 "")},
    {&workload_saga_order, INVALID, "steps stand",
     TXN("saga", "3", "ROLLED_BACK") EFFECTS(R("b0", "action", "done"), "")},
    {&workload_saga_order, INVALID, "steps are not",
     TXN("saga", "2", "COMMITTED") EFFECTS(R("b0", "action", "done"), "")},
    {&workload_saga_order, INVALID, "before step 0",
     TXN("saga", "2", "COMMITTED") EFFECTS(R("b1", "action", "done") "," R("b0", "action", "done"), "")},
    {&workload_saga_order, INVALID, "behind the compensation",
     TXN("saga", "2", "ROLLED_BACK")
         EFFECTS(R("b0", "compensate", "null") "," R("b0", "action", "done"), "")},

    {&workload_message, VALID, "",
     TXN("submit", "2", "COMMITTED")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "done"), ",\"locals\":{\"t\":1}")},
    {&workload_message, INVALID, "does not stand",
     TXN("vanish", "2", "COMMITTED")
         EFFECTS(R("b0", "action", "done") "," R("b1", "action", "done"), ",\"locals\":{\"t\":2}")},
    {&workload_message, INVALID, "was not delivered",
     TXN("submit", "2", "COMMITTED") EFFECTS(R("b0", "action", "done"), ",\"locals\":{\"t\":1}")},
    {&workload_message, INVALID, "was not delivered",
     TXN("vanish-done", "2", "ROLLED_BACK") EFFECTS("", ",\"locals\":{\"t\":1}")},

    {&workload_register, INVALID, "read",
     "0 invoke write @1 5; 0 ok write @1 [5,1]; 0 invoke write @1 6; 0 ok write @1 [6,2];"
     "1 invoke read @1; 1 ok read @1 [5,1]"},
    {&workload_register, VALID, "",
     "0 invoke read @1; 0 ok read @1 [0,0]; 0 invoke write @1 5; 0 ok write @1 [5,1];"
     "1 invoke read @1; 1 ok read @1 [5,1]"},

    {&workload_registered, VALID, "", "0 invoke add @0 1; 0 ok add @0 1; 0 invoke read @0; 0 ok read @0 [1]"},
    {&workload_registered, INVALID, "0",
     "0 invoke add @0 1; 0 ok add @0 1; 0 invoke read @0; 0 ok read @0 []"},
    {&workload_registered, INVALID, "1",
     "0 invoke add @1 1; 0 ok add @1 1; 0 invoke read @1; 0 ok read @1 [1,1]"},

    {&workload_idempotency, VALID, "",
     "0 invoke request @\"k\"; 0 ok request @\"k\" 1; 1 invoke request @\"k\"; 1 ok request @\"k\" 1;"
     "0 invoke effects @\"k\"; 0 ok effects @\"k\" 1"},
    {&workload_idempotency, INVALID, "",
     "0 invoke request @\"k\"; 0 ok request @\"k\" 1; 0 invoke effects @\"k\"; 0 ok effects @\"k\" 2"},
    {&workload_idempotency, INVALID, "",
     "0 invoke request @\"k\"; 0 ok request @\"k\" 1; 1 invoke request @\"k\"; 1 ok request @\"k\" 2"},

    {&workload_vector, VALID, "",
     TICK("m0", "\"m0\":1") ";" SYNC("m1", STAMP("m0", "\"m0\":1"), "\"m0\":1,\"m1\":1")},
    {&workload_vector, INVALID, "denies it",
     TICK("m0", "\"m0\":1") ";" SYNC("m1", STAMP("m0", "\"m0\":1"), "\"m1\":1")},
    {&workload_vector, INVALID, "never met", TICK("m0", "\"m0\":1") ";" TICK("m1", "\"m0\":1,\"m1\":1")},
    {&workload_vector, INVALID, "given twice", TICK("m0", "\"m0\":1") ";" TICK("m0", "\"m0\":1")},
    {&workload_vector, INVALID, "counted back", TICK("m0", "\"m0\":2") ";" TICK("m0", "\"m0\":1")},
    {&workload_vector, VALID, "", /* an event nobody heard of brought it */
     TICK("m0", "\"m0\":1") "; 1 invoke sync {\"member\":\"m1\",\"received\":" STAMP(
         "m0", "\"m0\":1") "};" TICK("m1", "\"m0\":1,\"m1\":2")},

    {&workload_freeze, VALID, "",
     "0 invoke acquire @1; 0 ok acquire @1 7; 0 invoke use @1 7; 0 ok use @1 [7,1,false];"
     "0 invoke release @1 7; 0 ok release @1 7"},
    {&workload_freeze, INVALID, "not alone",
     "0 invoke acquire @1; 0 ok acquire @1 7; 0 invoke use @1 7; 0 ok use @1 [7,1,true]"},
    {&workload_freeze, INVALID, "lock",
     "0 invoke acquire @1; 0 ok acquire @1 7; 0 invoke acquire @1; 0 ok acquire @1 6"},
    {&workload_freeze, VALID, "", /* one slept, and was fenced */
     "0 invoke acquire @1; 0 ok acquire @1 7; 1 invoke acquire @1; 1 ok acquire @1 9; 1 invoke use @1 9;"
     "1 ok use @1 [9,1,false]; 0 invoke use @1 7; 0 fail use @1 7; 0 invoke leaks @-1; 0 ok leaks @-1 0"},
    {&workload_freeze, INVALID, "accepted token 7",
     "0 invoke acquire @1; 0 ok acquire @1 7; 1 invoke acquire @1; 1 ok acquire @1 9; 1 invoke use @1 9;"
     "1 ok use @1 [9,1,false]; 0 invoke use @1 7; 0 ok use @1 [7,2,false]"},
    {&workload_freeze, INVALID, "2 resources are frozen",
     "0 invoke acquire @1; 0 ok acquire @1 7; 0 invoke leaks @-1; 0 ok leaks @-1 2"},
    {&workload_freeze, INVALID, "tokens",
     "0 invoke acquire @1; 0 ok acquire @1 7; 0 invoke acquire @2; 0 ok acquire @2 7"},

    {&workload_events, VALID, "",
     "0 invoke watch @0; 0 ok watch @0 [[1,\"a\"],[2,\"b\"]]; 1 invoke watch @0;"
     "1 ok watch @0 [[2,\"b\"],[3,\"c\"]]"},
    {&workload_events, INVALID, "watch",
     "0 invoke watch @0; 0 ok watch @0 [[1,\"a\"],[2,\"b\"],[3,\"c\"]]; 1 invoke watch @0;"
     "1 ok watch @0 [[1,\"a\"],[3,\"c\"]]"},
    {&workload_events, INVALID, "watch",
     "0 invoke watch @0; 0 ok watch @0 [[1,\"a\"],[2,\"b\"]]; 1 invoke watch @0;"
     "1 ok watch @0 [[1,\"a\"],[2,\"c\"]]"},
    {&workload_events, INVALID, "process 1 came to event 1",
     "2 invoke commit @1 1; 2 ok commit @1 1; 0 invoke watch @0; 0 ok watch @0 [[1,\"a\"],[2,\"b\"]];"
     "1 invoke watch @0; 1 ok watch @0 [[1,\"a\"]]"},
    {&workload_append, VALID, "",
     "0 invoke txn [[\"r\",1,null],[\"append\",1,2]]; 0 ok txn [[\"r\",1,[]],[\"append\",1,2]];"
     "0 invoke txn [[\"r\",1,null]]; 0 ok txn [[\"r\",1,[2]]]"},
    {&workload_append, INVALID, "", /* a read that began later misses it */
     "0 invoke txn [[\"r\",1,null],[\"append\",1,2]]; 0 ok txn [[\"r\",1,[]],[\"append\",1,2]];"
     "0 invoke txn [[\"r\",1,null]]; 0 ok txn [[\"r\",1,[]]];"
     "0 invoke txn [[\"r\",1,null]]; 0 ok txn [[\"r\",1,[2]]]"},
    {&workload_events, INVALID, "watch", "0 invoke watch @0; 0 ok watch @0 [[1,\"a\"],[1,\"a\"]]"},

    {&workload_tso, VALID, "", "0 invoke grant 2; 0 ok grant [5,2]; 0 invoke grant 1; 0 ok grant [7,1]"},
    {&workload_tso, INVALID, "both granted",
     "0 invoke grant 2; 1 invoke grant 1; 0 ok grant [5,2]; 1 ok grant [6,1]"},
    {&workload_tso, INVALID, "had been granted",
     "0 invoke grant 1; 0 ok grant [5,1]; 0 invoke grant 1; 0 ok grant [4,1]"},
    {&workload_sequence, VALID, "", "0 invoke take 8; 0 info take 8; 1 invoke take 9; 1 ok take 2"},
    {&workload_sequence, INVALID, "given twice",
     "0 invoke take 8; 0 ok take 1; 1 invoke take 9; 1 ok take 1"},
    {&workload_sequence, INVALID, "missing", "0 invoke take 8; 0 ok take 1; 1 invoke take 9; 1 ok take 3"},
    {&workload_lamport, INVALID, "", "0 invoke tick @1; 0 ok tick @1 1; 0 invoke tick @1; 0 ok tick @1 1"},

    {&workload_sessions, VALID, "",
     "0 invoke push @1 [0,1]; 0 ok push @1 1; 0 invoke read @1 [0]; 0 ok read @1 [1,[0,1]];"
     "0 invoke log @1; 0 ok log @1 [[0,1]]; 0 invoke resent @-1; 0 ok resent @-1 3"},
    {&workload_sessions, UNKNOWN, "sent again",
     "0 invoke push @1 [0,1]; 0 ok push @1 1; 0 invoke log @1; 0 ok log @1 [[0,1]];"
     "0 invoke resent @-1; 0 ok resent @-1 0"},
};

static void what_is_wrong_is_found(void **state)
{
    (void)state;
    assert_int_equal(workload_rows_wrong(rows, sizeof rows / sizeof rows[0]), 0);
}

static void a_gap_needs_a_fault(void **state)
{
    (void)state;
    for (int fault = 0; fault < 2; fault++) {
        struct history h;
        struct verdict v;
        rows_parse(fault ? "-1 info kill; 0 invoke watch @0; 0 ok watch @0 [[1,\"a\"]]"
                         : "0 invoke watch @0; 0 ok watch @0 [[1,\"a\"]]",
                   &h);
        strcpy(h.ops[h.n - 1].error, "gap");
        workload_events.check(NULL, &h, &v);
        assert_int_equal(v.valid, fault ? VALID : INVALID);
        history_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_wrong_is_found),
                                       cmocka_unit_test(a_gap_needs_a_fault)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

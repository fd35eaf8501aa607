# Transactions, branches, due work.
assent_test(test_txn test_txn.c LIBS sm_harness)
assent_test(test_branch test_branch.c LIBS sm_harness)
assent_test(test_work test_work.c LIBS sm_harness)
assent_test(test_saga test_saga.c LIBS sm_harness)
assent_test(test_suspend test_suspend.c LIBS sm_harness)
assent_test(test_list test_list.c LIBS sm_harness)
assent_test(test_namespace test_namespace.c LIBS sm_harness)
assent_test(test_acknowledge test_acknowledge.c LIBS sm_harness)
assent_test(test_two_phase test_two_phase.c LIBS sm_harness)
# One bound is made small so that the test reaches it.
assent_test(test_operate test_operate.c ${CMAKE_SOURCE_DIR}/statemachine/operate.c LIBS sm_harness)
target_compile_definitions(test_operate PRIVATE ACT_BRANCHES_MAX=8)
assent_test(test_nest test_nest.c LIBS sm_harness)

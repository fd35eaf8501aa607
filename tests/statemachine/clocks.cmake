# The clocks.  Two bounds are made small so that tests reach them: those files are built into the test.
assent_test(test_lamport test_lamport.c LIBS sm_harness)
assent_test(test_tso test_tso.c LIBS sm_harness)
assent_test(test_version test_version.c LIBS sm_harness)
assent_test(test_vector test_vector.c ${CMAKE_SOURCE_DIR}/statemachine/domain.c LIBS sm_harness)
target_compile_definitions(test_vector PRIVATE DOMAIN_EPOCHS_KEPT=8)
assent_test(test_timestamp test_timestamp.c ${CMAKE_SOURCE_DIR}/statemachine/timestamp.c LIBS sm_harness)
target_compile_definitions(test_timestamp PRIVATE TIMESTAMP_ROWS_MAX=12)

# Calls to branches, against participants in the test's own process.
assent_test(test_executor test_executor.c participant.c LIBS assent_executor sm_harness)

# Calls to branches, against participants in the test's own process.
assent_test(test_executor test_executor.c executor_world.c participant.c LIBS assent_executor sm_harness)
assent_test(test_executor_report test_executor_report.c executor_world.c participant.c
    LIBS assent_executor sm_harness)
assent_test(test_executor_form test_executor_form.c LIBS assent_executor sm_harness)
assent_test(test_executor_call test_executor_call.c executor_world.c participant.c
    LIBS assent_executor sm_harness)
assent_test(test_executor_host test_executor_host.c executor_world.c participant.c
    LIBS assent_executor sm_harness)
assent_test(test_simulate test_simulate.c executor_world.c participant.c LIBS assent_executor sm_harness)
assent_test(test_executor_tls test_executor_tls.c executor_world.c participant.c
    LIBS assent_executor sm_harness PkgConfig::LIBMICROHTTPD)
assent_test(test_executor_soak test_executor_soak.c executor_world.c participant.c
    LIBS assent_executor sm_harness)

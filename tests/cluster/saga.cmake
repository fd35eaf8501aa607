# Sagas over the death of leaders.
assent_test(test_saga_failover test_saga_failover.c LIBS test_cluster TIMEOUT 300 LABEL cluster)
add_dependencies(test_saga_failover assentd)
set_tests_properties(test_saga_failover PROPERTIES PROCESSORS 2)
target_link_libraries(test_saga_failover PRIVATE PkgConfig::LIBMICROHTTPD)

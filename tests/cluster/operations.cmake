# What operators do: LABEL cluster.
assent_test(test_operations test_operations.c LIBS test_cluster TIMEOUT 300 LABEL cluster)
add_dependencies(test_operations assentd assentctl)
set_tests_properties(test_operations PROPERTIES PROCESSORS 2)
assent_test(test_acts test_acts.c LIBS test_cluster TIMEOUT 300 LABEL cluster)
add_dependencies(test_acts assentd assentctl)
set_tests_properties(test_acts PROPERTIES PROCESSORS 2)

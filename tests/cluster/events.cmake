# Streams of events over the death of a leader.
assent_test(test_events test_events.c LIBS test_cluster TIMEOUT 300 LABEL cluster)
add_dependencies(test_events assentd)
set_tests_properties(test_events PROPERTIES PROCESSORS 2)

# The door for DTM's clients.
assent_test(test_node_dtm_json test_dtm_json.c LIBS assent_node)
target_link_libraries(test_node_dtm_json PRIVATE PkgConfig::JANSSON)
assent_test(test_node_dtm test_dtm.c LIBS node_harness)
target_link_libraries(test_node_dtm PRIVATE PkgConfig::JANSSON)
assent_test(test_node_dtm_calls test_dtm_calls.c participant.c LIBS node_harness)
target_link_libraries(test_node_dtm_calls PRIVATE PkgConfig::JANSSON)

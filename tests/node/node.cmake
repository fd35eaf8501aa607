# Doors and process: units without a log, and whole nodes over a fake one.
add_library(node_harness STATIC ${CMAKE_CURRENT_SOURCE_DIR}/fake_raftlog.c ${CMAKE_CURRENT_SOURCE_DIR}/harness.c)
target_include_directories(node_harness PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(node_harness PUBLIC assent_node)

assent_test(test_node_json test_json.c LIBS assent_node)
assent_test(test_node_config test_config.c LIBS assent_node)
target_compile_definitions(test_node_config PRIVATE MANUAL="${CMAKE_SOURCE_DIR}/docs/configuration.md")
assent_test(test_node_routes test_routes.c LIBS assent_node)
target_compile_definitions(test_node_routes PRIVATE API_MANUAL="${CMAKE_SOURCE_DIR}/docs/api.md")
assent_test(test_node_request test_request.c LIBS node_harness)
assent_test(test_node_http test_http.c LIBS node_harness)
assent_test(test_node_rpc test_rpc.c LIBS node_harness)
assent_test(test_node_metrics test_metrics.c LIBS node_harness)

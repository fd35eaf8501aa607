# Planted bugs that a directed schedule finds: its test must fail, and by the named claim.
add_executable(test_figure8_planted test_figure8.c ${CMAKE_SOURCE_DIR}/tests/lib/planted.c ${core_sources}
    ${core_cluster_sources} ${core_cluster_codec})
target_compile_definitions(test_figure8_planted PRIVATE ASSENT_MUSEUM)
target_include_directories(test_figure8_planted PRIVATE ${CMAKE_SOURCE_DIR}/raftlog ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(test_figure8_planted PRIVATE assent_headers PkgConfig::RAFT PkgConfig::LIBUV PkgConfig::LIBISAL
    PkgConfig::CMOCKA)
add_test(NAME museum_counted_commit COMMAND test_figure8_planted)
set_tests_properties(museum_counted_commit PROPERTIES ENVIRONMENT ASSENT_PLANTED=counted-commit LABELS raftlog TIMEOUT 120
    PASS_REGULAR_EXPRESSION "FAILED  . an_old_entry_on_a_majority_is_not_committed_by_counting")
add_test(NAME museum_figure8_healthy COMMAND test_figure8_planted)
set_tests_properties(museum_figure8_healthy PROPERTIES LABELS raftlog TIMEOUT 120)

# A planted bug that a directed test finds: a report that comes twice.
get_target_property(sources assent_statemachine SOURCES)
list(TRANSFORM sources PREPEND ${CMAKE_SOURCE_DIR}/statemachine/ OUTPUT_VARIABLE planted_sources)
add_executable(test_branch_planted test_branch.c ${CMAKE_SOURCE_DIR}/tests/lib/planted.c
    ${CMAKE_SOURCE_DIR}/tests/lib/sm_harness.c ${planted_sources})
target_compile_definitions(test_branch_planted PRIVATE ASSENT_MUSEUM)
target_include_directories(test_branch_planted PRIVATE ${CMAKE_SOURCE_DIR}/statemachine ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(test_branch_planted PRIVATE assent_codec assent_pure PkgConfig::LMDB PkgConfig::LIBXXHASH
    PkgConfig::JANSSON PkgConfig::CMOCKA)
add_test(NAME museum_report_counts_twice COMMAND test_branch_planted)
set_tests_properties(museum_report_counts_twice PROPERTIES ENVIRONMENT ASSENT_PLANTED=report-counts-twice LABELS unit
    TIMEOUT 60 PASS_REGULAR_EXPRESSION "FAILED  . a_report_of_a_step_past_is_refused")

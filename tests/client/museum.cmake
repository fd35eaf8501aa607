# A planted bug of the participants' guard: its table of rows must find it.
add_executable(test_guard_planted test_guard_logic.c ${CMAKE_SOURCE_DIR}/tests/lib/planted.c
    ${CMAKE_SOURCE_DIR}/client/guard/guard.c)
target_compile_definitions(test_guard_planted PRIVATE ASSENT_MUSEUM)
target_link_libraries(test_guard_planted PRIVATE assent_headers PkgConfig::CMOCKA)
add_test(NAME museum_null_compensation COMMAND test_guard_planted)
set_tests_properties(museum_null_compensation PROPERTIES ENVIRONMENT ASSENT_PLANTED=null-compensation TIMEOUT 60
    LABELS unit PASS_REGULAR_EXPRESSION "FAILED TEST")

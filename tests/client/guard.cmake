assent_test(test_guard_logic test_guard_logic.c LIBS assent_guard)
# Against servers the tests start themselves; 77: the server is not installed, skipped.
function(assent_guard_test part)
    if(TARGET assent_guard_${part})
        assent_test(test_guard_${part} test_guard_${part}.c guard_server.c ${ARGN}
            LIBS assent_guard_${part} Threads::Threads LABEL database)
        set_tests_properties(test_guard_${part} PROPERTIES SKIP_RETURN_CODE 77)
    else()
        message(STATUS "tests of the guard on ${part}: not built, its client library is missing")
    endif()
endfunction()
assent_guard_test(pq guard_sql.c)
assent_guard_test(mariadb guard_sql.c)
assent_guard_test(redis)

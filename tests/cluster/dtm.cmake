# DTM's clients and three real nodes.
assent_test(test_dtm test_dtm.c LIBS test_cluster test_participants TIMEOUT 300 LABEL cluster)
add_dependencies(test_dtm assentd)
if(ASSENT_TEST_HOOKS)
    target_compile_definitions(test_dtm PRIVATE ASSENT_TEST_HOOKS)
endif()
set_tests_properties(test_dtm PROPERTIES PROCESSORS 2)

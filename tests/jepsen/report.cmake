# What a run leaves behind: pages, exports, old histories judged again.
set(histories ${CMAKE_SOURCE_DIR}/jepsen/histories)
add_test(NAME jepsen_samples COMMAND ${CMAKE_CURRENT_LIST_DIR}/samples.sh $<TARGET_FILE:assent-jepsen>
    $<TARGET_FILE:hist2> ${histories})
add_test(NAME jepsen_pages COMMAND ${CMAKE_CURRENT_LIST_DIR}/pages.sh $<TARGET_FILE:assent-jepsen> ${histories})
add_test(NAME jepsen_cross_check COMMAND ${CMAKE_CURRENT_LIST_DIR}/cross_check.sh
    $<TARGET_FILE:test_jepsen_engines> $<TARGET_FILE:hist2> ${CMAKE_SOURCE_DIR}/jepsen/tools/cross_check.py ${histories})
set_tests_properties(jepsen_samples jepsen_pages jepsen_cross_check PROPERTIES LABELS jepsen TIMEOUT 600
    SKIP_RETURN_CODE 77)
# Two short runs.
add_test(NAME jepsen_fresh_run COMMAND ${CMAKE_CURRENT_LIST_DIR}/fresh.sh $<TARGET_FILE:assent-jepsen> $<TARGET_FILE:assentd>)
set_tests_properties(jepsen_fresh_run PROPERTIES LABELS jepsen TIMEOUT 240 PROCESSORS 2)

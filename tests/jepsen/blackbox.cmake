# The outside judge against real nodes, briefly; `make jepsen` runs it at length.
set(judge assent-jepsen --assentd $<TARGET_FILE:assentd> --out ${CMAKE_BINARY_DIR}/jepsen-runs --seconds 20 --fault-ms 2500)
add_test(NAME jepsen_decide_kill COMMAND ${judge} --workload decide --faults kill --rate 60 --loopback)
add_test(NAME jepsen_tso_partition_pause COMMAND ${judge} --workload tso --faults partition,pause)
add_test(NAME jepsen_self_check_refuses COMMAND ${judge} --workload tso --faults partition --nodes 1)
set_tests_properties(jepsen_decide_kill jepsen_tso_partition_pause jepsen_self_check_refuses PROPERTIES LABELS jepsen TIMEOUT 240 PROCESSORS 2)
# Its sentence is the reason that ctest -V shows.
set_tests_properties(jepsen_tso_partition_pause jepsen_self_check_refuses PROPERTIES
    SKIP_REGULAR_EXPRESSION "network namespaces cannot be made here")
# A fault that breaks nothing (one node, nobody to be cut off from) must not pass for one.
set_tests_properties(jepsen_self_check_refuses PROPERTIES
    PASS_REGULAR_EXPRESSION "the self-check of partition failed: one node")

# A judge that ends early, however it ends, leaves nothing running or mounted.
add_test(NAME jepsen_cleanup COMMAND ${CMAKE_CURRENT_LIST_DIR}/cleanup.sh $<TARGET_FILE:assent-jepsen> $<TARGET_FILE:assentd>)
set_tests_properties(jepsen_cleanup PROPERTIES LABELS jepsen TIMEOUT 400 PROCESSORS 2 SKIP_RETURN_CODE 77)

# Real processes on loopback: LABEL cluster.
add_library(test_cluster STATIC ${CMAKE_SOURCE_DIR}/tests/lib/cluster.c ${CMAKE_SOURCE_DIR}/tests/lib/load.c ${CMAKE_SOURCE_DIR}/tests/lib/network.c
    ${CMAKE_SOURCE_DIR}/client/demo/http.c ${CMAKE_SOURCE_DIR}/client/demo/peers.c)
target_include_directories(test_cluster PUBLIC ${CMAKE_SOURCE_DIR}/tests/lib ${CMAKE_SOURCE_DIR}/client/demo)
target_link_libraries(test_cluster PUBLIC PkgConfig::JANSSON Threads::Threads PRIVATE PkgConfig::LIBCURL PkgConfig::CMOCKA)

foreach(subject failover partition clock_jump disk_trouble exactly_once hostile nodes demo snapshot_install)
    assent_test(test_${subject} test_${subject}.c LIBS test_cluster TIMEOUT 300 LABEL cluster)
    add_dependencies(test_${subject} assentd)
    set_tests_properties(test_${subject} PROPERTIES PROCESSORS 2)
endforeach()
add_dependencies(test_demo assentctl assent-demo)
target_link_libraries(test_exactly_once PRIVATE assent PkgConfig::LIBMICROHTTPD)

# Loaded before libc by the nodes of test_clock_jump; nothing that is installed knows of it.
add_library(clock_shift SHARED ${CMAKE_SOURCE_DIR}/tests/lib/clock_shift.c)
set_target_properties(clock_shift PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_compile_options(clock_shift PRIVATE -fno-sanitize=all)
target_link_options(clock_shift PRIVATE -fno-sanitize=all)
add_dependencies(test_clock_jump clock_shift)

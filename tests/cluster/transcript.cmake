# A conversation per mode, the leader killed at each of its steps; and what nobody should ask.
add_library(test_actor STATIC ${CMAKE_SOURCE_DIR}/tests/lib/actor.c)
target_include_directories(test_actor PUBLIC ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(test_actor PUBLIC PkgConfig::LIBMICROHTTPD Threads::Threads)

assent_test(test_transcript test_transcript.c LIBS test_cluster test_actor TIMEOUT 300 LABEL cluster)
add_dependencies(test_transcript assentd)
set_tests_properties(test_transcript PROPERTIES PROCESSORS 2)

add_library(test_rude STATIC ${CMAKE_SOURCE_DIR}/tests/lib/rude.c)
target_include_directories(test_rude PUBLIC ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(test_rude PUBLIC Threads::Threads)

assent_test(test_bad_input test_bad_input.c LIBS test_cluster test_actor test_rude TIMEOUT 300 LABEL cluster)
add_dependencies(test_bad_input assentd)
set_tests_properties(test_bad_input PROPERTIES PROCESSORS 2)

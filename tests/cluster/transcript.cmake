# A conversation per mode, the leader killed at each of its steps; and what nobody should ask.
add_library(test_participants STATIC ${CMAKE_SOURCE_DIR}/tests/lib/actor.c ${CMAKE_SOURCE_DIR}/tests/lib/rude.c)
target_include_directories(test_participants PUBLIC ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(test_participants PUBLIC PkgConfig::LIBMICROHTTPD Threads::Threads)

assent_test(test_actor test_actor.c LIBS test_participants)
foreach(subject transcript bad_input) # they wait for elections most of the time, so others may run beside them
    assent_test(test_${subject} test_${subject}.c LIBS test_cluster test_participants TIMEOUT 300 LABEL cluster)
    add_dependencies(test_${subject} assentd)
endforeach()
target_sources(test_transcript PRIVATE transcripts.c)

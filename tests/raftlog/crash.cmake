# Crash images: production code over the real LMDB, with every write recorded and bugs that can be planted.
set(crash_sources)
foreach(part raftlog statemachine)
    get_target_property(sources assent_${part} SOURCES)
    get_target_property(folder assent_${part} SOURCE_DIR)
    list(TRANSFORM sources PREPEND ${folder}/)
    list(APPEND crash_sources ${sources})
endforeach()
assent_test(test_crash_images test_crash_images.c crash_log.c crash_store.c ${CMAKE_SOURCE_DIR}/tests/lib/disk_trace.c
    ${CMAKE_SOURCE_DIR}/tests/lib/planted.c ${CMAKE_SOURCE_DIR}/tests/lib/sm_harness.c ${crash_sources}
    LIBS assent_codec assent_pure PkgConfig::RAFT PkgConfig::LIBUV PkgConfig::LMDB PkgConfig::LIBISAL
         PkgConfig::LIBXXHASH PkgConfig::JANSSON Threads::Threads
    LABEL raftlog TIMEOUT 300)
target_compile_definitions(test_crash_images PRIVATE ASSENT_MUSEUM)
target_include_directories(test_crash_images PRIVATE ${CMAKE_SOURCE_DIR}/raftlog ${CMAKE_SOURCE_DIR}/statemachine)

# The museum: assentd with one bug planted (include/planted.h), chosen by the environment variable ASSENT_PLANTED.  Built
# from the product's sources a second time, never installed.
set(museum_sources ${CMAKE_SOURCE_DIR}/node/main.c ${CMAKE_SOURCE_DIR}/tests/lib/planted.c)
foreach(part node executor raftlog statemachine)
    get_target_property(sources assent_${part} SOURCES)
    get_target_property(folder assent_${part} SOURCE_DIR)
    list(TRANSFORM sources PREPEND ${folder}/)
    list(APPEND museum_sources ${sources})
endforeach()
add_executable(assentd-museum ${museum_sources})
target_compile_definitions(assentd-museum PRIVATE ASSENT_MUSEUM $<$<BOOL:${ASSENT_TEST_HOOKS}>:ASSENT_TEST_HOOKS>)
target_include_directories(assentd-museum PRIVATE ${CMAKE_SOURCE_DIR}/raftlog ${CMAKE_SOURCE_DIR}/statemachine
    ${CMAKE_SOURCE_DIR}/node)
target_link_libraries(assentd-museum PRIVATE assent_codec assent_pure PkgConfig::RAFT PkgConfig::LIBUV PkgConfig::LMDB
    PkgConfig::LIBISAL PkgConfig::LIBXXHASH PkgConfig::LIBCURL PkgConfig::JANSSON PkgConfig::NETTLE
    PkgConfig::LIBMICROHTTPD PkgConfig::YAML_0_1 Threads::Threads)

add_test(NAME museum_not_in_products COMMAND ${CMAKE_CURRENT_LIST_DIR}/not_planted.sh $<TARGET_FILE:assentd-museum>
    $<TARGET_FILE:assentd> $<TARGET_FILE:assent> $<TARGET_FILE:assentctl> $<TARGET_FILE:assent_guard>)
# The quick rows of `make museum`.
add_test(NAME jepsen_museum COMMAND ${CMAKE_SOURCE_DIR}/jepsen/museum.sh ${CMAKE_BINARY_DIR}
    ${CMAKE_BINARY_DIR}/jepsen-runs quick)
set_tests_properties(museum_not_in_products PROPERTIES LABELS unit)
set_tests_properties(jepsen_museum PROPERTIES LABELS jepsen TIMEOUT 300 PROCESSORS 2)

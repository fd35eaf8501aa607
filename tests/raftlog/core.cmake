# The consensus driver: the guards one by one, directed scenarios, Figure 8, chaos under oracles.

include(${CMAKE_SOURCE_DIR}/tests/lib/core_cluster.cmake)
set(core_sources core.c core_receive.c core_update.c core_apply.c guard.c memlog.c membership.c read_index.c entry.c)
list(TRANSFORM core_sources PREPEND ${CMAKE_SOURCE_DIR}/raftlog/)

# The driver alone, without disk and transport; and the same with guards that can be switched off.
foreach(variant core testguards)
    add_library(assent_raftlog_${variant} STATIC ${core_sources} ${core_cluster_sources} ${core_cluster_codec}
                ${CMAKE_SOURCE_DIR}/tests/lib/core_chaos.c)
    target_include_directories(assent_raftlog_${variant} PUBLIC ${CMAKE_SOURCE_DIR}/raftlog ${CMAKE_SOURCE_DIR}/tests/lib)
    target_link_libraries(assent_raftlog_${variant} PUBLIC assent_headers PkgConfig::RAFT PkgConfig::LIBUV
                          PkgConfig::LIBISAL)
endforeach()
target_compile_definitions(assent_raftlog_testguards PUBLIC ASSENT_TEST_GUARDS)

assent_test(test_core test_core.c LIBS assent_raftlog_core)
assent_test(test_core_chaos test_core_chaos.c LIBS assent_raftlog_core TIMEOUT 180)
assent_test(test_guard test_guard.c LIBS assent_raftlog_core)
assent_test(test_figure8 test_figure8.c LIBS assent_raftlog_core)
assent_test(test_guards_off test_guards_off.c guard_scenarios.c guard_scenarios_lone.c LIBS assent_raftlog_testguards)

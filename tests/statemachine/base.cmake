# A state machine for tests; its header shows the use: LIBS sm_harness.
add_library(sm_harness STATIC ${CMAKE_SOURCE_DIR}/tests/lib/sm_harness.c)
target_include_directories(sm_harness PUBLIC ${CMAKE_SOURCE_DIR}/tests/lib)
target_link_libraries(sm_harness PUBLIC assent_statemachine PRIVATE PkgConfig::JANSSON)

assent_test(test_statemachine test_statemachine.c LIBS sm_harness)
assent_test(test_session test_session.c LIBS sm_harness)
assent_test(test_registry test_registry.c LIBS sm_harness)
assent_test(test_codec test_codec.c LIBS assent_codec)
assent_test(test_command test_command.c LIBS sm_harness)
assent_test(test_frame test_frame.c LIBS assent_codec)
assent_test(test_store test_store.c LIBS sm_harness)

assent_test(test_golden test_golden.c LIBS sm_harness)
target_compile_definitions(test_golden PRIVATE GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden")

assent_test(test_purity test_purity.c LIBS assent_statemachine)
target_compile_definitions(test_purity PRIVATE
    STATEMACHINE_ARCHIVE="$<TARGET_FILE:assent_statemachine>" CODEC_ARCHIVE="$<TARGET_FILE:assent_codec>"
    PURE_ARCHIVE="$<TARGET_FILE:assent_pure>")

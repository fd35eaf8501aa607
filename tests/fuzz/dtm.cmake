# What DTM's clients send.
assent_fuzzer(fuzz_dtm fuzz_dtm.c LIBS assent_node)
target_link_libraries(fuzz_dtm PRIVATE PkgConfig::JANSSON)

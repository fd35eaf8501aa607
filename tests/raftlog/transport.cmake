# Codec, transport and the glue of raftlog.
assent_test(test_message test_message.c LIBS assent_raftlog)
target_compile_definitions(test_message PRIVATE GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden/message")
assent_test(test_transport test_transport.c LIBS assent_raftlog)
assent_test(test_raftlog test_raftlog.c LIBS assent_raftlog TIMEOUT 240 LABEL threads)
assent_test(test_stamp test_stamp.c LIBS assent_raftlog)

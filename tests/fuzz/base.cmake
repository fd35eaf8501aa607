# What clients send, and images of the state machine.
assent_fuzzer(fuzz_command fuzz_command.c LIBS sm_harness)
assent_fuzzer(fuzz_frame fuzz_frame.c LIBS assent_codec)
assent_fuzzer(fuzz_snapshot fuzz_snapshot.c LIBS sm_harness PkgConfig::LIBXXHASH)

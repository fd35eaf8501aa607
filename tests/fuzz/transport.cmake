# What peers send.
assent_fuzzer(fuzz_message fuzz_message.c LIBS assent_raftlog)

# Formats of the log on disk.
assent_fuzzer(fuzz_batch fuzz_batch.c LIBS assent_raftlog)
assent_fuzzer(fuzz_logdb fuzz_logdb.c LIBS assent_raftlog)

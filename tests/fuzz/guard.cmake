# The participants' guard.
assent_fuzzer(fuzz_guard_query fuzz_guard_query.c LIBS assent_guard)

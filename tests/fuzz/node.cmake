# What HTTP clients send.
assent_fuzzer(fuzz_json fuzz_json.c LIBS assent_node)

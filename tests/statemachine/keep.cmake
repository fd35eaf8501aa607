# What a door with another protocol's table of legal moves is told.
assent_test(test_keep test_keep.c LIBS sm_harness)
assent_test(test_hooks test_hooks.c LIBS sm_harness)

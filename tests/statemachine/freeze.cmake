# Frozen resources and business keys.
assent_test(test_freeze test_freeze.c LIBS sm_harness)

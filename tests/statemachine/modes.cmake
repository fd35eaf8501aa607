# Order of the second phase, messages, topics, workflows.
assent_test(test_order test_order.c LIBS sm_harness)

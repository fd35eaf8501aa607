# Order of the second phase, messages, topics, workflows.
assent_test(test_order test_order.c LIBS sm_harness)
assent_test(test_txn_message test_message.c LIBS sm_harness)
assent_test(test_workflow test_workflow.c LIBS sm_harness)
assent_test(test_topic test_topic.c LIBS sm_harness)

assent_test(test_retry test_retry.c LIBS assent_client_objects assent_codec assent_pure Threads::Threads)
assent_test(test_client test_client.c stub.c LIBS assent_client_objects assent_codec assent_pure Threads::Threads)
assent_test(test_blocking test_blocking.c stub.c LIBS assent_client_objects assent_codec assent_pure Threads::Threads LABEL threads)

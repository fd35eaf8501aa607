assent_test(test_clock test_clock.c LIBS assent_pure)

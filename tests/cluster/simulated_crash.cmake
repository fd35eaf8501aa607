# Faults that a node is told to inject, in real processes.
assent_test(test_simulated_crash test_simulated_crash.c LIBS test_cluster PkgConfig::LIBMICROHTTPD TIMEOUT 300 LABEL cluster)
add_dependencies(test_simulated_crash assentd)
set_tests_properties(test_simulated_crash PROPERTIES PROCESSORS 2)

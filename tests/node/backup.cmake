# The file that carries a back-up.
assent_test(test_node_backup test_backup.c LIBS assent_node)

# Entries, batches, the log on disk and its writer, snapshot files.
assent_test(test_entry test_entry.c LIBS assent_raftlog)
assent_test(test_batch test_batch.c LIBS assent_raftlog)
assent_test(test_writer test_writer.c LIBS assent_raftlog PkgConfig::LMDB LABEL threads)
assent_test(test_disk test_disk.c LIBS assent_raftlog PkgConfig::LMDB LABEL threads)
assent_test(test_snapshot test_snapshot.c LIBS assent_raftlog)
assent_test(test_damage test_damage.c LIBS assent_raftlog PkgConfig::LMDB LABEL threads)
assent_test(test_witness test_witness.c LIBS assent_raftlog)

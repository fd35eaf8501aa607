# Commits and entries per second of the log on disk; run by hand or by `make bench`, never a test.
add_executable(bench_disk bench_disk.c)
target_link_libraries(bench_disk PRIVATE assent_raftlog)

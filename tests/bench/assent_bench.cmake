# Figures of a running cluster; `make bench` runs `assent-bench all`.  Never a timed test.
add_executable(assent-bench assent_bench.c assent_bench_http.c assent_bench_native.c assent_bench_tso.c
    assent_bench_cluster.c assent_bench_etcd.c assent_bench_failover.c assent_bench_all.c
    assent_bench_participant.c assent_bench_txn.c assent_bench_many.c)
target_link_libraries(assent-bench PRIVATE assent assent_codec PkgConfig::LIBUV PkgConfig::JANSSON)

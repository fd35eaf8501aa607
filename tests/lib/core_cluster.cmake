# The simulated cluster, for the folders whose tests run it.
set(core_cluster_sources core_cluster.c core_cluster_disk.c core_cluster_events.c core_cluster_look.c core_cluster_net.c core_cluster_say.c
    core_cluster_watch.c)
list(TRANSFORM core_cluster_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

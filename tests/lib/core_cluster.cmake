# The simulated cluster, for the folders whose tests run it.
set(core_cluster_sources core_cluster.c core_cluster_disk.c core_cluster_events.c core_cluster_look.c core_cluster_net.c
    core_cluster_say.c core_cluster_stand.c core_cluster_watch.c)
# The production codec its links use.
set(core_cluster_codec ${CMAKE_SOURCE_DIR}/raftlog/message.c ${CMAKE_SOURCE_DIR}/raftlog/manifest.c)
list(TRANSFORM core_cluster_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)

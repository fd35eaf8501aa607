# Clients, participants and what they are held against.
set(sim_clients clients.c clients_transactions.c clients_operator.c clients_asynchronous.c clients_workflow.c
    clients_nested.c clients_business.c clients_freeze.c
    clients_clocks.c clients_vectors.c clients_tso.c clients_sessions.c participants.c oracle.c asked.c)
# The client library's own numbers of a session.
list(APPEND sim_clients ${CMAKE_SOURCE_DIR}/client/session.c)
set_source_files_properties(clients_sessions.c ${CMAKE_SOURCE_DIR}/client/session.c PROPERTIES
    INCLUDE_DIRECTORIES "${CMAKE_SOURCE_DIR}/client")

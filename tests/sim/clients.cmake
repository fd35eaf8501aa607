# Clients, participants and what they are held against.
set(sim_clients clients.c clients_transactions.c clients_operator.c clients_asynchronous.c clients_clocks.c participants.c oracle.c asked.c)

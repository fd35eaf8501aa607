# The guard of the demonstration bank.
assent_test(test_ledger test_ledger.c ${CMAKE_SOURCE_DIR}/client/demo/ledger.c LIBS PkgConfig::LMDB)
target_include_directories(test_ledger PRIVATE ${CMAKE_SOURCE_DIR}/client/demo)

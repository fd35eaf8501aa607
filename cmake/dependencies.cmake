# Every library assent uses, found by pkg-config; deploy/packages.txt lists the Debian packages that hold them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

pkg_check_modules(RAFT IMPORTED_TARGET raft)
if(NOT RAFT_FOUND OR NOT RAFT_VERSION STREQUAL "0.22.1")
    message(FATAL_ERROR
        "assent needs libraft 0.22.1 exactly (found: '${RAFT_VERSION}'). Debian 12 has it in bookworm-backports: run "
        "'make setup', or add the bookworm-backports suite to apt and run "
        "'apt-get install -t bookworm-backports libraft-dev'. 0.15.0 from bookworm commits entries of older terms by "
        "counting replicas (Raft, Figure 8); later versions change who owns memory.")
endif()

foreach(module libuv lmdb msgpack libmicrohttpd jansson libcurl yaml-0.1 libisal libxxhash nettle)
    string(TOUPPER ${module} name)
    string(REGEX REPLACE "[^A-Z0-9]" "_" name ${name})
    pkg_check_modules(${name} IMPORTED_TARGET ${module})
    if(NOT ${name}_FOUND)
        message(FATAL_ERROR "assent needs ${module}: run 'make setup' (it installs deploy/packages.txt)")
    endif()
endforeach()

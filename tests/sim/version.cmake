# Writes OUT with the version of the sources, when it has changed: cmake -DSOURCE=... -DOUT=... -P version.cmake
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --tags OUTPUT_VARIABLE version
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
    set(version "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define ASSENT_SIM_VERSION \"@version@\"\n" @ONLY)

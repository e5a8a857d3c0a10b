# Build options and the warning flags that every target of ours shares.
option(BUILD_TESTING "Build the tests" ON)
option(ESPALIER_BENCHMARKS "Build the Google Benchmark programs" OFF)
option(ESPALIER_CUDA "Build the CUDA module (needs the CUDA toolkit with NCCL)" OFF)
option(ESPALIER_FUZZERS "Build the fuzz targets and nothing else (preset fuzz; needs clang)" OFF)
set(ESPALIER_SANITIZE "" CACHE STRING "Sanitizers for all targets, e.g. address,undefined or thread")
set(ESPALIER_COVERAGE OFF CACHE BOOL "Instrument for gcov")

add_library(espalier_flags INTERFACE)
target_compile_options(espalier_flags INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # At -O3, GCC 12 reports overlapping copies and uninitialised reads inside libstdc++'s
  # std::string that cannot happen (GCC bugs 105651 and 105593).
  target_compile_options(espalier_flags INTERFACE
                         $<$<CONFIG:Release>:-Wno-restrict>
                         $<$<CONFIG:Release>:-Wno-maybe-uninitialized>)
endif()
if(ESPALIER_SANITIZE)
  add_compile_options(-fsanitize=${ESPALIER_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ESPALIER_SANITIZE})
endif()
if(ESPALIER_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

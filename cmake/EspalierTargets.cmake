# Three functions, so that a folder's CMakeLists.txt only lists names and dependencies.

# espalier_library(NAME SOURCES a.cc ... DEPS target ...)
function(espalier_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE $<BUILD_INTERFACE:espalier_flags>)
endfunction()

# espalier_test(NAME SOURCES a_test.cc ... DEPS target ... [LABELS slow ...] [PROCESSORS n])
# Tests run in the source root, so that they name committed files by relative paths. PROCESSORS: how
# many cores a test keeps busy, for ctest's planning. A sanitizer makes a test up to ten times slower.
function(espalier_test name)
  if(NOT BUILD_TESTING)
    return()
  endif()
  cmake_parse_arguments(ARG "" "PROCESSORS" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_PROCESSORS)
    set(ARG_PROCESSORS 1)
  endif()
  set(timeout 300)
  if(ESPALIER_SANITIZE)
    set(timeout 1500)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} espalier_flags GTest::gmock espalier_test_main)
  gtest_discover_tests(${name} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}" DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT ${timeout} LABELS "${ARG_LABELS}"
                                  PROCESSORS ${ARG_PROCESSORS})
endfunction()

# espalier_binary(NAME SOURCES main.cc ... DEPS target ...)  An installed program.
function(espalier_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} espalier_flags)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endfunction()

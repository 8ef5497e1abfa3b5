# The CUDA kernels, as C++ on the emulation of a GPU, and their tests, each cuda_NAME.
file(GLOB RORA_CUDA_TEST_SOURCES CONFIGURE_DEPENDS native/tests/cuda/*_test.cpp)
file(GLOB RORA_SIMT_SOURCES CONFIGURE_DEPENDS native/tests/simt/*.cpp)
set_source_files_properties(${RORA_CUDA_SOURCES} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_library(rora_simt_objects OBJECT ${RORA_SIMT_SOURCES} ${RORA_CUDA_SOURCES})
target_link_libraries(rora_simt_objects PRIVATE rora_options)
# The pragmas ask nvcc to unroll loops.
target_compile_options(rora_simt_objects PRIVATE -ffp-contract=off -Wno-unknown-pragmas)
target_compile_definitions(rora_simt_objects PRIVATE RORA_SIMT)
add_library(rora_simt STATIC $<TARGET_OBJECTS:rora_simt_objects>)
target_compile_definitions(rora_simt INTERFACE RORA_SIMT)
foreach(source ${RORA_CUDA_TEST_SOURCES})
  get_filename_component(test ${source} NAME_WE)
  string(REGEX REPLACE "_test$" "" test ${test})
  rora_test(cuda_${test} ${source} ${PROJECT_BINARY_DIR}/tests/cuda rora_simt)
  target_compile_options(cuda_${test} PRIVATE -ffp-contract=off)
endforeach()

# Planted bugs, each of which the tests above must find: mutations.cmake.
if(NOT RORA_SANITIZE)
  set(settings "set(COMPILER \"${CMAKE_CXX_COMPILER}\")
set(FLAGS ${CMAKE_CXX_FLAGS})
set(SOURCES \"${PROJECT_SOURCE_DIR}\")
set(SCRATCH \"${PROJECT_BINARY_DIR}/mutations\")
set(LIBRARY \"$<TARGET_FILE:rora_simt>\")
set(OBJECTS \"$<TARGET_OBJECTS:rora_testing>")
  foreach(objects ${RORA_OBJECTS})
    string(APPEND settings ";$<TARGET_OBJECTS:${objects}>")
  endforeach()
  string(APPEND settings "\")\n")
  foreach(source ${RORA_CUDA_TEST_SOURCES})
    get_filename_component(test ${source} NAME_WE)
    string(REGEX REPLACE "_test$" "" test ${test})
    string(APPEND settings "set(OBJECTS_${test} \"$<TARGET_OBJECTS:cuda_${test}>\")\n")
  endforeach()
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/mutations/settings.cmake CONTENT "${settings}")
  add_test(NAME cuda_mutations
           COMMAND ${CMAKE_COMMAND} -DSETTINGS=${PROJECT_BINARY_DIR}/mutations/settings.cmake -P
                   ${PROJECT_SOURCE_DIR}/native/tests/cuda/mutate.cmake)
  set_tests_properties(cuda_mutations PROPERTIES TIMEOUT 1800 PROCESSORS 2)
endif()

# The same as a backend: operators' tests on a device of it, each simt_NAME. It stands beside the
# tests' executables, where a context looks for it. Sanitized the kernels' own tests are enough.
add_library(rora_simt_backend SHARED $<TARGET_OBJECTS:rora_simt_objects>)
set_target_properties(
  rora_simt_backend PROPERTIES OUTPUT_NAME rora_simt LIBRARY_OUTPUT_DIRECTORY
                                                     ${PROJECT_BINARY_DIR}/tests)
target_link_libraries(rora_simt_backend PRIVATE rora_options Threads::Threads)
set(operators adapter attention batch dropout embedding linear linear_row_major linear_rows loss
              optimizer rmsnorm rope swiglu weight)
if(RORA_SANITIZE)
  set(operators)
endif()
foreach(test ${operators})
  add_test(NAME simt_${test} COMMAND ${test}_test)
  # Private: the host may not reach the device's memory in place, as with a GPU's. The tests of rows
  # write the device's memory in place, which only the emulation's allows.
  set(environment RORA_TEST_DEVICE=simt)
  if(NOT test MATCHES "^linear_row")
    list(APPEND environment RORA_SIMT_PRIVATE=1)
  endif()
  set_tests_properties(simt_${test} PROPERTIES TIMEOUT 600 ENVIRONMENT "${environment}")
  add_dependencies(${test}_test rora_simt_backend)
endforeach()
add_dependencies(cuda_stream rora_simt_backend)
if(TARGET rora_cuda)
  add_test(NAME cuda_no_spills
           COMMAND ${CMAKE_COMMAND} "-DLOGS=${RORA_CUDA_LOGS}" -P
                   ${PROJECT_SOURCE_DIR}/native/tests/ptxas.cmake)
endif()

# Cases of the same kernels in the PTX simulator that RORA_PTXSIM names, each ptx_NAME_TYPE;
# native/tests/ptx/run runs single ones. Skipped where there is no simulator or no nvcc.
file(GLOB RORA_PTX_SOURCES CONFIGURE_DEPENDS native/tests/ptx/*.cpp)
add_executable(rora_ptx ${RORA_PTX_SOURCES})
target_link_libraries(rora_ptx PRIVATE rora_options rora_simt ${CMAKE_DL_LIBS})
target_compile_options(rora_ptx PRIVATE -ffp-contract=off)
target_compile_definitions(
  rora_ptx PRIVATE RORA_SOURCES="${PROJECT_SOURCE_DIR}" RORA_NM="${CMAKE_NM}"
                   RORA_PTX_CACHE="${PROJECT_BINARY_DIR}/ptx")
set_target_properties(rora_ptx PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
if(NOT RORA_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  set(cases)  # the lines of the sources' tables
  foreach(source ${RORA_PTX_SOURCES})
    file(STRINGS ${source} lines REGEX "^ +{\"[a-z_]+\", \"[a-z_]+\",")
    list(APPEND cases ${lines})
  endforeach()
  foreach(case ${cases})
    string(REGEX REPLACE "^ +{\"([a-z_]+)\".*" "\\1" kernel "${case}")
    foreach(dtype fp32 bf16)
      add_test(NAME ptx_${kernel}_${dtype}
               COMMAND rora_ptx --kernel ${kernel} --dtype ${dtype} --m 37 --n 72 --k 40 --rank 8
                       --schedule random)
      set_tests_properties(ptx_${kernel}_${dtype} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
    endforeach()
  endforeach()
endif()

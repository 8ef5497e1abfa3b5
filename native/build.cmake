# Configures and builds librora, and runs the native tests:
#   cmake [-DBUILD=build] [-DTARGET=rora] [-DTEST=ON] [-DSANITIZE=ON] [-DARM64=ON] \
#         [-DCUDA=OFF] [-DCLASSES=dir] -P native/build.cmake
# CUDA=OFF leaves librora_cuda.so out, which is built where nvcc is.
# ARM64 cross-compiles and runs the tests under qemu; without the tools it says so and does nothing.
# CLASSES is where JavaCPP puts its own library in a folder for the platform: librora.so is brought up
# to date beside it, and librora_cuda.so put there. A script, so that Maven needs one command on every machine and does not guess the number of cores.
cmake_minimum_required(VERSION 3.20)
include(ProcessorCount)
get_filename_component(root ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
if(NOT BUILD)
  set(BUILD ${root}/build)
  if(ARM64)
    set(BUILD ${root}/build/arm64)
  endif()
endif()
if(NOT TARGET)
  set(TARGET all)
endif()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${result}): ${command}")
  endif()
endfunction()

ProcessorCount(cores)
if(cores EQUAL 0)
  set(cores 1)
endif()
set(sanitize OFF)
if(SANITIZE)
  set(sanitize ON)
endif()

set(toolchain)
set(tests_at_once 1) # a test has threads of its own
if(ARM64)
  find_program(compiler aarch64-linux-gnu-g++)
  find_program(qemu NAMES qemu-aarch64 qemu-aarch64-static)
  if(NOT compiler OR NOT qemu)
    message(STATUS "the arm64 build and its tests are skipped: they need aarch64-linux-gnu-g++ and "
                   "qemu-aarch64 (apt-get install g++-aarch64-linux-gnu qemu-user)")
    return()
  endif()
  set(toolchain -DCMAKE_TOOLCHAIN_FILE=${root}/native/aarch64-linux-gnu.cmake)
  set(tests_at_once ${cores})
endif()

set(cuda)
if(DEFINED CUDA)
  set(cuda -DRORA_CUDA=${CUDA})
endif()
run(${CMAKE_COMMAND} -S ${root} -B ${BUILD} -DCMAKE_BUILD_TYPE=Release -DRORA_SANITIZE=${sanitize}
    ${cuda} ${toolchain})
run(${CMAKE_COMMAND} --build ${BUILD} --target ${TARGET} --parallel ${cores})
if(TEST)
  run(${CMAKE_CTEST_COMMAND} --test-dir ${BUILD} --output-on-failure --no-tests=ignore --parallel
      ${tests_at_once})
endif()

if(CLASSES)
  file(GLOB jni ${CLASSES}/*/libjniRora.so)
  foreach(library ${jni})
    get_filename_component(folder ${library} DIRECTORY)
    file(COPY ${BUILD}/librora.so DESTINATION ${folder})
  endforeach()
  cmake_host_system_information(RESULT processor QUERY OS_PLATFORM)
  if(EXISTS ${BUILD}/librora_cuda.so AND processor STREQUAL "x86_64")
    file(COPY ${BUILD}/librora_cuda.so DESTINATION ${CLASSES}/linux-x86_64)
  endif()
endif()

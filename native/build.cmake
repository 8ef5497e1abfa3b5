# Configures and builds librora, and runs the native tests:
#   cmake [-DBUILD=build] [-DTARGET=rora] [-DTEST=ON] [-DSANITIZE=ON] \
#         [-DCLASSES=dir] -P native/build.cmake
# CLASSES is where JavaCPP has put its own library in a folder for the platform: librora.so is brought
# up to date beside it. A script, so that Maven needs one command on every machine and does not guess the number of cores.
cmake_minimum_required(VERSION 3.20)
include(ProcessorCount)
get_filename_component(root ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
if(NOT BUILD)
  set(BUILD ${root}/build)
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

run(${CMAKE_COMMAND} -S ${root} -B ${BUILD} -DCMAKE_BUILD_TYPE=Release -DRORA_SANITIZE=${sanitize})
run(${CMAKE_COMMAND} --build ${BUILD} --target ${TARGET} --parallel ${cores})
if(TEST)
  run(${CMAKE_CTEST_COMMAND} --test-dir ${BUILD} --output-on-failure --no-tests=ignore)
endif()

if(CLASSES)
  file(GLOB jni ${CLASSES}/*/libjniRora.so)
  foreach(library ${jni})
    get_filename_component(folder ${library} DIRECTORY)
    file(COPY ${BUILD}/librora.so DESTINATION ${folder})
  endforeach()
endif()

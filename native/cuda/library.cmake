# librora_cuda.so, wherever nvcc is: opened when a context asks for "cuda". The same sources are C++ for
# the emulation below, so nvcc is called by hand.
find_program(RORA_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
option(RORA_CUDA "Build librora_cuda.so where nvcc is" ON)
set(RORA_CUDA_ARCHITECTURES 80 86 89 90 100 120 CACHE STRING "Of the GPUs it is compiled for")
add_custom_target(rora_libraries)
if(TARGET rora)
  add_dependencies(rora_libraries rora)
endif()
if(RORA_CUDA AND RORA_NVCC AND NOT RORA_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  set(RORA_CUDA_OBJECTS)
  set(RORA_CUDA_LOGS)
  file(GLOB RORA_CUDA_HEADERS CONFIGURE_DEPENDS native/cuda/*.h native/api/*.h native/include/rora/*.h)
  set(folder ${PROJECT_BINARY_DIR}/cuda)
  file(MAKE_DIRECTORY ${folder})
  foreach(source ${RORA_CUDA_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_custom_command(
      OUTPUT ${folder}/${name}.o
      BYPRODUCTS ${folder}/${name}.log
      COMMAND
        ${CMAKE_COMMAND} -DNVCC=${RORA_NVCC} -DSOURCE=${source} -DOBJECT=${folder}/${name}.o
        -DLOG=${folder}/${name}.log "-DARCHITECTURES=${RORA_CUDA_ARCHITECTURES}"
        "-DINCLUDES=${PROJECT_SOURCE_DIR}/native;${PROJECT_SOURCE_DIR}/native/include" -P
        ${PROJECT_SOURCE_DIR}/native/nvcc.cmake
      DEPENDS ${source} ${RORA_CUDA_HEADERS} native/nvcc.cmake
      VERBATIM)
    list(APPEND RORA_CUDA_OBJECTS ${folder}/${name}.o)
    list(APPEND RORA_CUDA_LOGS ${folder}/${name}.log)
  endforeach()
  add_custom_command(
    OUTPUT ${PROJECT_BINARY_DIR}/librora_cuda.so
    COMMAND ${RORA_NVCC} -shared -cudart static -o ${PROJECT_BINARY_DIR}/librora_cuda.so
            ${RORA_CUDA_OBJECTS} -Xlinker -z,defs -Xlinker
            --version-script=${PROJECT_SOURCE_DIR}/native/cuda/exports.map
    DEPENDS ${RORA_CUDA_OBJECTS} native/cuda/exports.map
    VERBATIM)
  add_custom_target(rora_cuda ALL DEPENDS ${PROJECT_BINARY_DIR}/librora_cuda.so)
  add_dependencies(rora_libraries rora_cuda)
elseif(RORA_CUDA AND NOT RORA_NVCC)
  message(STATUS "librora_cuda.so is left out: there is no nvcc")
endif()

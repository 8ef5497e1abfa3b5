# What runs on a GPU: the operators' tests, each gpu_NAME, skipped where there is none, and
# rora_gpu_bench, which times the kernels. All of it is the target rora_gpu_check, which
# benchmarks/gpu-check.sh builds and runs. A test builds rora_gpu_bench too, where nothing can run it.
if(TARGET rora_cuda)
  set(folder ${PROJECT_BINARY_DIR}/tests/gpu)
  file(MAKE_DIRECTORY ${folder})
  file(GLOB sources CONFIGURE_DEPENDS native/tests/gpu/*.cu)
  file(GLOB headers CONFIGURE_DEPENDS native/tests/gpu/*.h)
  set(objects)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_custom_command(
      OUTPUT ${folder}/${name}.o
      COMMAND
        ${CMAKE_COMMAND} -DNVCC=${RORA_NVCC} -DSOURCE=${source} -DOBJECT=${folder}/${name}.o
        -DLOG=${folder}/${name}.log "-DARCHITECTURES=${RORA_CUDA_ARCHITECTURES}"
        "-DINCLUDES=${PROJECT_SOURCE_DIR}/native;${PROJECT_SOURCE_DIR}/native/include" -P
        ${PROJECT_SOURCE_DIR}/native/nvcc.cmake
      DEPENDS ${source} ${headers} ${RORA_CUDA_HEADERS} native/nvcc.cmake
      VERBATIM)
    list(APPEND objects ${folder}/${name}.o)
  endforeach()
  set(bench ${folder}/rora_gpu_bench)
  add_custom_command(
    OUTPUT ${bench}
    COMMAND ${RORA_NVCC} -cudart static -o ${bench} ${objects} ${RORA_CUDA_OBJECTS} -ldl
    DEPENDS ${objects} ${RORA_CUDA_OBJECTS}
    VERBATIM)
  add_custom_target(rora_gpu_bench DEPENDS ${bench})
  add_dependencies(rora_gpu_bench rora_cuda)  # which makes the objects
  add_test(NAME cuda_bench_builds
           COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target rora_gpu_bench)
  set_tests_properties(cuda_bench_builds PROPERTIES TIMEOUT 600)

  add_custom_target(rora_gpu_check)
  add_dependencies(rora_gpu_check rora_cuda rora_gpu_bench)
  list(FILTER operators EXCLUDE REGEX "^linear_row")  # they write the device's memory in place
  foreach(test ${operators})
    add_dependencies(rora_gpu_check ${test}_test)
    add_test(NAME gpu_${test} COMMAND ${test}_test)
    set_tests_properties(
      gpu_${test} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 ENVIRONMENT
                  "RORA_TEST_DEVICE=cuda;RORA_TEST_BACKENDS=${PROJECT_BINARY_DIR}")
  endforeach()
endif()

# What the script says of machines that lack something.
find_program(RORA_BASH bash)
if(RORA_BASH)
  add_test(NAME check_script
           COMMAND ${RORA_BASH} ${PROJECT_SOURCE_DIR}/native/tests/gpu/check_script_test.sh)
endif()

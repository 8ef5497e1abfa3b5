# Compiles one .cu file and keeps what ptxas says of registers and spills:
#   cmake -DNVCC=nvcc -DSOURCE=x.cu -DOBJECT=x.o -DLOG=x.log -DINCLUDES=a;b -DARCHITECTURES=80;90 -P native/nvcc.cmake
cmake_minimum_required(VERSION 3.20)
list(GET ARCHITECTURES 0 oldest)
set(codes compute_${oldest}) # the driver compiles it for later GPUs
foreach(architecture ${ARCHITECTURES})
  list(APPEND codes sm_${architecture})
endforeach()
list(JOIN codes "," codes)
set(flags -std=c++20 -O3 -DNDEBUG --threads 2 -compress-mode=size -Xptxas -v -Xcompiler=-fPIC,-fvisibility=hidden
          "-gencode=arch=compute_${oldest},code=[${codes}]")
foreach(include ${INCLUDES})
  list(APPEND flags -I${include})
endforeach()
execute_process(
  COMMAND ${NVCC} ${flags} -c ${SOURCE} -o ${OBJECT}
  OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
file(WRITE ${LOG} "${said}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "nvcc failed on ${SOURCE}:\n${said}")
endif()
string(REGEX MATCHALL "[^\n]*warning[^\n]*" warnings "${said}")
if(warnings)
  message(FATAL_ERROR "nvcc warns of ${SOURCE}:\n${said}")
endif()

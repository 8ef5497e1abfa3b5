# The portable kernels are vectors of four floats on every processor, not loops that the compiler left
# scalar: of the products in OBJECT, most have to be packed ones.
#   cmake -DOBJECT=level.cpp.o -DOBJDUMP=objdump -DPROCESSOR=x86_64 -P vectorised.cmake
if(PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(packed "\tv?(mulps|fmadd[0-9]+ps)")
  set(scalar "\tv?(mulss|fmadd[0-9]+ss)")
elseif(PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(packed "\t(fmla|fmul)\tv[0-9]+\\.4s")
  set(scalar "\t(fmadd|fmul)\ts[0-9]+")
else()
  message(STATUS "skipped: the names of ${PROCESSOR}'s vector instructions are not known here")
  return()
endif()

execute_process(COMMAND ${OBJDUMP} -d ${OBJECT} OUTPUT_VARIABLE code RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${OBJDUMP} -d ${OBJECT} failed: ${result}")
endif()
string(REGEX MATCHALL "${packed}" packed "${code}")
string(REGEX MATCHALL "${scalar}" scalar "${code}")
list(LENGTH packed packed)
list(LENGTH scalar scalar)
math(EXPR least "4 * ${scalar}")
if(packed LESS 300 OR packed LESS least)
  message(FATAL_ERROR "${OBJECT} has ${packed} packed products and ${scalar} scalar ones: expected at "
                      "least 300 packed ones, and four for each scalar one")
endif()
message(STATUS "${packed} packed products, ${scalar} scalar ones")

# Sees that all C++ is laid out by .clang-format. To lay it out:
#   clang-format -i $(git ls-files native/*.h native/*.cpp native/*.cu)
cmake_minimum_required(VERSION 3.20)
get_filename_component(native ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
file(GLOB_RECURSE sources ${native}/*.h ${native}/*.cpp ${native}/*.cu)
execute_process(COMMAND ${CLANG_FORMAT} --dry-run -Werror ${sources} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "some files are not laid out by .clang-format")
endif()

# cmake -DREADELF=... -DSTRIP=... -DFILES=a,b -P CheckLibrary.cmake
# The runtime library, and a C program with the static one in it, must need libc
# and libm alone; the library, stripped, must be less than 1 MB and export
# nothing but the C API. -DALSO=REGEX: what else the first file may need.
if(NOT DEFINED ALSO)
  set(ALSO "nothing else")
endif()
string(REPLACE "," ";" FILES "${FILES}")
foreach(file ${FILES})
  execute_process(COMMAND ${READELF} -d ${file} OUTPUT_VARIABLE dynamic
    COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "NEEDED[^\n]*" needed "${dynamic}")
  if(NOT needed)
    message(FATAL_ERROR "${file}: no NEEDED at all in\n${dynamic}")
  endif()
  foreach(line ${needed})
    if(NOT line MATCHES "\\[(libc|libm)\\.so\\.6\\]" AND
       NOT line MATCHES "\\[${ALSO}\\]")
      message(FATAL_ERROR "${file} needs more than libc and libm: ${line}")
    endif()
  endforeach()
endforeach()

list(GET FILES 0 library)
get_filename_component(library ${library} REALPATH)
set(stripped ${CMAKE_CURRENT_BINARY_DIR}/stripped-copy.so)
execute_process(COMMAND ${STRIP} -o ${stripped} ${library}
  COMMAND_ERROR_IS_FATAL ANY)
file(SIZE ${stripped} size)
file(REMOVE ${stripped})
if(size GREATER_EQUAL 1000000)
  message(FATAL_ERROR "the stripped runtime has ${size} bytes")
endif()
execute_process(COMMAND ${READELF} --dyn-syms -W ${library}
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]*(GLOBAL|WEAK) +DEFAULT +[0-9]+ [^\n]*" exported
  "${symbols}")
set(count 0)
foreach(line ${exported})
  if(NOT line MATCHES " ferrite[A-Z][A-Za-z]*$")
    message(FATAL_ERROR "exported, but not of the C API: ${line}")
  endif()
  math(EXPR count "${count} + 1")
endforeach()
if(count LESS 15)
  message(FATAL_ERROR "only ${count} functions are exported")
endif()
message(STATUS "${size} bytes stripped, ${count} functions exported")

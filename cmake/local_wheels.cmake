# ROS 2 wheels carry CMake files that name the Python and NumPy headers of the machine they were built on
# (/opt/python/cp3xx-cp3xx/…). This replaces such include folders, where they do not exist, by those of the Python
# that builds. On an ordinary ROS installation every folder exists and nothing changes.
function(keytrack_repair_python_includes)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
      "import numpy, sysconfig; print(sysconfig.get_path('include') + ';' + numpy.get_include(), end='')"
    OUTPUT_VARIABLE local_includes
    COMMAND_ERROR_IS_FATAL ANY)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT includes)
      continue()
    endif()
    set(repaired "")
    set(missing FALSE)
    foreach(folder IN LISTS includes)
      if(folder MATCHES "^/opt/" AND NOT EXISTS "${folder}")
        set(missing TRUE)
      else()
        list(APPEND repaired "${folder}")
      endif()
    endforeach()
    if(missing)
      list(APPEND repaired ${local_includes})
      list(REMOVE_DUPLICATES repaired)
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${repaired}")
    endif()
  endforeach()
endfunction()

# What `cmake --install` puts where, beyond the runtime's own rules, and
# `ninja uninstall`. Included last at the top, when all targets exist.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Ferrite)

if(TARGET ferrite_rt)
  install(EXPORT FerriteTargets NAMESPACE Ferrite:: DESTINATION ${config_dir})
  configure_package_config_file(
    ${CMAKE_CURRENT_LIST_DIR}/FerriteConfig.cmake.in
    ${PROJECT_BINARY_DIR}/FerriteConfig.cmake
    INSTALL_DESTINATION ${config_dir}
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_BINDIR)
  # Before 1.0 a minor version may change the ABI.
  write_basic_package_version_file(
    ${PROJECT_BINARY_DIR}/FerriteConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/FerriteConfig.cmake
    ${PROJECT_BINARY_DIR}/FerriteConfigVersion.cmake DESTINATION ${config_dir})
endif()
if(TARGET ferrite)
  install(TARGETS ferrite DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET ferrite_compiler)
  # LLVM's libraries lie in a folder that the loader does not search.
  set_target_properties(ferrite_compiler PROPERTIES
    INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS ferrite_compiler DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/include/ferrite/compiler.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ferrite)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/tools/dev/NOTICE
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/ferrite)

add_custom_target(uninstall
  COMMAND ${CMAKE_COMMAND} -D MANIFEST_DIR=${PROJECT_BINARY_DIR}
    -P ${CMAKE_CURRENT_LIST_DIR}/Uninstall.cmake
  COMMENT "Removing what was installed")

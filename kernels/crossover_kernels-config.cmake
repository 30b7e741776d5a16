include(CMakeFindDependencyMacro)
find_dependency(CUDAToolkit)
include(${CMAKE_CURRENT_LIST_DIR}/crossover_kernels-targets.cmake)

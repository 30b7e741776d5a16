/* The header by itself, in C. */
#include <crossover/crossover_kernels.h>

size_t bytes_in_c(int world_size);
size_t bytes_in_c(int world_size) { return crossover_workspace_bytes(world_size, 1 << 20); }

#pragma once
/// Marks functions that host and device code share.

#ifdef __CUDACC__
#define CROSSOVER_HOST_DEVICE __host__ __device__
#else
#define CROSSOVER_HOST_DEVICE
#endif

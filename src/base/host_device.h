#pragma once

// Before a function that the host and CUDA kernels share, so that both compute the same bits.
#ifdef __CUDACC__
#define TRIREME_HD __host__ __device__
#else
#define TRIREME_HD
#endif

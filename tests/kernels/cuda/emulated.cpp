// kernels/cuda for a CPU (testkit/cuda/cuda_emulation.h).
#include "testkit/cuda/cuda_emulation.h"
// Then the kernels, as they are.
#include "kernels/cuda/attention.cu"
#include "kernels/cuda/experts.cu"
#include "kernels/cuda/matmul.cu"
#include "kernels/cuda/norms.cu"
#include "kernels/cuda/prompt_attention.cu"
#include "kernels/cuda/rope.cu"
#include "kernels/cuda/rows.cu"
#include "kernels/cuda/sampling.cu"
#include "kernels/cuda/stream_matmul.cu"
#include "kernels/cuda/tile_matmul.cu"
#include "kernels/cuda/warpgroup_matmul.cu"

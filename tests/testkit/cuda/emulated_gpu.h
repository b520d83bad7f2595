#pragma once

// A GPU that does not exist, with what is hard about a real one: memory that the host cannot touch (it faults), host
// memory that the GPU cannot, and work that is not done before somebody asks whether it is. Of the environment, a
// number for all ranks or for one ("1@2"): TRIREME_EMULATED_GPUS (1), TRIREME_EMULATED_GPU_MIB (8192),
// TRIREME_EMULATED_GPU_SM (80), TRIREME_EMULATED_GPU_1_SM (80; the second GPU's), TRIREME_EMULATED_GPU_DRIVER (13000:
// the CUDA that it runs; 0: there is none), TRIREME_EMULATED_GPU_TAKEN (0): exclusive mode has let in another process,
// TRIREME_EMULATED_GPU_HANGS (0),
// TRIREME_EMULATED_GPU_ALONE (0): it reaches no other process's memory, TRIREME_EMULATED_GPU_OPENS_ELSEWHERE (0): what
// it opens of another process is 1: other memory, 2: the same, but what it writes there does not arrive,
// TRIREME_EMULATED_GPU_NO_GRAPHS (0): 1: it has no room for graphs, 2: it has none for their first launch, 3: a graph's
// end is an error, 4: a launch in one is, TRIREME_EMULATED_GPU_NO_LOCKING (0): the host has no memory to lock for
// another's, TRIREME_EMULATED_GPU_BLOCKS_IN: a call that never returns, TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE
// (unset): bf16, f16: such products, than its mma.sync does. Its queue is as long as a real one's. CUDA_VISIBLE_DEVICES
// is obeyed.
#include <cstddef>
#include <functional>

namespace trireme::testkit {

// Whether all of these bytes are GPU memory, or host memory that is page-locked.
bool gpu_reaches(const void* data, size_t bytes);

// Does `work` when the host next asks for the stream, with GPU memory within reach.
void enqueue(void* stream, std::function<void()> work);

// A kernel. begin: what it does before it waits for earlier ones, if it may begin while the one before it is at work;
// says whether the next kernel may begin then, too.
void enqueue_kernel(void* stream, std::function<bool()> begin, std::function<void()> work);

// Kernels enqueued so far that may begin early.
int early_kernels();
// What the next kernel that is enqueued does first, when it runs.
void before_next_kernel(std::function<void()> check);

// Whether a stream's work is recorded for a graph.
bool is_recording();
// Work that may have to wait for others: it is asked again, whenever the host asks for the stream, until it says true.
void enqueue_waiting(void* stream, std::function<bool()> work);

}  // namespace trireme::testkit

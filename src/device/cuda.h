#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bounded_call.h"
#include "device/device.h"

namespace trireme {

// GPUs that this process may use (CUDA_VISIBLE_DEVICES obeyed). None: `missing` says why and what to do, in one line.
struct CudaProbe {
  int gpus = 0;
  std::string missing;
};
CudaProbe probe_cuda();

// What this build computes with on GPUs, for people: "13.0, for sm_80, sm_90a, PTX of sm_90"; "none".
std::string cuda_build();
// The architectures that its kernels are compiled for, as nvcc names them: "sm_80 sm_90a compute_90"; "".
std::string_view cuda_code();
// Why such code does not run on GPUs of an architecture (75: sm_75), in words behind the GPU's name; "": it does.
std::string cuda_unfit(int architecture, std::string_view code = cuda_code());

// A second stream of a GPU, for what may wait for other ranks: its operations run in their own order, beside the
// device's. Belongs to the device, which outlives it.
class Lane {
 public:
  virtual ~Lane() = default;
  Lane() = default;
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  virtual void* stream() = 0;      // the cudaStream_t, for a library that enqueues on it
  virtual void follow() = 0;       // what comes next here waits for all that the device has been given so far
  virtual void mark(int i) = 0;    // this point gets the number i, in place of an earlier one
  virtual bool passed(int i) = 0;  // whether all before mark i is done; never waits. Throws when the GPU has failed.
  virtual void lead(int i) = 0;    // what the device is given next waits for all before mark i
};

// A GPU: operations and copies are enqueued on one stream, in their order. Pinned memory is the host's, page-locked;
// the GPU reads and writes it over its link.
class CudaDevice : public Device {
 public:
  // What its kernels take at most: units of a contraction, or experts; roots of all ranks of a sum; values of a head.
  static constexpr int kMostUnits = 2048, kMostRoots = 128, kMostHeadDim = 512;

  // gpu: from 0 on, of those that the process sees. wait: how long synchronize() may wait for the GPU, and how long any
  // call of the driver may take; then `end` ends the job, as Watchdog has it. graphs: whether repeat() makes CUDA
  // graphs; early: whether with them kernels begin early (Launch::early). Throws Error(configuration) when the GPU
  // cannot be used.
  static std::unique_ptr<CudaDevice> open(int gpu, std::chrono::milliseconds wait, bool graphs = true,
                                          Watchdog::End end = Watchdog::end_here, bool early = true);

  virtual const Kernels& kernels() const = 0;
  // Those of `fast`: kernels(), but BF16 rows are multiplied by cuBLASLt, in a workspace that stays allocated. Null:
  // `missing` says why, in one line. prefixes: where to look beside the usual places.
  virtual const Kernels* fast_kernels(std::span<const std::string> prefixes, std::string& missing) = 0;
  virtual std::string name() const = 0;  // "GPU 0 (NVIDIA H200, sm_90)"
  virtual std::string uuid() const = 0;  // 32 digits of the GPU's, or of its MIG instance's: equal where ranks share it
  virtual std::string chip() const = 0;  // PCI address: on one host, equal where ranks share it, under MIG, too
  virtual int64_t available_bytes() const = 0;  // free now
  // Why repeat() goes without graphs though it was to make them; empty: it does not, or for want of memory.
  virtual std::string graphs_refused() const = 0;

  // marks: numbers from 0 on that the lane has.
  virtual std::unique_ptr<Lane> open_lane(int marks) = 0;
  // From now on operations may wait for `whom`, behind a lane: a waiting host calls `ask` again and again, which throws
  // what it knows, and names `whom` when the deadline passes. Empty: for nobody any more.
  virtual void waits_for(std::string whom, std::function<void()> ask) = 0;
};

}  // namespace trireme

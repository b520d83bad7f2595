#include "testkit/cuda/emulated_gpu.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace trireme::testkit {

namespace {

int setting(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

size_t whole_pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

struct Gpu {
  std::map<std::byte*, size_t> own, locked;  // by first byte
  size_t used = 0;
  const size_t total = static_cast<size_t>(setting("TRIREME_EMULATED_GPU_MIB", 8192)) << 20;

  void let(int protection) {
    for (auto& [data, bytes] : own) mprotect(data, whole_pages(bytes), protection);
  }
  static bool covers(const std::map<std::byte*, size_t>& ranges, const void* data, size_t bytes) {
    auto* begin = static_cast<std::byte*>(const_cast<void*>(data));
    auto after = ranges.upper_bound(begin);
    if (after == ranges.begin()) return false;
    const auto& [first, size] = *std::prev(after);
    return begin + bytes <= first + size;
  }
};
Gpu gpu;
cudaError_t last_error = cudaSuccess;

struct Stream {
  std::deque<std::function<void()>> work;
};

void* map(size_t bytes, int protection) {
  void* data = mmap(nullptr, whole_pages(bytes), protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

}  // namespace

bool gpu_reaches(const void* data, size_t bytes) {
  return bytes == 0 || Gpu::covers(gpu.own, data, bytes) || Gpu::covers(gpu.locked, data, bytes);
}

void enqueue(void* stream, std::function<void()> work) {
  static_cast<Stream*>(stream)->work.push_back(std::move(work));
}

}  // namespace trireme::testkit

using namespace trireme::testkit;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = setting("TRIREME_EMULATED_GPUS", 1);
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  std::strcpy(properties->name, "emulated");
  const int sm = setting("TRIREME_EMULATED_GPU_SM", 80);
  properties->major = sm / 10, properties->minor = sm % 10;
  properties->uuid.bytes[0] = static_cast<char>(device + 1);
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = gpu.total - gpu.used, *total = gpu.total;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (bytes > gpu.total - gpu.used || !(*data = map(bytes, PROT_NONE))) return cudaErrorMemoryAllocation;
  gpu.own[static_cast<std::byte*>(*data)] = bytes;
  gpu.used += bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  auto found = gpu.own.find(static_cast<std::byte*>(data));
  if (found == gpu.own.end()) return cudaErrorInvalidValue;
  munmap(data, whole_pages(found->second));
  gpu.used -= found->second;
  gpu.own.erase(found);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  if (!(*data = map(bytes, PROT_READ | PROT_WRITE))) return cudaErrorMemoryAllocation;
  gpu.locked[static_cast<std::byte*>(*data)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  auto found = gpu.locked.find(static_cast<std::byte*>(data));
  if (found == gpu.locked.end()) return cudaErrorInvalidValue;
  munmap(data, whole_pages(found->second));
  gpu.locked.erase(found);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void* data, size_t bytes, unsigned) {
  return gpu.locked.emplace(static_cast<std::byte*>(data), bytes).second ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostUnregister(void* data) {
  return gpu.locked.erase(static_cast<std::byte*>(data)) ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaHostGetDevicePointer(void** seen, void* data, unsigned) {
  *seen = data;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete static_cast<Stream*>(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  auto& work = static_cast<Stream*>(stream)->work;
  if (work.empty()) return cudaSuccess;
  gpu.let(PROT_READ | PROT_WRITE);
  for (; !work.empty(); work.pop_front()) work.front()();
  gpu.let(PROT_NONE);
  return last_error = cudaErrorNotReady;  // the next to ask hears that all is done
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  if (!gpu_reaches(data, bytes)) return cudaErrorInvalidValue;
  enqueue(stream, [=] { std::memset(data, value, bytes); });
  return cudaSuccess;
}
// From pageable memory bytes are read at once; into it nothing of ours is copied.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (!gpu_reaches(to, bytes)) return cudaErrorInvalidValue;
  if (gpu_reaches(from, bytes)) {
    enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  } else {
    auto* first = static_cast<const std::byte*>(from);
    enqueue(stream, [to, staged = std::vector<std::byte>(first, first + bytes)] {
      std::memcpy(to, staged.data(), staged.size());
    });
  }
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
const char* cudaGetErrorString(cudaError_t error) {
  static thread_local std::string text;
  text = "emulated error " + std::to_string(static_cast<int>(error));
  return text.c_str();
}

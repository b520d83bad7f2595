#include "device/cpu_device.h"

#include <doctest/doctest.h>

#include <atomic>

using namespace trireme;

namespace {

// Threads that an operation is launched on.
std::atomic<int> calls{0};
template <typename Args>
void count_calls(const Launch&, const Args&) {
  calls++;
}
template <typename Args>
int threads_of(const Args& args) {
  CpuDevice device(3, {});
  calls = 0;
  device.launch(count_calls<Args>, args);
  return calls;
}

}  // namespace

TEST_CASE(
    "an operation of few values is one thread's; a row that is not divided, however long; products are the team's") {
  std::vector<float> values(8192), weight(4096);
  const auto x = [&](int64_t rows, int64_t columns) { return MatrixView<float>(values.data(), rows, columns); };
  CHECK(threads_of(Scale{x(2, 1024), 2}) == 1);
  CHECK(threads_of(Scale{x(3, 1024), 2}) == 3);
  CHECK(threads_of(RmsNorm{x(1, 4096), weight, 1e-5f, x(1, 4096)}) == 1);
  CHECK(threads_of(RmsNorm{x(2, 4096), weight, 1e-5f, x(2, 4096)}) == 3);
  CHECK(threads_of(RmsNorm{x(1, 4096), std::span(weight).first(2048), 1e-5f, x(1, 4096)}) == 3);  // two heads
  CHECK(threads_of(Encode{x(1, 4096), {}}) == 1);
  CHECK(threads_of(Encode{x(2, 4096), {}}) == 3);
  CHECK(threads_of(RopeAppend{x(1, 4096), x(1, 1024), x(1, 1024), {}, {}, {}, {}}) == 1);
  CHECK(threads_of(RopeAppend{x(2, 2048), x(2, 512), x(2, 512), {}, {}, {}, {}}) == 3);
  CHECK(threads_of(MatMul{}) == 3);
  CHECK(threads_of(Attention{}) == 3);
}

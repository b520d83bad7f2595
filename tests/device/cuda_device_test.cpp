#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <vector>

#include "base/error.h"
#include "device/cuda.h"
#include "device/pinned_vector.h"
#include "testkit/cuda/emulated_gpu.h"

using namespace trireme;

namespace {

constexpr std::chrono::seconds kWait{5};

// A step that squares what stands in a pinned array, on the GPU, and counts how often it was asked for.
struct Step {
  CudaDevice& device;
  PinnedVector<float> in{device, 3, "a step's input"}, out{device, 3, "a step's output"};
  Buffer middle = device.allocate(3 * sizeof(float), "what stands between");
  int asked = 0;

  explicit Step(CudaDevice& on) : device(on) { in.resize(3), out.resize(3); }

  std::vector<float> run(int64_t key, std::vector<float> values) {
    std::copy(values.begin(), values.end(), in.begin());
    auto operations = [&] {
      asked++;
      MatrixView<float> x(middle.as<float>(), 1, 3);
      device.copy(middle.data(), in.data(), middle.bytes());
      device.launch(device.kernels().scale, Scale{x, 2, 0});
      device.launch(device.kernels().add_scaled, AddScaled{x, x, 1});
      device.copy(out.data(), middle.data(), middle.bytes());
    };
    device.repeat(key, std::ref(operations));
    device.synchronize();
    return {out.begin(), out.end()};
  }
};

}  // namespace

TEST_CASE("a host that touches a GPU's memory ends, as it would beside a real one: before its work and after it") {
  auto gpu = CudaDevice::open(0, kWait);
  CudaDevice& device = *gpu;
  const Buffer memory = device.allocate(64, "what is the GPU's");
  PinnedVector<std::byte> own(device, 64, "what is both's");
  own.resize(64);
  for (int times = 0; times < 2; times++) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGSEGV, SIG_DFL);  // doctest's would say that the test crashed
      _exit(*const_cast<const volatile char*>(memory.as<char>()));
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGSEGV);
    device.copy(memory.data(), own.data(), 64);
    device.synchronize();
  }
}

TEST_CASE("operations that repeat are asked for twice, and do their work on what stands there every time") {
  auto gpu = CudaDevice::open(0, kWait);
  Step step(*gpu);
  for (float x : {1.0f, 2.0f, 3.0f, 4.0f}) CHECK((step.run(7, {x, -x, 0.5f}) == std::vector<float>{4 * x, -4 * x, 2}));
  CHECK(step.asked == 2);
  CHECK((step.run(8, {5, 6, 7}) == std::vector<float>{20, 24, 28}));
  CHECK(step.asked == 3);
}

TEST_CASE("code of an architecture serves its generation, PTX all later ones, and that of sm_90a one GPU alone") {
  CHECK(cuda_build() == "13.0, for sm_80, sm_90a, PTX of sm_90");
  for (int architecture : {80, 86, 89, 90, 100, 120}) CHECK(cuda_unfit(architecture) == "");
  CHECK(cuda_unfit(75) == "is older than sm_80");
  CHECK(cuda_unfit(90, "sm_90a") == "");
  CHECK(cuda_unfit(80, "sm_90a") == "is older than sm_90");
  CHECK(cuda_unfit(100, "sm_80 sm_90a") ==
        "is none that this build has code for (sm_80 sm_90a; -Dgpu_arch adds others)");
  CHECK(cuda_unfit(86, "sm_80 sm_90a") == "");
}

TEST_CASE("warpgroups multiply where they have the bits of warps, on sm_90 alone") {
  CHECK_FALSE(CudaDevice::open(0, kWait)->kernels().warpgroups);
  setenv("TRIREME_EMULATED_GPU_SM", "90", 1);
  CHECK(CudaDevice::open(0, kWait)->kernels().warpgroups);
  for (const char* numbers : {"bf16", "f16"}) {
    setenv("TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE", numbers, 1);
    CHECK_FALSE(CudaDevice::open(0, kWait)->kernels().warpgroups);
  }
  unsetenv("TRIREME_EMULATED_GPU_WGMMA_ADDS_OTHERWISE");
  unsetenv("TRIREME_EMULATED_GPU_SM");
}

TEST_CASE("without graphs, and past the graphs that a device keeps, operations are asked for every time") {
  auto gpu = CudaDevice::open(0, kWait, false);
  Step plain(*gpu);
  for (int i = 0; i < 4; i++) CHECK(plain.run(7, {1, 2, 3}).front() == 4);
  CHECK(plain.asked == 4);

  auto other = CudaDevice::open(0, kWait);
  Step many(*other);
  for (int64_t key = 0; key < 100; key++)
    for (int i = 0; i < 3; i++) CHECK(many.run(key, {1, 2, 3}).back() == 12);
  CHECK(many.asked > 200);
  const int before = many.asked;
  many.run(5, {1, 1, 1});
  CHECK(many.asked == before);  // one of those kept
}

TEST_CASE("a GPU without room for a graph, or that refuses one, does the operations all the same") {
  for (const char* how : {"1", "2", "3", "4"}) {
    auto gpu = CudaDevice::open(0, kWait);
    Step step(*gpu);
    setenv("TRIREME_EMULATED_GPU_NO_GRAPHS", how, 1);
    for (float x : {1.0f, 2.0f, 3.0f}) CHECK((step.run(7, {x, x, x}) == std::vector<float>{4 * x, 4 * x, 4 * x}));
    unsetenv("TRIREME_EMULATED_GPU_NO_GRAPHS");
    CHECK(step.run(7, {5, 5, 5}).front() == 20);
    CHECK(gpu->graphs_refused().empty() == (*how < '3'));
  }
}

TEST_CASE("on sm_90 kernels begin early, behind kernels only") {
  const auto early_of = [](CudaDevice& gpu) {
    Step step(gpu);
    const auto lane = gpu.open_lane(1);
    const MatrixView<float> x(step.middle.as<float>(), 1, 3), none(step.middle.as<float>(), 0, 3);
    const auto scale = [&](MatrixView<float> rows) { gpu.launch(gpu.kernels().scale, Scale{rows, 1, 0}); };
    const auto copy = [&] { gpu.copy(step.out.data(), step.middle.data(), sizeof(float)); };
    const auto count = [](const auto& f) {
      const int before = testkit::early_kernels();
      f();
      return testkit::early_kernels() - before;
    };
    std::vector<int> early = {
        count([&] { copy(), scale(x), scale(x), scale(x); }),
        count([&] { copy(), scale(none), scale(x); }),  // no kernel between them
        count([&] { scale(none), scale(x); }),
        count([&] { lane->follow(), scale(x), lane->mark(0), lane->lead(0), scale(x), scale(x); }),
    };
    for (int i = 0; i < 3; i++) early.push_back(count([&] { gpu.repeat(9, [&] { scale(x), scale(x); }), scale(x); }));
    gpu.synchronize();
    return early;
  };
  CHECK(early_of(*CudaDevice::open(0, kWait)) == std::vector<int>(7));  // sm_80
  setenv("TRIREME_EMULATED_GPU_SM", "90", 1);
  // The first time operations are done, then recorded, then replayed.
  CHECK(early_of(*CudaDevice::open(0, kWait)) == std::vector<int>{2, 0, 1, 1, 3, 1, 0});
  CHECK(early_of(*CudaDevice::open(0, kWait, false)) == std::vector<int>(7));
  CHECK(early_of(*CudaDevice::open(0, kWait, true, Watchdog::end_here, false)) == std::vector<int>(7));
  auto gpu = CudaDevice::open(0, kWait);
  setenv("TRIREME_EMULATED_GPU_NO_GRAPHS", "3", 1);
  CHECK(early_of(*gpu) == std::vector<int>{2, 0, 1, 1, 3, 3, 3});
  unsetenv("TRIREME_EMULATED_GPU_NO_GRAPHS");
  CHECK_FALSE(gpu->graphs_refused().empty());
  unsetenv("TRIREME_EMULATED_GPU_SM");
}

TEST_CASE("launches, copies and graphs never find the queue full; a GPU that hangs ends them within the deadline") {
  auto gpu = CudaDevice::open(0, kWait);
  Step step(*gpu);
  step.run(7, {1, 1, 1});
  MatrixView<float> x(step.middle.as<float>(), 1, 3);
  auto launch = [&](CudaDevice& on, int times) {
    for (int i = 0; i < times; i++) {
      on.launch(on.kernels().scale, Scale{x, 1, 0});
      on.copy(step.out.data(), step.middle.data(), sizeof(float));
      on.copy_runs(step.out.data(), 4, step.middle.data(), 4, 4, 2);
      on.repeat(9, [&] { on.launch(on.kernels().scale, Scale{x, 1, 0}); });
    }
  };
  launch(*gpu, 3000);
  gpu->synchronize();
  CHECK(step.out[0] == 4);

  auto hanging = CudaDevice::open(0, std::chrono::milliseconds(200));
  setenv("TRIREME_EMULATED_GPU_HANGS", "1", 1);
  const auto start = std::chrono::steady_clock::now();
  try {
    launch(*hanging, 3000);
    FAIL("it hangs");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::stuck);
    CHECK(std::string(e.what()).find("has not finished its operations for") != std::string::npos);
  }
  unsetenv("TRIREME_EMULATED_GPU_HANGS");
  CHECK(std::chrono::steady_clock::now() - start < kWait);
}

TEST_CASE("no room says who asked for how much, and how much is free") {
  auto gpu = CudaDevice::open(0, kWait);
  try {
    Buffer large = gpu->allocate(size_t{1} << 40, "the weights");
    FAIL("there is no such room");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::out_of_memory);
    CHECK(std::string(e.what()).find("no 1048576 MiB for the weights") != std::string::npos);
  }
}

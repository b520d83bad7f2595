#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include "device/cublaslt.h"
#include "device/cuda.h"
#include "device/pinned_vector.h"
#include "kernels/packed_layout.h"
#include "kernels/select.h"
#include "testkit/error_of.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

constexpr std::chrono::seconds kWait{5};
constexpr const char* kFake = TRIREME_FAKE_CUBLASLT;
constexpr const char* kLacking = TRIREME_LACKING_CUBLASLT;

// What TRIREME_TEST_CUBLASLT says while this lives.
struct Acting {
  explicit Acting(const char* word) { setenv("TRIREME_TEST_CUBLASLT", word, 1); }
  ~Acting() { unsetenv("TRIREME_TEST_CUBLASLT"); }
};

CublasLt::Search search(std::vector<std::string> candidates) { return CublasLt::search(candidates); }

// A product on the GPU, in memory of which neither end may be written.
struct Product {
  CudaDevice& gpu;
  const Kernels& kernels;
  int64_t rows, n, k, stride;
  Contraction tree;
  PackedView w{.form = PackedForm::bf16_rows, .n = n, .k = k};
  Buffer weights = gpu.allocate(static_cast<size_t>(packed_bytes(w)), "weights");
  Activations x{ActivationForm::bf16, nullptr, rows, k, activation_row_bytes(ActivationForm::bf16, k)};
  PinnedVector<BF16> in{gpu, static_cast<size_t>(rows* x.row_bytes / 2), "rows"};
  PinnedVector<float> out{gpu, static_cast<size_t>(tree.program.roots* rows* stride + 2), "sums"};
  std::vector<BF16> of_weights = std::vector<BF16>(static_cast<size_t>(packed_bytes(w) / 2));

  void fill(unsigned seed) {
    std::mt19937 random(seed);
    auto any = [&random] { return to_bf16(static_cast<float>(random() >> 8) * 0x1p-23f - 1); };
    in.resize(static_cast<size_t>(rows * x.row_bytes / 2));
    for (BF16& v : in) v = any();
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < k; j++) of_weights[static_cast<size_t>(i * bf16_row(k) + j)] = any();
    Buffer host(weights.bytes(), "weights");
    std::memcpy(host.data(), of_weights.data(), host.bytes());
    weights = gpu.upload(std::move(host), "weights");
    w.data = weights.data();
    x.data = reinterpret_cast<std::byte*>(in.data());
    out.resize(static_cast<size_t>(tree.program.roots * rows * stride + 2));
    for (float& v : out) v = 7;
  }
  void enqueue() { gpu.launch(kernels.matmul, MatMul{x, w, &tree, out.data() + 1, stride, rows * stride}); }
  // The farthest from the sums in FP64, in parts of what FP32 may lose on the way.
  double farthest() const {
    double worst = 0;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < n; i++) {
        double sum = 0, size = 0;
        for (int64_t j = 0; j < k; j++) {
          const double term = double{to_float(in[static_cast<size_t>(r * x.row_bytes / 2 + j)])} *
                              double{to_float(of_weights[static_cast<size_t>(i * bf16_row(k) + j)])};
          sum += term, size += std::fabs(term);
        }
        worst = std::max(worst, std::fabs(sum - double{out[static_cast<size_t>(1 + r * stride + i)]}) /
                                    (size * static_cast<double>(k) * 0x1p-24));
      }
    return worst;
  }
};

}  // namespace

TEST_CASE("the first library that serves is taken, and says its version and its file") {
  const CublasLt::Search one = search({kFake});
  REQUIRE(one.found);
  CHECK(one.missing.empty());
  CHECK(one.found->version == "13.0.9");
  CHECK(std::filesystem::equivalent(one.found->path, kFake));
  CHECK(testkit::contains(one.text(), "13.0.9 ("));
  CHECK(search({"libno-such.so", kLacking, kFake}).found);
}

TEST_CASE("what does not serve is said in one line") {
  CHECK(testkit::contains(search({}).missing, "no libcublasLt.so.13 or libcublasLt.so.12 on the loader's path"));
  CHECK(testkit::contains(search({"libno-such.so.13"}).text(), "none: no libcublasLt.so.13"));
  CHECK(testkit::contains(search({kLacking}).missing, "has no cublasLtMatmul"));
  {
    Acting old("old");
    CHECK(testkit::contains(search({kFake}).missing, "is 11.6.1, older than 12.0.0; install CUDA 12 or later"));
  }
  testkit::TempFolder folder;
  const std::string text = folder.path() / "libcublasLt.so.13";
  std::ofstream(text) << "no library";
  CHECK(testkit::contains(search({text}).missing, "libcublasLt.so.13 does not open: "));
}

TEST_CASE("toolkits and wheels of the user's prefixes are looked through, the newest name first") {
  testkit::TempFolder folder;
  const std::filesystem::path prefix = folder.path();
  const std::string names[] = {"liba.so.13", "liba.so.12"};
  std::vector<std::string> expected(std::begin(names), std::end(names));
  for (const char* part :
       {"lib64/liba.so.13", "lib64/liba.so.12", "lib/python3.12/site-packages/nvidia/cu13/lib/liba.so.13",
        "lib/python3.12/site-packages/nvidia/a/lib/liba.so.12"}) {
    std::filesystem::create_directories((prefix / part).parent_path());
    std::ofstream(prefix / part) << "";
    expected.push_back(prefix / part);
  }
  const std::string prefixes[] = {prefix};
  CHECK(NvidiaLibrary::candidates(names, "a", prefixes) == expected);
}

TEST_CASE("BF16 rows are multiplied by the library, near the sums in FP64, strided or not, again and again") {
  auto gpu = CudaDevice::open(0, kWait);
  std::string missing;
  const Kernels* fast = gpu->fast_kernels({}, missing);
  REQUIRE_MESSAGE(fast, missing);
  CHECK(fast->level == "cuda-sm_80+cublaslt-13.0.9");
  CHECK(gpu->fast_kernels({}, missing) == fast);
  for (auto [rows, n, k, stride] : {std::array<int64_t, 4>{1, 64, 64, 64}, {3, 33, 40, 70}, {17, 5, 31, 5}}) {
    Product product{*gpu, *fast, rows, n, k, stride, contraction(k, 16)};
    product.fill(1);
    for (int time = 0; time < 3; time++) {  // by itself, recorded, replayed
      for (float& v : product.out) v = 7;
      gpu->repeat(rows, [&] { product.enqueue(); });
      gpu->synchronize();
      CHECK(product.farthest() < 1);
      CHECK(*product.out.begin() == 7);
      CHECK(*(product.out.end() - 1) == 7);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = n; i < stride; i++) CHECK(product.out[static_cast<size_t>(1 + r * stride + i)] == 7);
    }
  }
}

TEST_CASE("a part of the contraction leaves one sum, and zeros where its tree has more roots") {
  auto gpu = CudaDevice::open(0, kWait);
  std::string missing;
  const Kernels* fast = gpu->fast_kernels({}, missing);
  REQUIRE(fast);
  Product product{*gpu, *fast, 2, 8, 48, 8, contraction(128, 16, {1, 4})};
  REQUIRE(product.tree.program.roots == 2);
  product.fill(3);
  product.enqueue();
  gpu->synchronize();
  CHECK(product.farthest() < 1);
  for (int64_t i = 0; i < 16; i++) CHECK(product.out[static_cast<size_t>(1 + 16 + i)] == 0);
  CHECK(*(product.out.end() - 1) == 7);
}

TEST_CASE("a library without memory ends the run as memory that is not there") {
  Acting full("full");
  std::string missing;
  auto gpu = CudaDevice::open(0, kWait);
  const Kernels* fast = gpu->fast_kernels({}, missing);
  REQUIRE(fast);
  Product product{*gpu, *fast, 2, 8, 48, 8, contraction(48, 16)};
  product.fill(3);
  try {
    product.enqueue();
    FAIL("it was made");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::out_of_memory);
    CHECK(testkit::contains(error.what(), "cuBLASLt 13.0.9, asked for a layout: CUBLAS_STATUS_ALLOC_FAILED"));
  }
}

TEST_CASE("a library that does not start is none, and one without an algorithm ends the run in one line") {
  std::string missing;
  {
    Acting dead("dead");
    auto gpu = CudaDevice::open(0, kWait);
    CHECK(gpu->fast_kernels({}, missing) == nullptr);
    CHECK(testkit::contains(missing, "does not start: CUBLAS_STATUS_NOT_INITIALIZED"));
  }
  Acting none("none");
  auto gpu = CudaDevice::open(0, kWait);
  const Kernels* fast = gpu->fast_kernels({}, missing);
  REQUIRE(fast);
  Product product{*gpu, *fast, 2, 8, 48, 8, contraction(48, 16)};
  product.fill(3);
  const std::string error = testkit::error_of([&] { product.enqueue(); });
  CHECK(testkit::contains(error, "cuBLASLt 13.0.9 has no algorithm for 2 rows of 48 columns and 8 outputs"));
}

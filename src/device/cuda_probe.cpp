#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "device/cuda.h"

namespace trireme {

namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// A word of cuda_code().
struct Code {
  int architecture = 0;
  bool ptx = false, alone = false;  // alone: "sm_90a" is for sm_90 and none after it

  // Machine code serves its own generation from its architecture on, PTX all that come later, too.
  bool serves(int other) const {
    if (alone) return other == architecture;
    return other >= architecture && (ptx || other / 10 == architecture / 10);
  }
  std::string name() const { return fmt::format("sm_{}{}", architecture, alone ? "a" : ""); }
};

std::vector<Code> codes_of(std::string_view words) {
  std::vector<Code> codes;
  std::istringstream stream{std::string(words)};
  for (std::string word; stream >> word;)
    codes.push_back({std::stoi(word.substr(word.find('_') + 1)), word.starts_with("compute_"), word.ends_with('a')});
  return codes;
}

}  // namespace

CudaProbe probe_cuda() {
  int gpus = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&gpus);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error == cudaSuccess && gpus > 0) return {gpus, ""};
  if (driver == 0) return {0, "this machine has no NVIDIA driver; leave --device out to run on the CPU"};
  if (error == cudaErrorInsufficientDriver)
    return {0, fmt::format("the driver runs CUDA {}, this build is of {}: update the driver", version_text(driver),
                           version_text(runtime))};
  if (error == cudaSuccess || error == cudaErrorNoDevice)
    return {0, "no GPU is visible to this process (CUDA_VISIBLE_DEVICES, the job's --gpus, MIG without an instance)"};
  return {0, fmt::format("the driver reports: {}", cudaGetErrorString(error))};
}

std::string_view cuda_code() { return TRIREME_CUDA_CODE; }

std::string cuda_build() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  std::string text = version_text(runtime) + ", for ";
  const std::vector<Code> codes = codes_of(cuda_code());
  for (size_t i = 0; i < codes.size(); i++)
    text += fmt::format("{}{}{}", i > 0 ? ", " : "", codes[i].ptx ? "PTX of " : "", codes[i].name());
  return text;
}

std::string cuda_unfit(int architecture, std::string_view code) {
  const std::vector<Code> codes = codes_of(code);
  if (std::ranges::any_of(codes, [&](const Code& c) { return c.serves(architecture); })) return "";
  const Code& oldest = *std::ranges::min_element(codes, {}, &Code::architecture);
  if (architecture < oldest.architecture) return fmt::format("is older than sm_{}", oldest.architecture);
  return fmt::format("is none that this build has code for ({}; -Dgpu_arch adds others)", code);
}

}  // namespace trireme

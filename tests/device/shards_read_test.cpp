#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "device/cpu_device.h"
#include "device/cuda.h"
#include "model/import.h"
#include "model/weights.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

// A checkpoint that counts the bytes read of it.
class Counted final : public WeightSource {
 public:
  explicit Counted(const std::string& path) : file_(path) {}
  const std::string& path() const override { return file_.path(); }
  const std::string& digest() const override { return file_.digest(); }
  const nlohmann::json& config() const override { return file_.config(); }
  int unit_formula() const override { return file_.unit_formula(); }
  std::string read_blob(std::string_view name) const override { return file_.read_blob(name); }
  std::span<const TensorInfo> tensors() const override { return file_.tensors(); }
  const TensorInfo* find_tensor(std::string_view name) const override { return file_.find_tensor(name); }
  ReadStats read(std::vector<Request> requests) const override {
    const ReadStats stats = file_.read(std::move(requests));
    bytes_ += stats.bytes;
    return stats;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  Checkpoint file_;
  mutable uint64_t bytes_ = 0;
};

uint64_t bytes_of(const TensorInfo& t, int units) {
  return (t.parts[0].unit_bytes + t.parts[1].unit_bytes + t.parts[2].unit_bytes) * static_cast<uint64_t>(units);
}

// Of all ranks together: every tensor once, and once more for each further rank that holds it: what no units cut, and
// KV heads whose query heads a border parts.
uint64_t bytes_held(const Counted& source, const ModelConfig& config, const UnitTable& units, int tp) {
  int kv_heads = 0;
  for (int r = 0; r < tp; r++) kv_heads += RankShare::of(config, units, tp, r).num_kv_heads;
  uint64_t bytes = 0;
  for (const TensorInfo& t : source.tensors()) {
    const bool of_kv = t.name.ends_with("attention.k") || t.name.ends_with("attention.v");
    bytes += bytes_of(t, of_kv ? kv_heads : t.axis == UnitAxis::none ? tp * t.units : t.units);
  }
  return bytes;
}

}  // namespace

TEST_CASE("ranks read each byte of their shares once from the checkpoint, and nothing else of it") {
  const TempFolder folder;
  CpuDevice cpu(1, {});
  auto gpu = CudaDevice::open(0, std::chrono::seconds(60));
  TinyModel model;  // 9 heads on 3 KV heads: of two ranks, both hold the second
  for (const char* type : {"f32", "q4_1"}) {
    model.type = type;
    if (type[0] == 'q') model.hidden = 160, model.intermediate = 352, model.head_dim = 32;
    const std::string gguf = folder / "a.gguf", path = folder / "a.h5";
    write_file(gguf, model.writer().build());
    convert_model(gguf, path, WriterGroup::self(), {});
    for (int tp : {1, 2, 3})
      for (Device* device : {static_cast<Device*>(&cpu), static_cast<Device*>(gpu.get())}) {
        CAPTURE(type);
        CAPTURE(tp);
        const Counted source(path);
        const ModelConfig config = ModelConfig::from_json(source.config(), source.path());
        const UnitTable units = UnitTable::of(config, row_parallel_group(source));
        for (int r = 0; r < tp; r++)
          StageWeights(source, config, units, {tp, r, 0, config.num_layers}, Numerics::standard, *device);
        CHECK(source.bytes() == bytes_held(source, config, units, tp));
      }
  }
}

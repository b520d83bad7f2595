#pragma once

#include <memory>

#include "checkpoint/weight_source.h"

namespace trireme {

// A Trireme checkpoint (docs/checkpoint.md): an HDF5 file whose user block holds our own index. Reading goes by pread
// from the validated index alone; HDF5 metadata is never parsed.

class Checkpoint final : public WeightSource {
 public:
  // Reads and validates the index: every count, offset and product is checked against the file before use. Throws
  // Error(bad_data) naming the file and the field.
  explicit Checkpoint(const std::string& path);
  ~Checkpoint() override;
  Checkpoint(Checkpoint&&) noexcept;

  const std::string& path() const override;
  uint64_t file_bytes() const;
  const std::string& digest() const override;     // of the index, which holds the checksums of all content
  const nlohmann::json& config() const override;  // docs/checkpoint.md
  int unit_formula() const override;
  int unit_group() const;  // the formula's other input: UnitTable::of(config, unit_group()) is the table stored
  std::string read_blob(std::string_view name) const override;
  std::span<const TensorInfo> tensors() const override;
  const TensorInfo* find_tensor(std::string_view name) const override;

  // Long sequential preads, several in flight, while the caller's thread verifies every checksum and consumes, one
  // request at a time. Holds at most `kReadAhead` bytes of staging memory plus the largest unit.
  ReadStats read(std::vector<Request> requests) const override;
  static constexpr size_t kReadAhead = size_t{4} << 20;  // bytes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme

#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/weight_format.h"
#include "kernels/unit_tree.h"

namespace trireme {

// A Trireme checkpoint (docs/checkpoint.md): an HDF5 file whose user block holds our own index. Reading goes by pread
// from the validated index alone; HDF5 metadata is never parsed.

// Which dimension of a matrix the units cut: rows (column-parallel products, vocabulary), columns (row-parallel
// products), or none (norms, biases: every rank reads the whole).
enum class UnitAxis : uint8_t { none, rows, columns };

struct TensorInfo {
  std::string name;  // "layers.0.attention.q"
  WeightFormat format;
  int64_t rows = 0;  // true shape; a vector has rows 1
  int64_t columns = 0;
  UnitAxis axis = UnitAxis::none;
  int units = 1;
  int64_t unit_rows = 0;     // of every unit as stored; the last one is padded with zeros
  int64_t unit_columns = 0;  // a multiple of format.group

  // Stored bytes of one unit in each part: values (or codes), scales, minimums; 0 where the format has no such part.
  struct Part {
    uint64_t offset = 0;  // in the file, of unit 0; units follow each other
    uint64_t unit_bytes = 0;
    std::vector<uint64_t> checksums;  // [units] XXH3-64
  };
  Part parts[3];  // values, scales, minimums
};

class Checkpoint {
 public:
  // Reads and validates the index: every count, offset and product is checked against the file before use. Throws
  // Error(bad_data) naming the file and the field.
  explicit Checkpoint(const std::string& path);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  const std::string& path() const;
  uint64_t file_bytes() const;
  const std::string& digest() const;     // 16 hex: of the index, which holds the checksums of all content
  const nlohmann::json& config() const;  // model config (docs/checkpoint.md)
  int unit_formula() const;              // version of the formula that made the units (model/units.h)
  int unit_group() const;                // its other input: UnitTable::of(config, unit_group()) is the table stored
  std::string read_blob(std::string_view name) const;  // "tokenizer.json", "chat_template.jinja"; "" if absent
  std::span<const TensorInfo> tensors() const;         // in the order of the model
  const TensorInfo* find_tensor(std::string_view name) const;
  const TensorInfo& get_tensor(std::string_view name) const;  // throws Error(bad_data)

  struct Request {
    const TensorInfo* tensor = nullptr;
    UnitRange units;
    // Called with the bytes of each part of consecutive runs of the units, in order, which cover them once: a long
    // request comes in pieces, so that reading runs ahead. The memory is gone after the call.
    std::function<void(UnitRange run, std::span<const std::byte> values, std::span<const std::byte> scales,
                       std::span<const std::byte> minimums)>
        consume;
  };
  struct ReadStats {
    uint64_t bytes = 0;
    double seconds = 0;
  };
  // Reads all requests in file order with long sequential preads while consumers work, verifies every checksum, and
  // holds at most `kReadAhead` bytes of staging memory plus the largest unit.
  ReadStats read(std::vector<Request> requests) const;
  static constexpr size_t kReadAhead = size_t{4} << 20;  // bytes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace trireme

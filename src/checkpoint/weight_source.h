#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/weight_format.h"
#include "kernels/unit_tree.h"

namespace trireme {

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

// A model as a rank reads it: a checkpoint, or weights that are made up (model/synthetic_weights.h).
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const std::string& path() const = 0;    // what messages call it
  virtual const std::string& digest() const = 0;  // 16 hex: equal ones are equal weights
  virtual const nlohmann::json& config() const = 0;
  virtual int unit_formula() const = 0;  // version of the formula that made the units (model/units.h)
  virtual std::string read_blob(std::string_view name) const = 0;  // "tokenizer.json", "chat_template.jinja"; or ""
  virtual std::span<const TensorInfo> tensors() const = 0;         // in the order of the model
  virtual const TensorInfo* find_tensor(std::string_view name) const = 0;
  const TensorInfo& get_tensor(std::string_view name) const;  // throws Error(bad_data)

  struct Request {
    const TensorInfo* tensor = nullptr;
    UnitRange units;
    // Called with the bytes of each part of consecutive runs of the units, in order, which cover them once: a long
    // request comes in pieces, so that reading runs ahead. The memory is gone after the call.
    std::function<void(UnitRange run, std::span<const std::byte> values, std::span<const std::byte> scales,
                       std::span<const std::byte> minimums)>
        consume;
    // Called by the thread that reads, when all up to here are consumed and nothing after it is begun. May be empty.
    std::function<void()> after;
    // Rows of the one unit that is asked for, as if it had no others; none: all. Where gives_rows().
    int64_t first_row = 0, rows = 0;
  };
  // Whether a unit's rows can be asked for in strips, so that several threads share it: not where it has one checksum.
  // A strip's bytes begin at a multiple of eight from the unit's.
  virtual bool gives_rows() const { return false; }
  struct ReadStats {
    uint64_t bytes = 0;
    double seconds = 0;
  };
  // In the order given; between two with an `after`, several may be consumed at once. To read long runs, give requests
  // in the order of first_byte().
  virtual ReadStats read(std::vector<Request> requests) const = 0;
  static uint64_t first_byte(const TensorInfo& t, int unit) {
    return t.parts[0].offset + t.parts[0].unit_bytes * static_cast<uint64_t>(unit);
  }
};

}  // namespace trireme

#include "model/synthetic_weights.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/thread_pool.h"
#include "checkpoint/index.h"
#include "model/tensor_table.h"

namespace trireme {

namespace {

constexpr uint64_t kRunBytes = uint64_t{1} << 20;  // of a part, made and packed at once: stays in a second-level cache

// A word of values: random bits where `random` is set, `fixed` elsewhere. A type's values have sign and mantissa at
// random and one exponent, so all are finite and of one magnitude: 2^-7 to 2^-6, with which sums over thousands of
// columns stay near 1.
struct Pattern {
  uint64_t random, fixed;
};
constexpr Pattern kOnes{0, 0x3f800000'3f800000};  // FP32
constexpr Pattern kF32{0x807fffff'807fffff, 0x3c000000'3c000000};
constexpr Pattern kBf16{0x807f807f'807f807f, 0x3c003c00'3c003c00};
constexpr Pattern kCodes{~uint64_t{0}, 0};
constexpr Pattern kE4m3{0x87878787'87878787, 0x40404040'40404040};  // 2 to 3.75, times
constexpr Pattern kScalesE4m3{0, 0x3b800000'3b800000};              // 2^-8
// FP16: a code of 8 bits is up to 127 scales from zero, one of 4 bits from -7.5 to 7.5.
constexpr Pattern kScales8{0x03ff03ff'03ff03ff, 0x08000800'08000800};  // 2^-13 to 2^-12
constexpr Pattern kScales4{0, 0x18001800'18001800};                    // 2^-9
constexpr Pattern kMinimums4{0, 0xa380a380'a380a380};                  // -7.5 * 2^-9

Pattern pattern_of(const TensorInfo& t, int part) {
  if (t.name.ends_with("norm")) return kOnes;
  if (t.format == WeightFormat{}) return kF32;
  if (t.format == WeightFormat{.type = DType::bf16}) return kBf16;
  if (t.format.e4m3) return part == 0 ? kE4m3 : kScalesE4m3;
  must(t.format == kInt8 || t.format == kInt4, "made-up weights are of a format that convert encodes");
  if (part == 0) return kCodes;
  if (part == 2) return kMinimums4;
  return t.format == kInt8 ? kScales8 : kScales4;
}

// SplitMix64 of a counter (Steele, Lea, Flood 2014): any word alone, several at once in the CPU.
uint64_t random_word(uint64_t counter) {
  uint64_t z = counter * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void fill(std::span<std::byte> bytes, uint64_t seed, Pattern pattern) {
  const size_t words = bytes.size() / sizeof(uint64_t);
  auto word = [&](size_t i) { return (random_word(seed + i) & pattern.random) | pattern.fixed; };
  for (size_t i = 0; i < words; i++) {
    const uint64_t w = word(i);
    std::memcpy(bytes.data() + i * sizeof w, &w, sizeof w);
  }
  const uint64_t last = word(words);
  std::memcpy(bytes.data() + words * sizeof last, &last, bytes.size() % sizeof last);
}

// What a request asks for of each of its units: bytes of a part.
struct Strip {
  size_t begin, bytes;
};
Strip strip_of(const WeightSource::Request& r, int part) {
  const TensorInfo& t = *r.tensor;
  if (r.rows == 0) return {0, t.parts[part].unit_bytes};
  must(r.units.size() == 1 && r.first_row >= 0 && r.first_row + r.rows <= t.unit_rows, "a strip is of one unit");
  const uint64_t row = t.parts[part].unit_bytes / static_cast<uint64_t>(t.unit_rows);
  const Strip strip{static_cast<uint64_t>(r.first_row) * row, static_cast<uint64_t>(r.rows) * row};
  must(strip.begin % sizeof(uint64_t) == 0, "a strip begins at a word");
  return strip;
}

int run_units(const TensorInfo& t) {
  return static_cast<int>(std::max<uint64_t>(1, kRunBytes / t.parts[0].unit_bytes));
}

// Memory for a run of every request, part after part.
size_t staging_bytes(std::span<const WeightSource::Request> requests) {
  size_t most = 0;
  for (const WeightSource::Request& r : requests) {
    size_t unit = 0;
    for (int part = 0; part < 3; part++) unit += strip_of(r, part).bytes;
    most = std::max(most, unit * static_cast<size_t>(std::min(run_units(*r.tensor), r.units.size())));
  }
  return most;
}

// The units of a request, a run at a time.
void make(const WeightSource::Request& request, std::byte* staging) {
  const TensorInfo& t = *request.tensor;
  const uint64_t name = xxh3(t.name);
  for (UnitRange run{request.units.begin, 0}; run.begin < request.units.end; run.begin = run.end) {
    run.end = std::min(run.begin + run_units(t), request.units.end);
    std::span<const std::byte> made[3];
    std::byte* next = staging;
    for (int part = 0; part < 3; part++) {
      const Strip strip = strip_of(request, part);
      made[part] = {next, strip.bytes * static_cast<size_t>(run.size())};
      for (int u = run.begin; u < run.end; u++, next += strip.bytes) {
        // The high bits keep the words of units and parts apart: no unit has 2^40.
        const uint64_t seed = name + (static_cast<uint64_t>(u * 3 + part) << 40);
        fill({next, strip.bytes}, seed + strip.begin / sizeof(uint64_t), pattern_of(t, part));
      }
    }
    request.consume(run, made[0], made[1], made[2]);
  }
}

}  // namespace

SyntheticWeights::SyntheticWeights(const std::string& name, const ModelConfig& config, WeightChoice choice)
    : path_(name), config_(config.to_json()) {
  constexpr WeightFormat kPublished{.type = DType::bf16};
  int group = 1;  // formats do not depend on units, units do on formats
  for (const TensorSlot& slot : tensor_slots(config, UnitTable::of(config, 1)))
    if (slot.axis == UnitAxis::columns) group = std::lcm(group, stored_format(slot, kPublished, choice).unit_group());
  std::string text = config_.dump();
  for (const TensorSlot& slot : tensor_slots(config, UnitTable::of(config, group))) {
    TensorInfo& t = tensors_.emplace_back(tensor_info(slot, stored_format(slot, kPublished, choice)));
    for (int part = 0; part < 3; part++) t.parts[part].unit_bytes = unit_bytes(t, part);
    text += format_name(t.format);
  }
  digest_ = hex16(xxh3(text));
}

const TensorInfo* SyntheticWeights::find_tensor(std::string_view name) const {
  auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorInfo& t) { return t.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

WeightSource::ReadStats SyntheticWeights::read(std::vector<Request> requests) const {
  const auto start = std::chrono::steady_clock::now();
  ThreadPool pool(static_cast<int>(allowed_cpus().size()));
  std::vector<Buffer> staging;
  for (int i = 0; i < pool.size(); i++) staging.emplace_back(staging_bytes(requests), "made-up weights");
  for (size_t begin = 0, end; begin < requests.size(); begin = end) {
    for (end = begin + 1; end < requests.size() && !requests[end - 1].after; end++) continue;
    std::atomic<size_t> next = begin;
    pool.run([&](int thread) {
      for (size_t i = next++; i < end; i = next++) make(requests[i], staging[static_cast<size_t>(thread)].data());
    });
    if (requests[end - 1].after) requests[end - 1].after();
  }
  uint64_t bytes = 0;
  for (const Request& r : requests)
    for (int part = 0; part < 3; part++) bytes += strip_of(r, part).bytes * static_cast<uint64_t>(r.units.size());
  return {bytes, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace trireme

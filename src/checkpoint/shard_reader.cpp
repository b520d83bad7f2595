#include "checkpoint/shard_reader.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"

namespace trireme {

namespace {

constexpr size_t kLongRead = size_t{1} << 20;  // bytes of a batch, where requests allow; four and more fit the ring
constexpr size_t kPiece = kLongRead - 192;     // a request of so many bytes fits a batch, its parts aligned
constexpr size_t kMaxGap = size_t{64} << 10;   // bytes: reading over a smaller gap is cheaper than a second read
constexpr size_t kStagingAlignment = 64;       // bytes

size_t staged(uint64_t bytes) { return (bytes + kStagingAlignment - 1) / kStagingAlignment * kStagingAlignment; }

uint64_t part_bytes(const Checkpoint::Request& r, int part) {
  return r.tensor->parts[part].unit_bytes * static_cast<uint64_t>(r.units.size());
}

size_t staged_bytes(const Checkpoint::Request& r) {
  return staged(part_bytes(r, 0)) + staged(part_bytes(r, 1)) + staged(part_bytes(r, 2));
}

uint64_t first_byte(const Checkpoint::Request& r) {
  return r.tensor->parts[0].offset + r.tensor->parts[0].unit_bytes * static_cast<uint64_t>(r.units.begin);
}

// Requests no longer than a batch, where units allow.
std::vector<Checkpoint::Request> in_pieces(const std::vector<Checkpoint::Request>& requests) {
  std::vector<Checkpoint::Request> pieces;
  for (const Checkpoint::Request& r : requests) {
    if (r.units.size() == 0) continue;
    const TensorInfo::Part* p = r.tensor->parts;
    const uint64_t unit = std::max<uint64_t>(1, p[0].unit_bytes + p[1].unit_bytes + p[2].unit_bytes);
    const int step = static_cast<int>(std::clamp<uint64_t>(kPiece / unit, 1, static_cast<uint64_t>(r.units.size())));
    for (int begin = r.units.begin; begin < r.units.end; begin += step)
      pieces.push_back({r.tensor, {begin, std::min(begin + step, r.units.end)}, r.consume});
  }
  return pieces;
}

}  // namespace

ShardReader::ShardReader(const InputFile& file, std::vector<Checkpoint::Request> requests)
    : file_(file), requests_(std::move(requests)), gap_(kMaxGap) {
  for (const Checkpoint::Request& r : requests_)
    must(r.tensor && r.units.begin >= 0 && r.units.begin <= r.units.end && r.units.end <= r.tensor->units,
         "a request asks for units that its tensor has");
  requests_ = in_pieces(requests_);
  std::stable_sort(requests_.begin(), requests_.end(),
                   [](const auto& a, const auto& b) { return first_byte(a) < first_byte(b); });
  plan();
  thread_ = std::thread([this] { read_ahead(); });
}

ShardReader::~ShardReader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ShardReader::plan() {
  size_t largest = 0;
  for (size_t i = 0; i < requests_.size(); i++) {
    size_t bytes = staged_bytes(requests_[i]);
    if (batches_.empty() || batches_.back().bytes + bytes > kLongRead) batches_.push_back({i, 0, 0});
    batches_.back().count++;
    batches_.back().bytes += bytes;
    largest = std::max(largest, batches_.back().bytes);
    for (int part = 0; part < 3; part++) bytes_ += part_bytes(requests_[i], part);
  }
  // A unit larger than a batch gets room beside the ring, so that reading still runs ahead.
  ring_ =
      Buffer(largest <= kLongRead ? Checkpoint::kReadAhead : Checkpoint::kReadAhead + largest, "staging of weights");
  places_.reserve(batches_.size());
}

std::vector<ShardReader::Extent> ShardReader::extents(const Batch& batch, size_t place) const {
  std::vector<Extent> all;
  for (size_t i = batch.first; i < batch.first + batch.count; i++)
    for (int part = 0; part < 3; part++) {
      const TensorInfo::Part& p = requests_[i].tensor->parts[part];
      uint64_t bytes = part_bytes(requests_[i], part);
      if (bytes > 0)
        all.push_back(
            {p.offset + p.unit_bytes * static_cast<uint64_t>(requests_[i].units.begin), bytes, ring_.data() + place});
      place += staged(bytes);
    }
  return all;
}

// Sorts the batch's extents and reads each run of near neighbours in one go, the gaps between them into a bin.
void ShardReader::read_batch(const Batch& batch, size_t place) {
  std::vector<Extent> all = extents(batch, place);
  std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::vector<iovec> parts;
  for (size_t i = 0; i < all.size();) {
    uint64_t begin = all[i].offset, end = begin;
    parts.clear();
    while (i < all.size() && all[i].offset >= end && all[i].offset - end <= (parts.empty() ? 0 : kMaxGap)) {
      if (all[i].offset > end) parts.push_back({gap_.data(), all[i].offset - end});
      parts.push_back({all[i].into, all[i].bytes});
      end = all[i].offset + all[i].bytes;
      i++;
    }
    file_.read_scattered(begin, parts, "weights");
  }
}

// The ring holds batches [consumed, read), each contiguous. The next goes behind the last one, or to the front when the
// rest of the ring is too short; it waits until nothing unread lies there.
void ShardReader::read_ahead() try {
  size_t place = 0;
  for (size_t i = 0; i < batches_.size(); i++) {
    size_t bytes = batches_[i].bytes;
    if (place + bytes > ring_.bytes()) place = 0;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      auto apart = [&](size_t b) { return places_[b] + batches_[b].bytes <= place || place + bytes <= places_[b]; };
      bool free = true;
      for (size_t b = consumed_; b < i; b++) free = free && apart(b);
      return stop_ || free;
    });
    if (stop_) return;
    lock.unlock();
    read_batch(batches_[i], place);
    lock.lock();
    places_.push_back(place);
    changed_.notify_all();
    place += bytes;
  }
} catch (...) {
  std::lock_guard lock(mutex_);
  failure_ = std::current_exception();
  changed_.notify_all();
}

std::byte* ShardReader::wait_for_batch(size_t index) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return places_.size() > index || failure_; });
  if (places_.size() <= index) std::rethrow_exception(failure_);
  return ring_.data() + places_[index];
}

void ShardReader::consume_all() {
  for (size_t b = 0; b < batches_.size(); b++) {
    std::byte* at = wait_for_batch(b);
    for (size_t i = batches_[b].first; i < batches_[b].first + batches_[b].count; i++) {
      const Checkpoint::Request& r = requests_[i];
      std::span<const std::byte> parts[3];
      for (int part = 0; part < 3; part++) {
        parts[part] = {at, part_bytes(r, part)};
        verify(r, part, parts[part]);
        at += staged(part_bytes(r, part));
      }
      r.consume(r.units, parts[0], parts[1], parts[2]);
    }
    std::lock_guard lock(mutex_);
    consumed_ = b + 1;
    changed_.notify_all();
  }
}

void ShardReader::verify(const Checkpoint::Request& r, int part, std::span<const std::byte> bytes) const {
  const TensorInfo::Part& p = r.tensor->parts[part];
  if (p.unit_bytes == 0) return;
  for (int unit = r.units.begin; unit < r.units.end; unit++, bytes = bytes.subspan(p.unit_bytes)) {
    uint64_t seen = xxh3(bytes.first(p.unit_bytes)), expected = p.checksums[static_cast<size_t>(unit)];
    if (seen != expected)
      fail(ExitCode::bad_data,
           "{}: unit {} of {} (part {}, bytes {} to {}) has checksum {}, expected {}; the file is damaged, convert the "
           "model again",
           file_.path(), unit, r.tensor->name, part, p.offset + p.unit_bytes * static_cast<uint64_t>(unit),
           p.offset + p.unit_bytes * static_cast<uint64_t>(unit + 1), hex16(seen), hex16(expected));
  }
}

}  // namespace trireme

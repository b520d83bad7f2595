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
constexpr size_t kReaders = 3;                 // reads in flight: with the batch being consumed they fill the ring

size_t staged(uint64_t bytes) { return (bytes + kStagingAlignment - 1) / kStagingAlignment * kStagingAlignment; }

uint64_t part_bytes(const Checkpoint::Request& r, int part) {
  return r.tensor->parts[part].unit_bytes * static_cast<uint64_t>(r.units.size());
}

size_t staged_bytes(const Checkpoint::Request& r) {
  return staged(part_bytes(r, 0)) + staged(part_bytes(r, 1)) + staged(part_bytes(r, 2));
}

// Requests no longer than a batch, where units allow.
std::vector<Checkpoint::Request> in_pieces(const std::vector<Checkpoint::Request>& requests) {
  std::vector<Checkpoint::Request> pieces;
  for (const Checkpoint::Request& r : requests) {
    const TensorInfo::Part* p = r.tensor->parts;
    const uint64_t unit = std::max<uint64_t>(1, p[0].unit_bytes + p[1].unit_bytes + p[2].unit_bytes);
    const int step = static_cast<int>(std::clamp<uint64_t>(kPiece / unit, 1, static_cast<uint64_t>(r.units.size())));
    for (int begin = r.units.begin; begin < r.units.end; begin += step)
      pieces.push_back({r.tensor, {begin, std::min(begin + step, r.units.end)}, r.consume});
    pieces.back().after = r.after;
  }
  return pieces;
}

}  // namespace

ShardReader::ShardReader(const InputFile& file, std::vector<Checkpoint::Request> requests) : file_(file) {
  for (const Checkpoint::Request& r : requests)
    must(r.tensor && r.units.begin >= 0 && r.units.begin < r.units.end && r.units.end <= r.tensor->units && r.rows == 0,
         "a request asks for units that its tensor has, whole");
  requests_ = in_pieces(requests);
  plan();
  gaps_ = Buffer(kReaders * kMaxGap, "staging of weights");
  try {
    for (size_t i = 0; i < std::min(kReaders, batches_.size()); i++)
      threads_.emplace_back([this, i] { read_ahead(gaps_.span<std::byte>().subspan(i * kMaxGap, kMaxGap)); });
  } catch (...) {
    stop();
    throw;
  }
}

ShardReader::~ShardReader() { stop(); }

void ShardReader::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ShardReader::plan() {
  size_t largest = 0;
  for (size_t i = 0; i < requests_.size(); i++) {
    size_t bytes = staged_bytes(requests_[i]);
    if (batches_.empty() || batches_.back().bytes + bytes > kLongRead) batches_.push_back({.first = i});
    batches_.back().count++;
    batches_.back().bytes += bytes;
    largest = std::max(largest, batches_.back().bytes);
    for (int part = 0; part < 3; part++) bytes_ += part_bytes(requests_[i], part);
  }
  // A unit larger than a batch gets room beside the ring, so that reading still runs ahead.
  ring_ =
      Buffer(largest <= kLongRead ? Checkpoint::kReadAhead : Checkpoint::kReadAhead + largest, "staging of weights");
}

std::vector<ShardReader::Extent> ShardReader::extents(const Batch& batch) const {
  std::vector<Extent> all;
  size_t place = batch.place;
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
void ShardReader::read_batch(const Batch& batch, std::span<std::byte> gap) {
  std::vector<Extent> all = extents(batch);
  std::sort(all.begin(), all.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::vector<iovec> parts;
  for (size_t i = 0; i < all.size();) {
    uint64_t begin = all[i].offset, end = begin;
    parts.clear();
    while (i < all.size() && all[i].offset >= end && all[i].offset - end <= (parts.empty() ? 0 : kMaxGap)) {
      if (all[i].offset > end) parts.push_back({gap.data(), all[i].offset - end});
      parts.push_back({all[i].into, all[i].bytes});
      end = all[i].offset + all[i].bytes;
      i++;
    }
    file_.read_scattered(begin, parts, "weights");
  }
}

// The ring holds batches [consumed, begun), each contiguous. The next goes behind the last one, or to the front when
// the rest of the ring is too short. False while a batch that is not consumed lies there.
bool ShardReader::place_next() {
  Batch& next = batches_[begun_];
  if (begun_ > 0) next.place = batches_[begun_ - 1].place + batches_[begun_ - 1].bytes;
  if (next.place + next.bytes > ring_.bytes()) next.place = 0;
  for (size_t b = consumed_; b < begun_; b++) {
    const Batch& held = batches_[b];
    if (held.place < next.place + next.bytes && next.place < held.place + held.bytes) return false;
  }
  return true;
}

// A batch that fails is told of when its turn to be consumed comes: so whoever reads first, the first error is the
// same.
void ShardReader::read_ahead(std::span<std::byte> gap) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || begun_ == batches_.size() || place_next(); });
    if (stop_ || begun_ == batches_.size()) return;
    Batch& batch = batches_[begun_++];
    lock.unlock();
    try {
      read_batch(batch, gap);
    } catch (...) {
      batch.failure = std::current_exception();
    }
    lock.lock();
    batch.read = true;
    changed_.notify_all();
  }
}

std::byte* ShardReader::wait_for_batch(size_t index) {
  const Batch& batch = batches_[index];
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return batch.read; });
  if (batch.failure) std::rethrow_exception(batch.failure);
  return ring_.data() + batch.place;
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
      if (r.after) r.after();
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

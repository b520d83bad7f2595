#include "model/weight_loader.h"

#include <algorithm>
#include <cstring>

namespace trireme {

namespace {

using Source = WeightMatrix::Source;

constexpr uint64_t kRequest = uint64_t{2} << 20;  // bytes: many of a half, for sources that serve several at once
constexpr uint64_t kStrip = uint64_t{1} << 20;    // bytes of a unit, about, where it is asked for in strips
constexpr int64_t kStripRows = 64;                // a multiple: panels as a rule, and words of every part, begin there

bool by_columns(const WeightMatrix& m) { return m.sources.front().tensor->axis == UnitAxis::columns; }

// Units of a matrix that are packed at once, alone if need be.
struct Chunk {
  const WeightMatrix* matrix;
  Source units;
  int64_t begin, end;  // rows of the matrix, or columns where units are columns
};

// The row of the matrix, or its column, at which a unit ends.
int64_t end_of(const WeightMatrix& m, const Source& s, int unit) {
  const TensorInfo& t = *s.tensor;
  if (t.axis == UnitAxis::none) return m.packed.n;
  if (t.axis == UnitAxis::columns)
    return std::min((unit + 1) * t.unit_columns, t.columns) - s.units.begin * t.unit_columns;
  return s.first_row + std::min((unit + 1) * t.unit_rows, t.rows) - std::min(s.units.begin * t.unit_rows, t.rows);
}

// A unit each, or as many as end at a border of the packed columns.
void add_chunks(const WeightMatrix& m, std::vector<Chunk>& chunks) {
  int64_t begin = 0;
  for (const Source& s : m.sources)
    for (int unit = s.units.begin, first = unit; unit < s.units.end; unit++) {
      const int64_t end = end_of(m, s, unit);
      if (by_columns(m) && unit + 1 < s.units.end && !packed_border_k(m.packed, end)) continue;
      chunks.push_back({&m, {s.tensor, {first, unit + 1}, begin}, begin, end});
      first = unit + 1, begin = end;
    }
}

// What is packed together, and moved together: chunks of a matrix one after the other.
struct Piece {
  explicit Piece(const Chunk& c) : matrix(c.matrix), begin(c.begin) { add(c); }
  void add(const Chunk& c) {
    chunks.push_back(c);
    part = part_to(c.end);
  }
  // From the panel or column on where it begins.
  PackedView part_to(int64_t end) const {
    PackedView w = matrix->packed;
    w.data = part.data;
    (by_columns(*matrix) ? w.k : w.n) = end - (by_columns(*matrix) ? begin : first_row());
    return w;
  }
  size_t bytes_to(int64_t end) const { return static_cast<size_t>((packed_bytes(part_to(end)) + 63) / 64 * 64); }
  size_t bytes() const { return bytes_to(chunks.back().end); }
  int64_t first_row() const { return by_columns(*matrix) ? 0 : packed_panel(matrix->packed, begin); }
  int64_t first_column() const { return by_columns(*matrix) ? begin : 0; }
  bool shares_panel() const { return !by_columns(*matrix) && begin > first_row(); }

  const WeightMatrix* matrix;
  int64_t begin;
  PackedView part;  // of the matrix, packed alone
  std::vector<Chunk> chunks;
};
using Turn = std::vector<Piece>;  // that fills a half

std::vector<Turn> turns_of(const std::vector<Chunk>& chunks, size_t half) {
  std::vector<Turn> turns(1);
  size_t used = 0;  // by the pieces before the last
  for (const Chunk& c : chunks) {
    Turn* turn = &turns.back();
    const bool goes_on = !turn->empty() && turn->back().matrix == c.matrix;
    if (!goes_on && !turn->empty()) used += turn->back().bytes();
    if (used + (goes_on ? turn->back().bytes_to(c.end) : Piece(c).bytes()) > half) {
      turn = &turns.emplace_back();
      used = 0;
    }
    if (goes_on && !turn->empty())
      turn->back().add(c);
    else
      turn->emplace_back(c);
  }
  return turns;
}

StoredBlock stored_block(const TensorInfo& t, int unit, int index, const std::span<const std::byte> (&parts)[3]) {
  auto data = [&](size_t part) {
    return parts[part].empty() ? nullptr : parts[part].data() + static_cast<size_t>(index) * t.parts[part].unit_bytes;
  };
  const int64_t row = t.axis == UnitAxis::rows ? unit * t.unit_rows : 0;
  const int64_t column = t.axis == UnitAxis::columns ? unit * t.unit_columns : 0;
  return {t.format,
          std::min(t.unit_rows, t.rows - row),
          std::min(t.unit_columns, t.columns - column),
          t.unit_columns,
          data(0),
          data(1),
          data(2)};
}

uint64_t unit_bytes(const TensorInfo& t) {
  return t.parts[0].unit_bytes + t.parts[1].unit_bytes + t.parts[2].unit_bytes;
}
uint64_t bytes_of(const Source& s) { return unit_bytes(*s.tensor) * static_cast<uint64_t>(s.units.size()); }
// One unit, of several strips.
bool is_large(const Source& s) {
  return s.units.size() == 1 && bytes_of(s) > kStrip && stored_block(*s.tensor, s.units.begin, 0, {}).rows > kStripRows;
}

// Packs a source's units as they come: into `w`, its first value at [n, k].
WeightSource::Request request_of(const Source& s, const PackedView& w, int64_t n, int64_t k) {
  const TensorInfo& t = *s.tensor;
  auto pack = [&t, w, n, k, first = s.units.begin](UnitRange run, auto values, auto scales, auto minimums) {
    for (int unit = run.begin; unit < run.end; unit++) {
      StoredBlock b = stored_block(t, unit, unit - run.begin, {values, scales, minimums});
      if (w.k == 1 && t.axis == UnitAxis::none) b.rows = t.columns, b.columns = b.stored_columns = 1;
      pack_block(b, w, n + (t.axis == UnitAxis::rows ? (unit - first) * t.unit_rows : 0),
                 k + (t.axis == UnitAxis::columns ? (unit - first) * t.unit_columns : 0));
    }
  };
  return {&t, s.units, pack, {}};
}

// The same of a large unit, in strips.
void add_strips(const Source& s, const PackedView& w, int64_t n, int64_t k,
                std::vector<WeightSource::Request>& requests) {
  const TensorInfo& t = *s.tensor;
  const int unit = s.units.begin;
  const int64_t rows = stored_block(t, unit, 0, {}).rows, row_bytes = static_cast<int64_t>(unit_bytes(t)) / t.unit_rows,
                strip = std::max<int64_t>(1, static_cast<int64_t>(kStrip) / row_bytes / kStripRows) * kStripRows;
  for (int64_t row = 0; row < rows; row += strip) {
    const int64_t count = std::min(strip, rows - row);
    auto pack = [&t, w, n, k, unit, row, count](UnitRange, auto values, auto scales, auto minimums) {
      StoredBlock b = stored_block(t, unit, 0, {values, scales, minimums});
      b.rows = count;
      pack_block(b, w, n + row, k);
    };
    requests.push_back({&t, s.units, pack, {}, row, count});
  }
}

uint64_t first_byte(const WeightSource::Request& r) { return WeightSource::first_byte(*r.tensor, r.units.begin); }
uint64_t first_byte(const WeightMatrix& m) {
  return WeightSource::first_byte(*m.sources.front().tensor, m.sources.front().units.begin);
}
constexpr auto kInFileOrder = [](const auto& a, const auto& b) { return first_byte(a) < first_byte(b); };

void add_requests(const Piece& p, bool by_strips, std::vector<WeightSource::Request>& requests) {
  for (size_t i = 0, next; i < p.chunks.size(); i = next) {
    Source units = p.chunks[i].units;
    const int64_t begin = p.chunks[i].begin, n = by_columns(*p.matrix) ? 0 : begin - p.first_row(),
                  k = by_columns(*p.matrix) ? begin - p.begin : 0;
    next = i + 1;
    if (by_strips && is_large(units)) {
      add_strips(units, p.part, n, k, requests);
      continue;
    }
    uint64_t bytes = bytes_of(units);
    for (; next < p.chunks.size() && bytes < kRequest && p.chunks[next].units.tensor == units.tensor; next++) {
      units.units.end = p.chunks[next].units.units.end;
      bytes += bytes_of(p.chunks[next].units);
    }
    requests.push_back(request_of(units, p.part, n, k));
  }
}

void copy(const Piece& p, Device& device) {
  for (const PackedRuns& runs : packed_runs(p.part, p.matrix->packed, p.first_row(), p.first_column()))
    if (runs.count > 0)
      device.copy_runs(p.matrix->packed.data + runs.to, static_cast<size_t>(runs.to_stride), p.part.data + runs.from,
                       static_cast<size_t>(runs.from_stride), static_cast<size_t>(runs.bytes),
                       static_cast<size_t>(runs.count));
}

// What packing leaves out is zero; rows of the first panel that the turn before has packed come again.
void prepare(Turn& turn, const Piece& before) {
  for (const Piece& p : turn)
    if (!packed_border_n(p.part, p.part.n) || !packed_border_k(p.part, p.part.k))
      std::memset(p.part.data, 0, p.bytes());
  if (!turn.front().shares_panel()) return;
  PackedView panel = turn.front().part;
  panel.n = 1;
  const auto bytes = static_cast<size_t>(packed_bytes(panel));
  std::memcpy(panel.data, before.part.data + packed_bytes(before.part) - bytes, bytes);
}

void load_by_staging(const WeightSource& source, std::vector<WeightMatrix> matrices, Device& device) {
  std::stable_sort(matrices.begin(), matrices.end(), kInFileOrder);
  std::vector<Chunk> chunks;
  for (const WeightMatrix& m : matrices) add_chunks(m, chunks);
  size_t half = kWeightStaging / 2;
  for (const Chunk& c : chunks) half = std::max(half, Piece(c).bytes());
  const Buffer staging = device.allocate_pinned(2 * half, "weights on their way to it");

  std::vector<Turn> turns = turns_of(chunks, half);
  std::vector<WeightSource::Request> requests;
  for (size_t i = 0; i < turns.size(); i++) {
    std::byte* memory = staging.data() + i % 2 * half;
    for (Piece& p : turns[i]) {
      p.part.data = memory;
      memory += p.bytes();
      add_requests(p, source.gives_rows(), requests);
    }
    requests.back().after = [&turns, &device, i] {
      device.synchronize();  // the other half is copied
      for (const Piece& p : turns[i]) copy(p, device);
      if (i + 1 < turns.size()) prepare(turns[i + 1], turns[i].back());
    };
  }
  source.read(std::move(requests));
  device.synchronize();
}

}  // namespace

void load_weights(const WeightSource& source, std::vector<WeightMatrix> matrices, Device& device) {
  if (matrices.empty()) return;
  if (!device.works_in_host_memory()) return load_by_staging(source, std::move(matrices), device);
  std::vector<WeightSource::Request> requests;
  for (const WeightMatrix& m : matrices)
    for (const Source& s : m.sources) requests.push_back(request_of(s, m.packed, s.first_row, 0));
  std::stable_sort(requests.begin(), requests.end(), kInFileOrder);
  source.read(std::move(requests));
}

}  // namespace trireme

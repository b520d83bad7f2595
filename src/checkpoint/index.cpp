#include "checkpoint/index.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/json_file.h"

namespace trireme {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxIndex = uint64_t{256} << 20;  // bytes; a 405B model has about 4 MiB
constexpr uint64_t kMaxBlob = uint64_t{256} << 20;   // bytes; tokenizers have 2 to 35 MB
constexpr int kMaxDepth = 16;
constexpr int64_t kMaxSide = int64_t{1} << 30;  // rows or columns; two of them and 4 bytes cannot overflow

constexpr std::string_view kAxisNames[] = {"none", "rows", "columns"};

// Typed access to the fields of one JSON object that anyone may have written; errors name file and field.
class Fields {
 public:
  Fields(const json& object, std::string where, const std::string& path)
      : object_(object), where_(std::move(where)), path_(path) {
    if (!object.is_object()) refuse("", "is no object");
  }

  int64_t integer(const char* key, int64_t least, int64_t most) const {
    const json& v = at(key);
    bool fits = v.is_number_unsigned() ? v.get<uint64_t>() <= static_cast<uint64_t>(most) : v.is_number_integer();
    if (!fits || v.get<int64_t>() < least || v.get<int64_t>() > most)
      refuse(key, fmt::format("is {}, not an integer from {} to {}", shown(v), least, most));
    return v.get<int64_t>();
  }
  bool boolean(const char* key) const {
    if (!at(key).is_boolean()) refuse(key, "is no boolean");
    return at(key).get<bool>();
  }
  const std::string& string(const char* key) const {
    if (!at(key).is_string()) refuse(key, "is no string");
    return at(key).get_ref<const std::string&>();
  }
  const json& array(const char* key) const {
    if (!at(key).is_array()) refuse(key, "is no array");
    return at(key);
  }
  const json& object(const char* key) const {
    if (!at(key).is_object()) refuse(key, "is no object");
    return at(key);
  }
  template <size_t count>
  int one_of(const char* key, const std::string_view (&names)[count]) const {
    const std::string& text = string(key);
    for (size_t i = 0; i < count; i++)
      if (names[i] == text) return static_cast<int>(i);
    refuse(key, fmt::format("is {}", shown(at(key))));
  }
  [[noreturn]] void refuse(std::string_view key, const std::string& why) const {
    fail(ExitCode::bad_data, "{}: the index is damaged: {}{}{} {}; convert the model again", path_, where_,
         key.empty() ? "" : ".", key, why);
  }

 private:
  static std::string shown(const json& v) {
    return v.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 40);
  }
  const json& at(const char* key) const {
    auto found = object_.find(key);
    if (found == object_.end()) refuse(key, "is missing");
    return *found;
  }

  const json& object_;
  std::string where_;
  const std::string& path_;
};

json format_json(const WeightFormat& f) {
  json out = {
      {"type", dtype_name(f.type)}, {"bits", f.bits}, {"group", f.group}, {"zero", f.zero}, {"minimum", f.has_minimum}};
  if (f.e4m3) out["type"] = "e4m3";  // with scales in FP32; a program that does not know it refuses the file
  return out;
}

WeightFormat parse_format(const Fields& in) {
  static constexpr std::string_view types[] = {dtype_name(DType::f32), dtype_name(DType::f16), dtype_name(DType::bf16),
                                               "e4m3"};
  WeightFormat f;
  const int type = in.one_of("type", types);
  f.e4m3 = type == 3;
  f.type = f.e4m3 ? DType::f32 : static_cast<DType>(type);
  f.bits = static_cast<int>(in.integer("bits", 0, 8));
  f.group = static_cast<int>(in.integer("group", 1, f.e4m3 ? kMaxSide : 128));
  f.zero = static_cast<int>(in.integer("zero", 0, 255));
  f.has_minimum = in.boolean("minimum");
  bool possible = f.e4m3          ? f.bits == 8 && f.zero == 0 && !f.has_minimum
                  : f.quantized() ? (f.bits == 4 || f.bits == 8) && f.group >= 16 && f.group % 2 == 0 &&
                                        f.zero < 1 << f.bits && f.type != DType::bf16 && !(f.has_minimum && f.zero != 0)
                                  : f.group == 1 && f.zero == 0 && !f.has_minimum;
  if (!possible) in.refuse("bits", fmt::format("and its neighbours make no known format ({})", format_name(f)));
  return f;
}

uint64_t parse_hex(std::string_view digits, const Fields& in, const char* key) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (digits.size() != 16 || error != std::errc() || end != digits.data() + digits.size())
    in.refuse(key, "is no 16 hexadecimal digits");
  return value;
}

json tensor_json(const TensorInfo& t) {
  json parts = json::array();
  for (const TensorInfo::Part& part : t.parts) {
    if (part.unit_bytes == 0) {
      parts.push_back(nullptr);
      continue;
    }
    std::string checksums;
    for (uint64_t sum : part.checksums) checksums += hex16(sum);
    parts.push_back({{"offset", part.offset}, {"unit_bytes", part.unit_bytes}, {"checksums", checksums}});
  }
  return {{"name", t.name},
          {"format", format_json(t.format)},
          {"rows", t.rows},
          {"columns", t.columns},
          {"axis", kAxisNames[static_cast<size_t>(t.axis)]},
          {"units", t.units},
          {"unit_rows", t.unit_rows},
          {"unit_columns", t.unit_columns},
          {"parts", parts}};
}

// Units cover the tensor: all but the last are full, the other side is whole.
void check_units(const TensorInfo& t, const Fields& in) {
  auto covers = [&t](int64_t side, int64_t unit) { return unit * t.units >= side && unit * (t.units - 1) < side; };
  bool good = t.axis == UnitAxis::rows      ? covers(t.rows, t.unit_rows) && t.unit_columns == t.columns
              : t.axis == UnitAxis::columns ? covers(t.columns, t.unit_columns) && t.unit_rows == t.rows
                                            : t.units == 1 && t.unit_rows == t.rows && t.unit_columns == t.columns;
  if (!good)
    in.refuse("units", fmt::format("{} of [{}, {}] do not make [{}, {}]", t.units, t.unit_rows, t.unit_columns, t.rows,
                                   t.columns));
  if (t.unit_columns % t.format.group != 0)
    in.refuse("unit_columns", fmt::format("{} is not a multiple of the group {}", t.unit_columns, t.format.group));
  if (t.format.e4m3 && t.unit_columns != t.format.group)
    in.refuse("unit_columns", fmt::format("{} is not the group {} of e4m3", t.unit_columns, t.format.group));
}

// What every content of the file must satisfy; `extents` finds overlaps later.
struct Bounds {
  uint64_t begin, end;                   // of the part of the file that HDF5 owns
  std::map<uint64_t, uint64_t> extents;  // offset -> bytes

  void take(uint64_t offset, uint64_t bytes, const Fields& in) {
    if (offset < begin || bytes > end || offset > end - bytes)
      in.refuse("offset", fmt::format("{} and {} bytes lie outside the file's [{}, {})", offset, bytes, begin, end));
    if (bytes >= kAlignedBytes && offset % kAlignment != 0)
      in.refuse("offset", fmt::format("{} is not a multiple of {}", offset, kAlignment));
    auto [place, added] = extents.emplace(offset, bytes);
    auto next = std::next(place);
    bool free = added && (next == extents.end() || offset + bytes <= next->first) &&
                (place == extents.begin() || std::prev(place)->first + std::prev(place)->second <= offset);
    if (!free) in.refuse("offset", fmt::format("{} overlaps other content", offset));
  }
};

TensorInfo::Part parse_part(const json& v, const TensorInfo& t, int index, const std::string& where,
                            const std::string& path, Bounds& bounds) {
  TensorInfo::Part part;
  uint64_t expected = unit_bytes(t, index);
  if (v.is_null() && expected == 0) return part;
  Fields in(v, where, path);
  constexpr int64_t most = int64_t{1} << 62;
  part.offset = static_cast<uint64_t>(in.integer("offset", 0, most));
  part.unit_bytes = static_cast<uint64_t>(in.integer("unit_bytes", 1, most));
  if (part.unit_bytes != expected)
    in.refuse("unit_bytes", fmt::format("is {}, but shape and format make {}", part.unit_bytes, expected));
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(part.unit_bytes, static_cast<uint64_t>(t.units), &bytes))
    in.refuse("unit_bytes", "is too large");
  bounds.take(part.offset, bytes, in);
  const std::string& sums = in.string("checksums");
  if (sums.size() != static_cast<size_t>(t.units) * 16)
    in.refuse("checksums", fmt::format("has {} digits, not 16 for each of {} units", sums.size(), t.units));
  for (size_t i = 0; i < sums.size(); i += 16)
    part.checksums.push_back(parse_hex(std::string_view(sums).substr(i, 16), in, "checksums"));
  return part;
}

TensorInfo parse_tensor(const json& v, size_t position, const std::string& path, Bounds& bounds) {
  std::string where = fmt::format("tensors[{}]", position);
  Fields in(v, where, path);
  TensorInfo t;
  t.name = in.string("name");
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'; };
  if (t.name.empty() || t.name.size() > 255 || !std::all_of(t.name.begin(), t.name.end(), plain))
    in.refuse("name", "is no tensor name");
  t.format = parse_format(Fields(in.object("format"), where + ".format", path));
  t.rows = in.integer("rows", 1, kMaxSide);
  t.columns = in.integer("columns", 1, kMaxSide);
  t.axis = static_cast<UnitAxis>(in.one_of("axis", kAxisNames));
  t.units = static_cast<int>(in.integer("units", 1, 1 << 20));
  t.unit_rows = in.integer("unit_rows", 1, kMaxSide);
  t.unit_columns = in.integer("unit_columns", 1, kMaxSide);
  check_units(t, in);
  const json& parts = in.array("parts");
  if (parts.size() != 3) in.refuse("parts", "are not 3");
  for (int i = 0; i < 3; i++)
    t.parts[i] = parse_part(parts[static_cast<size_t>(i)], t, i, fmt::format("{}.parts[{}]", where, i), path, bounds);
  return t;
}

Index::Blob parse_blob(const json& v, size_t position, const std::string& path, Bounds& bounds) {
  Fields in(v, fmt::format("blobs[{}]", position), path);
  Index::Blob b;
  b.name = in.string("name");
  b.offset = static_cast<uint64_t>(in.integer("offset", 0, int64_t{1} << 62));
  b.bytes = static_cast<uint64_t>(in.integer("bytes", 1, static_cast<int64_t>(kMaxBlob)));
  b.checksum = parse_hex(in.string("checksum"), in, "checksum");
  bounds.take(b.offset, b.bytes, in);
  return b;
}

json parse_text(const std::string& text, const std::string& path) {
  auto shallow = [&path](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth)
      fail(ExitCode::bad_data, "{}: the index is nested deeper than {}; convert the model again", path, kMaxDepth);
    return true;
  };
  try {
    return json::parse(text, shallow);
  } catch (const json::exception& e) {
    fail(ExitCode::bad_data, "{}: the index is no JSON ({}); convert the model again", path, json_fault(e));
  }
}

Index parse_index(const std::string& text, const std::string& path, Bounds bounds) {
  json root = parse_text(text, path);
  Fields in(root, "index", path);
  Index index;
  index.unit_formula = static_cast<int>(in.integer("unit_formula", 1, 1 << 20));
  index.unit_group = static_cast<int>(in.integer("unit_group", 1, 1 << 20));
  index.config = in.object("config");
  std::set<std::string> names;
  for (const json& v : in.array("blobs")) {
    index.blobs.push_back(parse_blob(v, index.blobs.size(), path, bounds));
    if (!names.insert("blob " + index.blobs.back().name).second) in.refuse("blobs", "have a name twice");
  }
  for (const json& v : in.array("tensors")) {
    index.tensors.push_back(parse_tensor(v, index.tensors.size(), path, bounds));
    const TensorInfo& t = index.tensors.back();
    if (!names.insert(t.name).second) in.refuse("tensors", fmt::format("have {} twice", t.name));
  }
  return index;
}

IndexHeader read_header(const InputFile& file) {
  IndexHeader h;
  const std::string& path = file.path();
  if (file.bytes() < sizeof h)
    fail(ExitCode::bad_data, "{} has {} bytes: no Trireme checkpoint; make one with trireme convert", path,
         file.bytes());
  file.read(0, std::as_writable_bytes(std::span(&h, 1)), "header");
  const IndexHeader ours;
  if (std::memcmp(h.magic, ours.magic, sizeof h.magic) != 0)
    fail(ExitCode::bad_data,
         "{} is neither a Trireme checkpoint nor a GGUF file (by its first bytes); check the path, or make a "
         "checkpoint with trireme convert",
         path);
  auto refuse = [&path](const char* field, uint64_t seen, const std::string& expected) {
    fail(ExitCode::bad_data, "{}: the header's {} is {}, expected {}; the file is damaged, convert the model again",
         path, field, seen, expected);
  };
  if (h.version != ours.version)
    fail(ExitCode::bad_data,
         "{}: the header's version is {}, expected {}: another version of Trireme wrote it; convert the model again",
         path, h.version, ours.version);
  uint64_t sum = xxh3(std::as_bytes(std::span(&h, 1)).first(offsetof(IndexHeader, header_checksum)));
  if (sum != h.header_checksum) refuse("checksum", h.header_checksum, fmt::format("{}", sum));
  if (h.header_bytes != sizeof h) refuse("header_bytes", h.header_bytes, fmt::format("{}", sizeof h));
  if (h.file_bytes != file.bytes()) refuse("file_bytes", h.file_bytes, fmt::format("the file's size {}", file.bytes()));
  if (!std::has_single_bit(h.user_block_bytes) || h.user_block_bytes < 512 || h.user_block_bytes > file.bytes())
    refuse("user_block_bytes", h.user_block_bytes, "a power of two inside the file");
  if (h.index_bytes > std::min(kMaxIndex, h.user_block_bytes - sizeof h))
    refuse("index_bytes", h.index_bytes, "less than the user block");
  return h;
}

}  // namespace

bool is_checkpoint(const std::string& path) try {
  const InputFile file(path);
  const IndexHeader ours;
  char magic[sizeof ours.magic];
  if (file.bytes() < sizeof magic) return false;
  file.read(0, std::as_writable_bytes(std::span(magic)), "magic bytes");
  return std::memcmp(magic, ours.magic, sizeof magic) == 0;
} catch (const Error&) {
  return false;
}

uint64_t unit_bytes(const TensorInfo& t, int part) {
  auto rows = static_cast<uint64_t>(t.unit_rows);
  if (part == 0) return rows * static_cast<uint64_t>(t.format.row_bytes(t.unit_columns));
  if (!t.format.quantized() || (part == 2 && !t.format.has_minimum)) return 0;
  return rows * static_cast<uint64_t>(t.unit_columns / t.format.group * dtype_bytes(t.format.type));
}

std::string index_text(const Index& index) {
  json blobs = json::array(), tensors = json::array();
  for (const Index::Blob& b : index.blobs)
    blobs.push_back({{"name", b.name}, {"offset", b.offset}, {"bytes", b.bytes}, {"checksum", hex16(b.checksum)}});
  for (const TensorInfo& t : index.tensors) tensors.push_back(tensor_json(t));
  return json{{"unit_formula", index.unit_formula},
              {"unit_group", index.unit_group},
              {"config", index.config},
              {"blobs", blobs},
              {"tensors", tensors}}
      .dump();
}

std::string user_block(const std::string& text, uint64_t user_block_bytes, uint64_t file_bytes) {
  IndexHeader h;
  h.user_block_bytes = user_block_bytes;
  h.file_bytes = file_bytes;
  h.index_bytes = text.size();
  h.index_checksum = xxh3(text);
  h.header_checksum = xxh3(std::as_bytes(std::span(&h, 1)).first(offsetof(IndexHeader, header_checksum)));
  must(sizeof h + text.size() <= user_block_bytes, "the index fits into the user block");
  std::string block(user_block_bytes, '\0');
  std::memcpy(block.data(), &h, sizeof h);
  std::memcpy(block.data() + sizeof h, text.data(), text.size());
  return block;
}

Index read_index(const InputFile& file, std::string* digest) {
  IndexHeader h = read_header(file);
  std::string text(h.index_bytes, '\0');
  file.read(sizeof h, std::as_writable_bytes(std::span(text)), "index");
  uint64_t sum = xxh3(text);
  if (sum != h.index_checksum)
    fail(ExitCode::bad_data,
         "{}: the index (bytes {} to {}) has checksum {}, expected {}; the file is damaged, convert the model again",
         file.path(), sizeof h, sizeof h + h.index_bytes, hex16(sum), hex16(h.index_checksum));
  *digest = hex16(sum);
  return parse_index(text, file.path(), Bounds{h.user_block_bytes, file.bytes(), {}});
}

}  // namespace trireme

#include "checkpoint/gguf_header.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

#include "base/buffer.h"
#include "base/error.h"

namespace trireme {

namespace {

// Bounds of what a header may ask of us, far above any published model (the largest have about 300,000 tokens and 2,000
// tensors): they keep the memory of a hostile header small.
constexpr uint64_t kMaxKeys = 65536;
constexpr uint64_t kMaxTensors = 65536;
constexpr uint64_t kMaxArray = uint64_t{1} << 21;     // elements of one array
constexpr uint64_t kMaxElements = uint64_t{1} << 22;  // of all arrays
constexpr uint64_t kMaxString = uint64_t{16} << 20;   // bytes
constexpr uint64_t kMaxHeader = uint64_t{64} << 20;   // bytes, up to the first weight
constexpr uint64_t kMaxKey = 1024;                    // bytes (the specification allows 65,535)
constexpr uint64_t kMaxName = 255;                    // bytes of a tensor's name
constexpr uint64_t kMaxDimension = uint64_t{1} << 32;
constexpr uint64_t kMaxAlignment = 65536;

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64, kTypes };
constexpr uint64_t kLeastBytes[kTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // that one value takes in the file

// Reads forward through the header by pread, and knows where it is.
class Cursor {
 public:
  explicit Cursor(const InputFile& file) : file_(file), window_(kWindow, "GGUF header") {}

  uint64_t elements = 0;  // of all arrays so far

  uint64_t position() const { return begin_ + used_; }
  uint64_t left() const { return std::min(file_.bytes(), kMaxHeader) - position(); }

  template <typename T>
  T number(std::string_view field) {
    T value;
    take(std::as_writable_bytes(std::span(&value, 1)), field);
    return value;
  }

  std::string string(std::string_view field, uint64_t most) {
    uint64_t at = position(), length = number<uint64_t>(field);
    if (length > most || length > left())
      fail(ExitCode::bad_data, "{}, byte {}: the length of {} is {}, but at most {} fit; the file is damaged",
           file_.path(), at, field, length, std::min(most, left()));
    std::string text(length, '\0');
    take(std::as_writable_bytes(std::span(text)), field);
    return text;
  }

  // A name that error texts and terminals may show as it is.
  std::string name(std::string_view field, uint64_t most) {
    uint64_t at = position();
    std::string text = string(field, most);
    bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
    if (text.empty() || !printable) refuse(at, "{} is empty or not printable ASCII; the file is damaged", field);
    return text;
  }

  template <typename... Args>
  [[noreturn]] void refuse(uint64_t at, fmt::format_string<Args...> text, Args&&... args) const {
    fail(ExitCode::bad_data, "{}, byte {}: {}", file_.path(), at, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  static constexpr size_t kWindow = size_t{1} << 20;

  void take(std::span<std::byte> into, std::string_view field) {
    if (into.size() > left())
      refuse(position(), "the file ends inside {}: {} bytes expected, {} there; it is cut off or damaged", field,
             into.size(), left());
    while (!into.empty()) {
      if (used_ == filled_) refill();
      size_t n = std::min(into.size(), filled_ - used_);
      std::memcpy(into.data(), window_.data() + used_, n);
      used_ += n;
      into = into.subspan(n);
    }
  }
  void refill() {
    begin_ += used_;
    used_ = 0;
    filled_ = static_cast<size_t>(std::min<uint64_t>(kWindow, file_.bytes() - begin_));
    file_.read(begin_, {window_.data(), filled_}, "header");
  }

  const InputFile& file_;
  Buffer window_;
  uint64_t begin_ = 0;  // in the file, of the window
  size_t used_ = 0, filled_ = 0;
};

int64_t integer(Cursor& in, uint32_t type, std::string_view field) {
  switch (type) {
    case kU8:
      return in.number<uint8_t>(field);
    case kI8:
      return in.number<int8_t>(field);
    case kU16:
      return in.number<uint16_t>(field);
    case kI16:
      return in.number<int16_t>(field);
    case kU32:
      return in.number<uint32_t>(field);
    case kI32:
      return in.number<int32_t>(field);
    case kI64:
      return in.number<int64_t>(field);
    default:
      break;
  }
  uint64_t at = in.position(), value = in.number<uint64_t>(field);
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    in.refuse(at, "{} is {}: too large", field, value);
  return static_cast<int64_t>(value);
}

// A float's shortest decimal text, read as a double: 1e-05 rather than 9.999999747378752e-06, as configs have it.
double widen(float value) {
  std::string text = fmt::format("{}", value);
  double result = 0;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

double real(Cursor& in, uint32_t type, std::string_view field) {
  return type == kF32 ? widen(in.number<float>(field)) : in.number<double>(field);
}

bool boolean(Cursor& in, std::string_view field) {
  uint64_t at = in.position();
  uint8_t value = in.number<uint8_t>(field);
  if (value > 1) in.refuse(at, "{} is {}, not a boolean", field, value);
  return value == 1;
}

template <typename T, typename Read>
std::vector<T> elements(uint64_t count, const Read& read) {
  std::vector<T> all;
  all.reserve(count);
  for (uint64_t i = 0; i < count; i++) all.push_back(read());
  return all;
}

GgufValue array(Cursor& in, const std::string& key) {
  uint64_t at = in.position();
  uint32_t type = in.number<uint32_t>(key);
  if (type >= kTypes || type == kArray)
    in.refuse(at, "the array {} has elements of type {}; arrays of numbers, booleans and strings can be read", key,
              type);
  at = in.position();
  uint64_t count = in.number<uint64_t>(key);
  uint64_t most = std::min({kMaxArray, kMaxElements - in.elements, in.left() / kLeastBytes[type]});
  if (count > most)
    in.refuse(at, "the array {} has {} elements, but at most {} fit; the file is damaged", key, count, most);
  in.elements += count;
  switch (type) {
    case kBool:
      return elements<bool>(count, [&] { return boolean(in, key); });
    case kString:
      return elements<std::string>(count, [&] { return in.string(key, kMaxString); });
    case kF32:
    case kF64:
      return elements<double>(count, [&] { return type == kF32 ? in.number<float>(key) : in.number<double>(key); });
    default:
      return elements<int64_t>(count, [&] { return integer(in, type, key); });
  }
}

GgufValue value(Cursor& in, const std::string& key) {
  uint64_t at = in.position();
  uint32_t type = in.number<uint32_t>(key);
  if (type >= kTypes) in.refuse(at, "{} has value type {}, but types are 0 to {}", key, type, kTypes - 1);
  switch (type) {
    case kBool:
      return boolean(in, key);
    case kString:
      return in.string(key, kMaxString);
    case kArray:
      return array(in, key);
    case kF32:
    case kF64:
      return real(in, type, key);
    default:
      return integer(in, type, key);
  }
}

// offset: still relative to the first weight.
GgufTensor tensor(Cursor& in) {
  GgufTensor t;
  uint64_t at = in.position();
  t.name = in.name("a tensor's name", kMaxName);
  uint32_t dimensions = in.number<uint32_t>(t.name);
  if (dimensions < 1 || dimensions > 4)
    in.refuse(at, "the tensor {} has {} dimensions; 1 to 4 are possible", t.name, dimensions);
  t.dimensions = static_cast<int>(dimensions);
  t.columns = t.rows = 1;
  for (uint32_t i = 0; i < dimensions; i++) {
    uint64_t size = in.number<uint64_t>(t.name);
    if (size < 1 || size > kMaxDimension) in.refuse(at, "dimension {} of the tensor {} is {}", i, t.name, size);
    int64_t& side = i == 0 ? t.columns : t.rows;
    if (__builtin_mul_overflow(side, static_cast<int64_t>(size), &side))
      in.refuse(at, "the shape of the tensor {} overflows", t.name);
  }
  uint32_t type = in.number<uint32_t>(t.name);
  t.type = find_block_type(type);
  if (!t.type)
    in.refuse(at, "the tensor {} is stored as {}; this version reads {}: requantize the file to one of these", t.name,
              block_type_name(type), supported_block_types());
  if (t.columns % t.type->columns != 0)
    in.refuse(at, "rows of the tensor {} have {} columns, not a multiple of {}'s {}", t.name, t.columns, t.type->name,
              t.type->columns);
  t.row_bytes = static_cast<uint64_t>(t.columns / t.type->columns) * static_cast<uint64_t>(t.type->bytes);
  t.offset = in.number<uint64_t>(t.name);
  return t;
}

void read_metadata(Cursor& in, uint64_t num_keys, GgufMetadata& metadata) {
  for (uint64_t i = 0; i < num_keys; i++) {
    uint64_t at = in.position();
    std::string key = in.name(fmt::format("metadata key {}", i), kMaxKey);
    if (metadata.contains(key)) in.refuse(at, "the metadata key {} stands twice", key);
    GgufValue v = value(in, key);
    metadata.emplace(std::move(key), std::move(v));
  }
}

uint64_t alignment_of(const GgufMetadata& metadata, const std::string& path) {
  auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return 32;
  const int64_t* value = std::get_if<int64_t>(&found->second);
  uint64_t alignment = value ? static_cast<uint64_t>(*value) : 0;
  if (!std::has_single_bit(alignment) || alignment < 8 || alignment > kMaxAlignment)
    fail(ExitCode::bad_data, "{}: general.alignment is {}; powers of two from 8 to {} are possible", path,
         value ? fmt::format("{}", *value) : "no integer", kMaxAlignment);
  return alignment;
}

// Turns offsets into places in the file: aligned, inside it, and no two overlapping.
void check_layout(const InputFile& file, uint64_t data_begin, uint64_t alignment, std::vector<GgufTensor>& tensors) {
  auto refuse = [&file](const GgufTensor& t, const std::string& why) {
    fail(ExitCode::bad_data, "{}: the tensor {} {}; the file is damaged", file.path(), t.name, why);
  };
  for (GgufTensor& t : tensors) {
    uint64_t bytes = 0, end = 0;
    if (t.offset % alignment != 0)
      refuse(t, fmt::format("has offset {}, not a multiple of the alignment {}", t.offset, alignment));
    if (__builtin_mul_overflow(t.row_bytes, static_cast<uint64_t>(t.rows), &bytes) ||
        __builtin_add_overflow(t.offset, data_begin, &t.offset) || __builtin_add_overflow(t.offset, bytes, &end) ||
        end > file.bytes())
      refuse(t, fmt::format("[{}, {}] at byte {} reaches past the file's {} bytes", t.rows, t.columns, t.offset,
                            file.bytes()));
  }
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& t : tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); i++) {
    const GgufTensor &before = *order[i - 1], &t = *order[i];
    if (before.offset + before.row_bytes * static_cast<uint64_t>(before.rows) > t.offset)
      refuse(t, fmt::format("at byte {} overlaps {}", t.offset, before.name));
  }
}

}  // namespace

GgufHeader read_gguf_header(const InputFile& file) {
  Cursor in(file);
  char magic[4];
  for (char& c : magic) c = in.number<char>("the magic bytes");
  if (std::memcmp(magic, "GGUF", 4) != 0) in.refuse(0, "this is no GGUF file: it does not begin with \"GGUF\"");
  GgufHeader header;
  uint32_t version = in.number<uint32_t>("the version");
  if (version != 2 && version != 3)
    in.refuse(4, "GGUF version {}; versions 2 and 3 can be read{}", version,
              version == 0x02000000 || version == 0x03000000 ? " (the file is big-endian)" : "");
  header.version = static_cast<int>(version);
  uint64_t num_tensors = in.number<uint64_t>("the tensor count");
  if (num_tensors > kMaxTensors) in.refuse(8, "{} tensors; at most {} are read", num_tensors, kMaxTensors);
  uint64_t num_keys = in.number<uint64_t>("the key count");
  if (num_keys > kMaxKeys) in.refuse(16, "{} metadata keys; at most {} are read", num_keys, kMaxKeys);
  read_metadata(in, num_keys, header.metadata);
  for (uint64_t i = 0; i < num_tensors; i++) {
    header.tensors.push_back(tensor(in));
    header.tensors.back().file = &file;
  }
  uint64_t alignment = alignment_of(header.metadata, file.path());
  check_layout(file, (in.position() + alignment - 1) / alignment * alignment, alignment, header.tensors);
  return header;
}

}  // namespace trireme

#include "checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/json_file.h"

namespace trireme {

namespace {

using nlohmann::json;

// Bits of an element, for every type that the format knows.
struct ElementType {
  std::string_view name;
  uint64_t bits;
};
constexpr ElementType kTypes[] = {
    {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},        {"I32", 32},
    {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},        {"U8", 8},
    {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},      {"C64", 64}};

uint64_t type_bits(std::string_view name) {
  for (const ElementType& type : kTypes)
    if (type.name == name) return type.bits;
  return 0;
}

// Takes the header's JSON as events, so that neither depth nor length of hostile text costs memory:
//   { "__metadata__": { text: text, ... }, NAME: { "dtype": text, "shape": [...], "data_offsets": [begin, end] }, ... }
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& path, std::vector<SafetensorsTensor>& tensors) : path_(path), tensors_(tensors) {}

  bool start_object(size_t) override {
    if (level_ == 1 && !in_metadata_) begin_tensor();
    if (level_ >= 2 || in_list_) refuse("has an object where none belongs");
    level_++;
    return true;
  }
  bool end_object() override {
    level_--;
    if (level_ == 1) in_metadata_ ? void(in_metadata_ = false) : end_tensor();
    return true;
  }
  bool key(std::string& text) override {
    if (level_ == 1) {
      if (text.size() > Safetensors::kMaxName)
        fail(ExitCode::bad_data, "{}: the header names a tensor of {} bytes ({}...); {} are possible", path_,
             text.size(), shown_name(text), Safetensors::kMaxName);
      if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }))
        fail(ExitCode::bad_data, "{}: the header names a tensor {}, with a control character; copy the file again",
             path_, shown_name(text));
      if (!names_.insert(text).second)
        fail(ExitCode::bad_data, "{}: the header has {} twice; copy the file again", path_, shown_name(text));
      in_metadata_ = text == "__metadata__";
      name_ = text;
    } else if (!in_metadata_) {
      field_ = text == "dtype" ? kType : text == "shape" ? kShape : text == "data_offsets" ? kOffsets : kUnknown;
      if (field_ == kUnknown) refuse(fmt::format("has a field {}", shown_name(text)));
      if (seen_[field_]) refuse(fmt::format("has {} twice", text));
      seen_[field_] = true;
    }
    return true;
  }
  bool start_array(size_t) override {
    if (level_ != 2 || in_metadata_ || in_list_ || (field_ != kShape && field_ != kOffsets))
      refuse("has a list where none belongs");
    in_list_ = true;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    return true;
  }
  bool string(std::string& text) override {
    if (level_ == 2 && in_metadata_) return true;  // what other programs noted
    if (level_ != 2 || field_ != kType) refuse("has a text where none belongs");
    if (type_bits(text) == 0)
      refuse(fmt::format("has the element type {}, which the format does not know", shown_name(text)));
    tensors_.back().type = text;
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (!in_list_) refuse("has a number where none belongs");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(fmt::format("has the number {}, past 2^63", value));
    if (field_ == kShape && tensors_.back().shape.size() == kMaxDimensions)
      refuse(fmt::format("has more than {} dimensions", kMaxDimensions));
    if (field_ == kShape) tensors_.back().shape.push_back(static_cast<int64_t>(value));
    if (field_ == kOffsets && offsets_.size() == 2) refuse("has more than two data_offsets");
    if (field_ == kOffsets) offsets_.push_back(value);
    return true;
  }
  bool number_integer(int64_t value) override { refuse(fmt::format("has the negative number {}", value)); }
  bool number_float(double, const std::string& text) override {
    refuse(fmt::format("has {}, no whole number", text.substr(0, 40)));
  }
  bool null() override { refuse("has a null where none belongs"); }
  bool boolean(bool) override { refuse("has true or false where none belongs"); }
  bool binary(json::binary_t&) override { return false; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    fail(ExitCode::bad_data, "{}: byte {}, in the header, is no JSON ({}); copy the file again", path_, position + 7,
         json_fault(error));
  }

 private:
  enum Field { kType, kShape, kOffsets, kUnknown };
  static constexpr size_t kMaxDimensions = 16;

  void begin_tensor() {
    if (tensors_.size() == Safetensors::kMaxTensors)
      fail(ExitCode::bad_data, "{}: the header lists more than {} tensors; no model of ours has so many", path_,
           Safetensors::kMaxTensors);
    tensors_.push_back({name_, "", {}, 0, 0});
    offsets_.clear();
    std::fill(std::begin(seen_), std::end(seen_), false);
  }
  void end_tensor() {
    if (!seen_[kType] || !seen_[kShape] || !seen_[kOffsets])
      refuse(fmt::format("has no {}", !seen_[kType] ? "dtype" : !seen_[kShape] ? "shape" : "data_offsets"));
    if (offsets_.size() != 2) refuse("has no two data_offsets");
    SafetensorsTensor& t = tensors_.back();
    if (t.type.empty()) refuse("has no text as dtype");
    auto [begin, end] = std::pair(offsets_[0], offsets_[1]);
    if (end < begin) refuse(fmt::format("ends at byte {} of the data, before its begin {}", end, begin));
    t.offset = begin, t.bytes = end - begin;
    uint64_t bits = type_bits(t.type);
    for (int64_t side : t.shape)
      if (__builtin_mul_overflow(bits, static_cast<uint64_t>(side), &bits))
        refuse(fmt::format("has the shape [{}], whose product passes 2^64", fmt::join(t.shape, ", ")));
    if (bits % 8 != 0 || bits / 8 != t.bytes)
      refuse(fmt::format("is [{}] of {}, {} bytes, but its data_offsets [{}, {}] span {}", fmt::join(t.shape, ", "),
                         t.type, bits / 8, begin, end, t.bytes));
  }
  [[noreturn]] void refuse(const std::string& why) const {
    if (level_ == 0) fail(ExitCode::bad_data, "{}: the header is no JSON object; copy the file again", path_);
    fail(ExitCode::bad_data, "{}: the header's entry {} {}; copy the file again", path_, shown_name(name_), why);
  }

  const std::string& path_;
  std::vector<SafetensorsTensor>& tensors_;
  std::unordered_set<std::string> names_;
  int level_ = 0;  // of objects
  bool in_metadata_ = false, in_list_ = false;
  std::string name_;
  Field field_ = kUnknown;
  bool seen_[3] = {};
  std::vector<uint64_t> offsets_;
};

}  // namespace

Safetensors::Safetensors(const std::string& path) : file_(path) {
  uint64_t length = 0;
  if (file_.bytes() < sizeof length + 2)
    fail(ExitCode::bad_data, "{} has {} bytes, too few for a safetensors file; copy it again", path, file_.bytes());
  file_.read(0, std::as_writable_bytes(std::span(&length, 1)), "header length");
  if (length > kMaxHeader)
    fail(ExitCode::bad_data, "{}: bytes 0 to 7 give the header {} bytes; {} are possible: is this a safetensors file?",
         path, length, kMaxHeader);
  if (length > file_.bytes() - sizeof length)
    fail(ExitCode::bad_data, "{}: bytes 0 to 7 give the header {} bytes, but the file has {}; copy it again", path,
         length, file_.bytes());
  std::string header(length, '\0');
  file_.read(sizeof length, std::as_writable_bytes(std::span(header)), "header");
  if (header.empty() || header[0] != '{')
    fail(ExitCode::bad_data, "{}: byte 8, where the header begins, is no '{{'; is this a safetensors file?", path);
  HeaderReader reader(path, tensors_);
  json::sax_parse(header, &reader);
  check_layout(sizeof length + length);
}

void Safetensors::check_layout(uint64_t data_begin) {
  auto place = [](const SafetensorsTensor& t) { return std::pair(t.offset, t.bytes); };
  std::sort(tensors_.begin(), tensors_.end(), [&](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::tuple(place(a), a.name) < std::tuple(place(b), b.name);
  });
  uint64_t at = 0, data = file_.bytes() - data_begin;
  for (SafetensorsTensor& t : tensors_) {
    if (t.offset != at)
      fail(ExitCode::bad_data, "{}: the tensor {} begins at byte {} of the data, {} {}; copy the file again", path(),
           shown_name(t.name), t.offset,
           t.offset < at ? "inside another one that ends at" : "after a hole that begins at", at);
    if (t.bytes > data - at)
      fail(ExitCode::bad_data, "{}: the tensor {} ends at byte {}, but the file has {}; it is cut off: copy it again",
           path(), shown_name(t.name), data_begin + t.offset + t.bytes, file_.bytes());
    at += t.bytes;
    t.offset += data_begin;
  }
  if (at != data)
    fail(ExitCode::bad_data, "{}: the tensors end at byte {}, but the file has {}; copy it again", path(),
         data_begin + at, file_.bytes());
}

}  // namespace trireme

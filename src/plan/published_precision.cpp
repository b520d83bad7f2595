#include "plan/published_precision.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace trireme {

namespace {

using nlohmann::json;

// A field of another type than it should have says nothing.
const json& field(const json& object, const char* name) {
  static const json none;
  const auto found = object.find(name);
  return found == object.end() ? none : *found;
}

std::string text(const json& object, const char* name) {
  const json& value = field(object, name);
  std::string lower = value.is_string() ? value.get<std::string>() : "";
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lower;
}

// Of names as FP8, NVFP4, W4A16_AWQ, INT8_SQ: that of weights, which have no more bits than activations.
std::optional<Precision> named_precision(const std::string& name) {
  const auto has = [&name](const char* part) { return name.find(part) != name.npos; };
  if (has("fp4")) return Precision::fp4;
  if (has("w4") || has("int4")) return Precision::int4;
  if (has("fp8")) return Precision::fp8;
  if (has("w8") || has("int8")) return Precision::int8;
  return std::nullopt;
}

// AWQ, GPTQ and compressed-tensors: so many bits, of a float or of an integer.
std::optional<Precision> counted_precision(const json& format) {
  const bool is_float = text(format, "type") == "float";
  for (const char* name : {"bits", "num_bits"}) {
    if (field(format, name) == 8) return is_float ? Precision::fp8 : Precision::int8;
    if (field(format, name) == 4) return is_float ? Precision::fp4 : Precision::int4;
  }
  return std::nullopt;
}

std::optional<Precision> weights_of(const json& quantization) {
  for (const char* name : {"quant_algo", "quant_method"})  // modelopt; fp8, mxfp4
    if (const auto named = named_precision(text(quantization, name))) return named;
  if (field(quantization, "load_in_8bit") == true) return Precision::int8;  // bitsandbytes
  if (field(quantization, "load_in_4bit") == true) return Precision::int4;
  const json& groups = field(quantization, "config_groups");
  return counted_precision(groups.empty() ? quantization : field(groups.front(), "weights"));
}

std::optional<double> kv_bytes_of(const json& quantization) {
  const auto counted = counted_precision(field(quantization, "kv_cache_scheme"));
  const auto kv = counted ? counted : named_precision(text(quantization, "kv_cache_quant_algo"));
  return kv ? std::optional(precision_bits(*kv) / 8) : std::nullopt;
}

}  // namespace

PublishedPrecision PublishedPrecision::of(const json& quantization) {
  const json& inner = field(quantization, "quantization");  // as modelopt's own file has it
  const json& said = inner.is_object() ? inner : quantization;
  return {weights_of(said), kv_bytes_of(said)};
}

}  // namespace trireme

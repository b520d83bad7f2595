#include "plan/engine_profile.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/scheduler.h"
#include "plan/profiles.h"

namespace trireme {

namespace {

struct Field {
  const char* name;
  double EngineProfile::*member;
  double scale = 1;  // of the file's unit
};

constexpr Field kMemoryFields[] = {{"cache_share", &EngineProfile::cache_share},
                                   {"host_cache_share", &EngineProfile::host_cache_share},
                                   {"workspace_gb", &EngineProfile::workspace_bytes, 1e9},
                                   {"vocabulary_bits", &EngineProfile::vocabulary_bits},
                                   {"kv_bytes", &EngineProfile::kv_bytes},
                                   {"sum_bytes", &EngineProfile::sum_bytes},
                                   {"most_sequences", &EngineProfile::most_sequences}};

constexpr Field kConstants[] = {{"weight_share", &EngineProfile::weight_share},
                                {"weight_share_8", &EngineProfile::weight_share_8},
                                {"weight_share_4", &EngineProfile::weight_share_4},
                                {"host_weight_share", &EngineProfile::host_weight_share},
                                {"kv_share", &EngineProfile::kv_share},
                                {"flops_share", &EngineProfile::flops_share},
                                {"flops_share_8", &EngineProfile::flops_share_8},
                                {"flops_share_4", &EngineProfile::flops_share_4},
                                {"expert_flops_part", &EngineProfile::expert_flops_part},
                                {"overlap", &EngineProfile::overlap},
                                {"layer_us", &EngineProfile::layer_us},
                                {"layer_8_us", &EngineProfile::layer_8_us},
                                {"expert_us", &EngineProfile::expert_us},
                                {"step_us", &EngineProfile::step_us},
                                {"sequence_us", &EngineProfile::sequence_us},
                                {"reduce_factor", &EngineProfile::reduce_factor},
                                {"reduce_us", &EngineProfile::reduce_us},
                                {"request_ms", &EngineProfile::request_ms},
                                {"interference", &EngineProfile::interference},
                                {"clump", &EngineProfile::clump},
                                {"bubble", &EngineProfile::bubble}};

const nlohmann::json& get(const nlohmann::json& object, const char* field, const std::string& source) {
  if (!object.is_object() || !object.contains(field))
    fail(ExitCode::bad_data, "engine profile {}: there is no field \"{}\"", source, field);
  return object.at(field);
}

double number(const nlohmann::json& object, const char* field, const std::string& source) {
  const nlohmann::json& value = get(object, field, source);
  if (!value.is_number() || !(value.get<double>() >= 0))
    fail(ExitCode::bad_data, "engine profile {}: field \"{}\" must be a number of at least 0", source, field);
  return value.get<double>();
}

bool truth(const nlohmann::json& object, const char* field, const std::string& source) {
  const nlohmann::json& value = get(object, field, source);
  if (!value.is_boolean())
    fail(ExitCode::bad_data, "engine profile {}: field \"{}\" must be true or false", source, field);
  return value.get<bool>();
}

}  // namespace

EngineProfile EngineProfile::parse(const nlohmann::json& json, const std::string& source) {
  EngineProfile p;
  p.name = get(json, "name", source).get<std::string>();
  p.about = get(json, "about", source).get<std::string>();
  const nlohmann::json& memory = get(json, "memory", source);
  for (const Field& f : kMemoryFields) p.*f.member = number(memory, f.name, source) * f.scale;
  p.drops_unseen = truth(memory, "drops_unseen", source);
  const nlohmann::json& bits = get(memory, "bits", source);
  for (int i = 0; i < kPrecisions; i++) p.bits[i] = number(bits, precision_name(static_cast<Precision>(i)), source);
  const nlohmann::json& constants = get(json, "constants", source);
  for (const Field& f : kConstants) p.*f.member = number(constants, f.name, source);
  if (!json.contains("errors")) return p;
  const nlohmann::json& errors = json.at("errors");
  const auto read = [&](const char* kind, double& median, double& p90) {
    median = number(get(errors, kind, source), "median", source);
    p90 = number(get(errors, kind, source), "p90", source);
  };
  read("decode", p.decode_error, p.decode_error_p90);
  read("decode_cpu", p.cpu_decode_error, p.cpu_decode_error_p90);
  read("throughput", p.throughput_error, p.throughput_error_p90);
  read("experts", p.expert_error, p.expert_error_p90);
  return p;
}

void EngineProfile::set_step_tokens(int64_t tokens) {
  chunk_tokens = static_cast<double>(tokens);
  piece_tokens = least_prompt_rows(static_cast<int32_t>(tokens));
}

double EngineProfile::weight_share_of(Precision precision, bool cpu) const {
  if (cpu) return host_weight_share;
  switch (precision) {
    case Precision::bf16:
      return weight_share;
    case Precision::fp8:
    case Precision::int8:
      return weight_share_8;
    case Precision::fp4:
    case Precision::int4:
      return weight_share_4;
  }
  return weight_share;
}

double EngineProfile::flops_share_of(Precision precision, Precision arithmetic) const {
  if (arithmetic == Precision::fp4) return flops_share_4;
  return precision == Precision::bf16 ? flops_share : flops_share_8;
}

std::string engine_profile_names() {
  std::string names;
  for (const EmbeddedProfile& p : embedded_profiles()) names += (names.empty() ? "" : ", ") + std::string(p.name);
  return names;
}

EngineProfile get_engine_profile(std::string_view name) {
  for (const EmbeddedProfile& p : embedded_profiles())
    if (name == p.name) return EngineProfile::parse(nlohmann::json::parse(p.json), std::string(name));
  fail(ExitCode::usage, "there is no engine profile '{}'; there are {}", name, engine_profile_names());
}

}  // namespace trireme

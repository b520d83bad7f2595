#include "plan/host_costs.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "topology/json_fields.h"

namespace trireme {

namespace {

using Curve = StepCosts::Curve;

template <typename T>
struct Field {
  const char* name;
  double T::*member;
};

constexpr Field<HostCosts> kHostFields[] = {{"cores", &HostCosts::cores},
                                            {"read_bytes_per_s", &HostCosts::read_bytes_per_s},
                                            {"cached_bytes", &HostCosts::cached_bytes},
                                            {"reduce_us", &HostCosts::reduce_us},
                                            {"reduce_bytes_per_s", &HostCosts::reduce_bytes_per_s}};
// Times, so that more of the cores make less of each.
constexpr Field<StepCosts> kStepFields[] = {{"attend_ns", &StepCosts::attend_ns},
                                            {"kv_ns", &StepCosts::kv_ns},
                                            {"cached_attend_ns", &StepCosts::cached_attend_ns},
                                            {"cached_kv_ns", &StepCosts::cached_kv_ns},
                                            {"attend_prompt_ns", &StepCosts::attend_prompt_ns},
                                            {"step_us", &StepCosts::step_us},
                                            {"sequence_us", &StepCosts::sequence_us}};
constexpr size_t kMostPoints = 64;

std::vector<double> numbers(const JsonFields& fields, const char* field) {
  std::vector<double> list;
  for (const nlohmann::json& value : fields.list(field, kMostPoints)) {
    if (!value.is_number() || !(value.get<double>() > 0)) fields.refuse(field, "must have numbers above 0");
    list.push_back(value.get<double>());
  }
  return list;
}

StepCosts::Layers layers_of(const JsonFields& fields) {
  fields.only({"parameters", "rows", "ns_per_parameter"});
  const StepCosts::Layers layers{fields.number("parameters", 0),
                                 {numbers(fields, "rows"), numbers(fields, "ns_per_parameter")}};
  const Curve& curve = layers.curve;
  if (curve.rows.empty() || curve.rows.size() != curve.ns_per_parameter.size() || curve.rows.front() != 1 ||
      !std::is_sorted(curve.rows.begin(), curve.rows.end(), std::less_equal<double>()))
    fields.refuse("rows", "must ascend from 1, with a time for each");
  return layers;
}

template <typename T, size_t n>
void read_fields(const JsonFields& fields, const Field<T> (&list)[n], T& costs) {
  for (const Field<T>& f : list) {
    fields.at(f.name);
    costs.*f.member = fields.number(f.name, 0);
  }
}

StepCosts steps_of(const JsonFields& fields, const std::string& source) {
  StepCosts costs;
  read_fields(fields, kStepFields, costs);
  const JsonFields precisions(fields.at("layers"), source, "calibration's layers");
  for (int p = 0; p < kPrecisions; p++) {
    const char* name = precision_name(static_cast<Precision>(p));
    if (!precisions.has(name)) continue;
    double before = 0;
    for (const nlohmann::json& one : precisions.list(name, kMostPoints)) {
      costs.layers[p].push_back(layers_of(JsonFields(one, source, "calibration's layers")));
      if (costs.layers[p].back().parameters <= before) precisions.refuse(name, "must ascend in its parameters");
      before = costs.layers[p].back().parameters;
    }
  }
  if (costs.empty()) fields.refuse("layers", "must have a precision");
  return costs;
}

nlohmann::ordered_json json_of(const StepCosts& costs) {
  nlohmann::ordered_json json;
  for (const Field<StepCosts>& f : kStepFields) json[f.name] = costs.*f.member;
  for (int p = 0; p < kPrecisions; p++)
    for (const StepCosts::Layers& l : costs.layers[p])
      json["layers"][precision_name(static_cast<Precision>(p))].push_back(
          {{"parameters", l.parameters}, {"rows", l.curve.rows}, {"ns_per_parameter", l.curve.ns_per_parameter}});
  return json;
}

// part: of the way from a to b.
double between(double a, double b, double part) {
  return a > 0 && b > 0 ? std::pow(a, 1 - part) * std::pow(b, part) : a + part * (b - a);
}

}  // namespace

double Curve::at(double r) const {
  if (r <= rows.front()) return ns_per_parameter.front();
  if (r >= rows.back()) return ns_per_parameter.back() * r / rows.back();
  const size_t i = static_cast<size_t>(std::upper_bound(rows.begin(), rows.end(), r) - rows.begin());
  const double part = (r - rows[i - 1]) / (rows[i] - rows[i - 1]);
  return ns_per_parameter[i - 1] + part * (ns_per_parameter[i] - ns_per_parameter[i - 1]);
}

bool StepCosts::empty() const {
  return std::all_of(std::begin(layers), std::end(layers), [](const auto& sizes) { return sizes.empty(); });
}

const std::vector<StepCosts::Layers>& StepCosts::nearest(Precision precision) const {
  const std::vector<Layers>* best = nullptr;
  double least = 0;
  for (int p = 0; p < kPrecisions; p++) {
    if (layers[p].empty()) continue;
    const double apart = std::abs(precision_bits(static_cast<Precision>(p)) - precision_bits(precision)) +
                         (static_cast<Precision>(p) == precision ? 0 : 0.5);
    if (!best || apart < least) best = &layers[p], least = apart;
  }
  must(best != nullptr, "a calibration has layers");
  return *best;
}

double StepCosts::layer_ns(Precision precision, double parameters, double rows) const {
  const std::vector<Layers>& sizes = nearest(precision);
  const auto above =
      std::find_if(sizes.begin(), sizes.end(), [&](const Layers& l) { return l.parameters > parameters; });
  const bool one_size = sizes.size() == 1;  // which tells nothing of others
  if (above == sizes.begin()) return (one_size ? parameters : above->parameters) * above->curve.at(rows);
  const auto below = std::prev(above);
  const double ns = below->curve.at(rows);
  if (above == sizes.end()) return parameters * ns;
  const double part = std::log(parameters / below->parameters) / std::log(above->parameters / below->parameters);
  return parameters * between(ns, above->curve.at(rows), part);
}

StepCosts HostCosts::of(double share) const { return between_cores(core, share); }

StepCosts HostCosts::lone_of(double share) const { return between_cores(lone, share); }

StepCosts HostCosts::between_cores(const StepCosts& one, double share) const {
  const double mine = std::max(1.0, share * cores);
  const double part = one.empty() || cores <= 1 ? 1 : std::min(1.0, std::log(mine) / std::log(cores));
  const double longer = one.empty() ? 1 / share : mine / (share * cores);  // than what was measured
  StepCosts costs = whole;
  for (const Field<StepCosts>& f : kStepFields)
    costs.*f.member = between(one.*f.member, whole.*f.member, part) * longer;
  for (int p = 0; p < kPrecisions; p++)
    for (StepCosts::Layers& l : costs.layers[p])
      for (size_t i = 0; i < l.curve.rows.size(); i++) {
        double& ns = l.curve.ns_per_parameter[i];
        const double one_ns =
            one.layers[p].empty()
                ? ns
                : one.layer_ns(static_cast<Precision>(p), l.parameters, l.curve.rows[i]) / l.parameters;
        ns = between(one_ns, ns, part) * longer;
      }
  return costs;
}

void HostCosts::set_rates(DeviceSheet& device) const {
  const auto best = [this](std::initializer_list<Precision> precisions) {
    double ops = 0;
    for (Precision p : precisions)
      for (const StepCosts::Layers& l : whole.layers[static_cast<size_t>(p)])
        for (size_t i = 0; i < l.curve.rows.size(); i++)
          ops = std::max(ops, 2 * l.curve.rows[i] / l.curve.ns_per_parameter[i] * 1e9);
    return ops;
  };
  device.memory_bytes_per_s = read_bytes_per_s;
  device.bf16_flops = best({Precision::bf16, Precision::fp8});
  device.int8_ops = best({Precision::int8, Precision::int4});
}

HostCosts HostCosts::parse(const nlohmann::json& json, const std::string& source) {
  const JsonFields fields(json, source, "calibration");
  HostCosts costs;
  read_fields(fields, kHostFields, costs);
  costs.whole = steps_of(JsonFields(fields.at("whole"), source, "calibration"), source);
  if (fields.has("core") || fields.has("lone")) {  // one pass measures both
    costs.core = steps_of(JsonFields(fields.at("core"), source, "calibration"), source);
    costs.lone = steps_of(JsonFields(fields.at("lone"), source, "calibration"), source);
  }
  for (const char* positive : {"read_bytes_per_s", "reduce_bytes_per_s"})
    if (fields.number(positive, 0) <= 0) fields.refuse(positive, "must be above 0");
  if (costs.cores < 1) fields.refuse("cores", "must be 1 at least");
  return costs;
}

nlohmann::ordered_json HostCosts::to_json() const {
  nlohmann::ordered_json json;
  for (const Field<HostCosts>& f : kHostFields) json[f.name] = this->*f.member;
  json["whole"] = json_of(whole);
  if (!core.empty()) json["core"] = json_of(core), json["lone"] = json_of(lone);
  return json;
}

}  // namespace trireme

#include "plan/host_costs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "topology/json_fields.h"

namespace trireme {

namespace {

struct Field {
  const char* name;
  double HostCosts::*member;
};

constexpr Field kFields[] = {{"cores", &HostCosts::cores},
                             {"lone_core", &HostCosts::lone_core},
                             {"read_bytes_per_s", &HostCosts::read_bytes_per_s},
                             {"value_ns", &HostCosts::value_ns},
                             {"attend_ns", &HostCosts::attend_ns},
                             {"kv_ns", &HostCosts::kv_ns},
                             {"attend_prompt_ns", &HostCosts::attend_prompt_ns},
                             {"layer_us", &HostCosts::layer_us},
                             {"step_us", &HostCosts::step_us},
                             {"sequence_us", &HostCosts::sequence_us},
                             {"reduce_us", &HostCosts::reduce_us},
                             {"reduce_bytes_per_s", &HostCosts::reduce_bytes_per_s}};
constexpr size_t kMostPoints = 64;

std::vector<double> numbers(const JsonFields& fields, const char* field) {
  std::vector<double> list;
  for (const nlohmann::json& value : fields.list(field, kMostPoints)) {
    if (!value.is_number() || !(value.get<double>() > 0)) fields.refuse(field, "must have numbers above 0");
    list.push_back(value.get<double>());
  }
  return list;
}

HostCosts::Curve curve_of(const JsonFields& fields) {
  fields.only({"rows", "ns_per_parameter"});
  const HostCosts::Curve curve{numbers(fields, "rows"), numbers(fields, "ns_per_parameter")};
  if (curve.rows.empty() || curve.rows.size() != curve.ns_per_parameter.size() || curve.rows.front() != 1 ||
      !std::is_sorted(curve.rows.begin(), curve.rows.end(), std::less_equal<double>()))
    fields.refuse("rows", "must ascend from 1, with a time for each");
  return curve;
}

}  // namespace

double HostCosts::Curve::at(double r) const {
  if (r <= rows.front()) return ns_per_parameter.front();
  if (r >= rows.back()) return ns_per_parameter.back() * r / rows.back();
  const size_t i = static_cast<size_t>(std::upper_bound(rows.begin(), rows.end(), r) - rows.begin());
  const double part = (r - rows[i - 1]) / (rows[i] - rows[i - 1]);
  return ns_per_parameter[i - 1] + part * (ns_per_parameter[i] - ns_per_parameter[i - 1]);
}

void HostCosts::set_rates(DeviceSheet& device) const {
  const auto best = [this](std::initializer_list<Precision> precisions) {
    double ops = 0;
    for (Precision p : precisions)
      for (size_t i = 0; i < products[static_cast<size_t>(p)].rows.size(); i++) {
        const Curve& c = products[static_cast<size_t>(p)];
        ops = std::max(ops, 2 * c.rows[i] / c.ns_per_parameter[i] * 1e9);
      }
    return ops;
  };
  device.memory_bytes_per_s = read_bytes_per_s;
  device.bf16_flops = best({Precision::bf16, Precision::fp8});
  device.int8_ops = best({Precision::int8, Precision::int4});
}

const HostCosts::Curve& HostCosts::curve(Precision precision) const {
  const Curve* best = nullptr;
  double least = 0;
  for (int p = 0; p < kPrecisions; p++) {
    if (products[p].empty()) continue;
    const double apart = std::abs(precision_bits(static_cast<Precision>(p)) - precision_bits(precision)) +
                         (static_cast<Precision>(p) == precision ? 0 : 0.5);
    if (!best || apart < least) best = &products[p], least = apart;
  }
  must(best != nullptr, "a calibration has a curve");
  return *best;
}

HostCosts HostCosts::parse(const nlohmann::json& json, const std::string& source) {
  const JsonFields fields(json, source, "calibration");
  HostCosts costs;
  for (const Field& f : kFields) {
    fields.at(f.name);
    costs.*f.member = fields.number(f.name, 0);
  }
  const JsonFields products(fields.at("products"), source, "calibration's products");
  bool any = false;
  for (int p = 0; p < kPrecisions; p++) {
    const char* name = precision_name(static_cast<Precision>(p));
    if (!products.has(name)) continue;
    costs.products[p] = curve_of(JsonFields(products.at(name), source, "curve"));
    any = true;
  }
  if (!any) fields.refuse("products", "must have a precision");
  for (const char* positive : {"read_bytes_per_s", "reduce_bytes_per_s"})
    if (fields.number(positive, 0) <= 0) fields.refuse(positive, "must be above 0");
  for (const char* at_least_one : {"cores", "lone_core"})
    if (fields.number(at_least_one, 0) < 1) fields.refuse(at_least_one, "must be 1 at least");
  return costs;
}

nlohmann::ordered_json HostCosts::to_json() const {
  nlohmann::ordered_json json;
  for (const Field& f : kFields) json[f.name] = this->*f.member;
  for (int p = 0; p < kPrecisions; p++)
    if (!products[p].empty())
      json["products"][precision_name(static_cast<Precision>(p))] = {
          {"rows", products[p].rows}, {"ns_per_parameter", products[p].ns_per_parameter}};
  return json;
}

}  // namespace trireme

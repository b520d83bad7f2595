#include "topology/cluster.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme {

namespace {

constexpr int kMost = Cluster::kMostDevices;  // hosts, devices, NICs

constexpr std::string_view kNicKinds[] = {"ib", "roce", "eth"};
constexpr Link kGpuLinks[] = {Link::nvswitch, Link::nvlink_pairs, Link::pcie};

// The words of a description, one after the other; knows where it stands.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) { skip_spaces(); }

  bool at_end() const { return at_ == text_.size(); }
  std::string_view next() const {  // "" at the end; a comma is a word
    if (at_end()) return "";
    size_t end = text_[at_] == ',' ? at_ + 1 : std::min(text_.find_first_of(" \t,", at_), text_.size());
    return text_.substr(at_, end - at_);
  }
  std::string_view take() {
    const std::string_view word = next();
    at_ += word.size();
    skip_spaces();
    return word;
  }
  bool take(std::string_view word) {
    if (next() != word) return false;
    take();
    return true;
  }
  int take_count(const char* what, int most = kMost) {
    const std::string_view word = next();
    int count = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count);
    if (error != std::errc() || end != word.data() + word.size() || count < 1 || count > most)
      refuse(fmt::format("{}, {} at most", what, most));
    take();
    return count;
  }
  [[noreturn]] void refuse(const std::string& expected) const {
    fail(ExitCode::usage, "machine '{}', column {}: {}; expected {}, as in '2 hosts x 8 h100 nvswitch, 8 ib400'", text_,
         at_ + 1, at_end() ? "it ends there" : fmt::format("there stands '{}'", next()), expected);
  }

 private:
  void skip_spaces() { at_ = std::min(text_.find_first_not_of(" \t", at_), text_.size()); }

  std::string_view text_;
  size_t at_ = 0;
};

bool parse_nic(std::string_view text, Nic* nic) {
  for (size_t kind = 0; kind < std::size(kNicKinds); kind++) {
    if (!text.starts_with(kNicKinds[kind])) continue;
    const std::string_view number = text.substr(kNicKinds[kind].size());
    double rate = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rate);
    if (error != std::errc() || end != number.data() + number.size() || !(rate > 0 && rate <= 1e5)) return false;
    *nic = {static_cast<Nic::Kind>(kind), rate};
    return true;
  }
  return false;
}

std::string unknown_device(std::string_view name) {
  const std::vector<std::string> names = device_sheet_names();
  return fmt::format("a device{}: {}", did_you_mean(name, names), fmt::join(names, ", "));
}

bool parse_link(std::string_view word, Link* link) {
  for (Link candidate : kGpuLinks)
    if (word == link_name(candidate)) return *link = candidate, true;
  return false;
}

// What the hosts are joined by when nobody says it: one adapter for each device.
void assume_nics(Cluster& cluster) {
  if (cluster.nics > 0 || cluster.hosts == 1 || !parse_nic(cluster.device.nic, &cluster.nic)) return;
  cluster.nics = cluster.device.cpu ? 1 : cluster.devices;
  cluster.nics_assumed = true;
}

// Why these links cannot be, or "".
std::string link_fault(const Cluster& cluster) {
  if (cluster.device.cpu && cluster.link != Link::sockets) return "a CPU has no GPU's links";
  const bool nvlink = cluster.link == Link::nvswitch || cluster.link == Link::nvlink_pairs;
  if (nvlink && cluster.device.nvlink_bytes_per_s == 0) return fmt::format("{} has no NVLink", cluster.device.name);
  return "";
}

class Fields {
 public:
  Fields(const nlohmann::json& object, const std::string& source) : object_(object), source_(source) {
    if (!object.is_object())
      fail(ExitCode::bad_data, "{}: a machine is a JSON object; it is {}", source, object.type_name());
  }
  bool has(const char* field) const { return object_.contains(field); }
  const nlohmann::json& at(const char* field) const {
    if (!has(field)) refuse(field, "is not there");
    return object_.at(field);
  }
  double number(const char* field, double otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_number() || !(at(field).get<double>() >= 0)) refuse(field, "must be a number of at least 0");
    return at(field).get<double>();
  }
  int count(const char* field, int otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_number_integer() || at(field) < 1 || at(field) > kMost)
      refuse(field, fmt::format("must be a whole number from 1 to {}", kMost));
    return at(field).get<int>();
  }
  std::string text(const char* field, const std::string& otherwise) const {
    if (!has(field)) return otherwise;
    if (!at(field).is_string()) refuse(field, "must be a text");
    return at(field).get<std::string>();
  }
  void only(std::initializer_list<std::string_view> known) const {
    for (const auto& [name, value] : object_.items())
      if (std::find(known.begin(), known.end(), name) == known.end())
        fail(ExitCode::bad_data, "{}: there is no field \"{}\" of a machine; there are {}", source_, name,
             fmt::join(known, ", "));
  }
  [[noreturn]] void refuse(const char* field, const std::string& why) const {
    fail(ExitCode::bad_data, "{}: field \"{}\" of the machine {}", source_, field, why);
  }

 private:
  const nlohmann::json& object_;
  const std::string& source_;
};

DeviceSheet custom_device(const nlohmann::json& json, const std::string& source) {
  const Fields fields(json, source);
  fields.only({"name", "cpu", "memory_gb", "memory_gbps", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops",
               "nvlink_gbps", "pcie_gbps"});
  DeviceSheet d;
  d.name = fields.text("name", "device");
  if (fields.has("cpu") && !fields.at("cpu").is_boolean()) fields.refuse("cpu", "must be true or false");
  d.cpu = fields.has("cpu") && fields.at("cpu").get<bool>();
  d.memory_bytes = fields.number("memory_gb", 0) * 1e9;
  d.memory_bytes_per_s = fields.number("memory_gbps", 0) * 1e9;
  d.bf16_flops = fields.number("bf16_tflops", 0) * 1e12;
  d.fp8_flops = fields.number("fp8_tflops", 0) * 1e12;
  d.int8_ops = fields.number("int8_tops", 0) * 1e12;
  d.fp4_flops = fields.number("fp4_tflops", 0) * 1e12;
  d.nvlink_bytes_per_s = fields.number("nvlink_gbps", 0) * 1e9;
  d.pcie_bytes_per_s = fields.number("pcie_gbps", d.cpu ? 0 : 31.5) * 1e9;
  d.link = d.cpu ? Link::sockets : d.nvlink_bytes_per_s > 0 ? Link::nvswitch : Link::pcie;
  for (const char* needed : {"memory_gb", "memory_gbps", "bf16_tflops"})
    if (fields.number(needed, 0) <= 0) fields.refuse(needed, "must be there and above 0");
  return d;
}

}  // namespace

std::string Nic::text() const { return fmt::format("{}{}", kNicKinds[static_cast<size_t>(kind)], gbit_per_s); }

int Cluster::fast_domain() const {
  switch (link) {
    case Link::nvswitch:
      return std::max(devices, std::min(device.link_domain, size()));
    case Link::nvlink_pairs:
      return std::min(devices, 2);
    case Link::pcie:
      return 1;
    case Link::sockets:
      return devices;
  }
  return 1;
}

Cluster Cluster::with_hosts(int count) const {
  Cluster more = *this;
  more.hosts = count;
  assume_nics(more);
  return more;
}

std::string Cluster::text() const {
  std::string text = fmt::format("{} host{} x {} {}", hosts, hosts == 1 ? "" : "s", devices, device.name);
  if (!device.cpu) text += fmt::format(" {}", link_name(link));
  if (nics > 0) text += fmt::format(", {} {}", nics, nic.text());
  return text;
}

Cluster Cluster::parse(std::string_view spec) {
  Words words(spec);
  Cluster cluster;
  const int first = words.take_count("a number of hosts or devices");
  if (words.take("host") || words.take("hosts")) {
    cluster.hosts = first;
    if (!words.take("x")) words.refuse("'x' and the devices of a host");
    cluster.devices = words.take_count("the number of devices of a host", kMost / cluster.hosts);
  } else {
    cluster.devices = first;
  }
  const auto sheet = find_device_sheet(words.next());
  if (!sheet) words.refuse(unknown_device(words.next()));
  words.take();
  cluster.device = *sheet;
  cluster.link = sheet->link;
  if (Link link{}; !words.at_end() && words.next() != ",") {
    if (!parse_link(words.next(), &link)) words.refuse("nvswitch, nvlink-pairs or pcie, or a comma and the adapters");
    Cluster wanted = cluster;
    wanted.link = link;
    if (const std::string fault = link_fault(wanted); !fault.empty()) words.refuse("other links: " + fault);
    words.take();
    cluster.link = link;
  }
  if (!words.at_end()) {
    if (!words.take(",")) words.refuse("a comma and the adapters of a host");
    cluster.nics = words.take_count("the number of adapters of a host");
    if (!parse_nic(words.next(), &cluster.nic)) words.refuse("an adapter: ib400, roce100, eth25");
    words.take();
    if (!words.at_end()) words.refuse("the end");
  }
  assume_nics(cluster);
  return cluster;
}

Cluster Cluster::from_json(const nlohmann::json& json, const std::string& source) {
  const Fields fields(json, source);
  fields.only({"hosts", "devices", "device", "link", "nics", "nic"});
  Cluster cluster;
  cluster.hosts = fields.count("hosts", 1);
  cluster.devices = fields.count("devices", 1);
  if (cluster.devices > kMost / cluster.hosts)
    fields.refuse("devices", fmt::format("must be {} at most, of all hosts", kMost));
  if (const nlohmann::json& device = fields.at("device"); device.is_string()) {
    const auto sheet = find_device_sheet(device.get<std::string>());
    if (!sheet) fields.refuse("device", "is no " + unknown_device(device.get<std::string>()));
    cluster.device = *sheet;
  } else {
    cluster.device = custom_device(device, source);
  }
  cluster.link = cluster.device.link;
  if (fields.has("link") && cluster.device.cpu) fields.refuse("link", "is of GPUs; a CPU has none");
  if (fields.has("link") && !parse_link(fields.text("link", ""), &cluster.link))
    fields.refuse("link", "must be nvswitch, nvlink-pairs or pcie");
  if (const std::string fault = link_fault(cluster); !fault.empty()) fields.refuse("link", "cannot be: " + fault);
  if (fields.has("nics") && !fields.has("nic")) fields.refuse("nic", "must say which, where \"nics\" says how many");
  if (fields.has("nic")) {
    cluster.nics = fields.count("nics", 1);
    if (!parse_nic(fields.text("nic", ""), &cluster.nic)) fields.refuse("nic", "must be as ib400, roce100 or eth25");
  }
  assume_nics(cluster);
  return cluster;
}

}  // namespace trireme

#include "topology/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/nearest.h"
#include "topology/device_names.h"
#include "topology/invent.h"
#include "topology/json_fields.h"

namespace trireme {

namespace {

constexpr int kMost = Cluster::kMostDevices;  // hosts, devices, NICs

constexpr Link kGpuLinks[] = {Link::nvswitch, Link::nvlink_pairs, Link::pcie};

// The words of a description, one after the other; knows where it stands.
class Words {
 public:
  Words(std::string_view text, std::string_view option) : text_(text), option_(option) { skip_spaces(); }

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
    fail(ExitCode::usage, "{} '{}', column {}: {}; expected {}, as in '2 hosts x 8 h100 nvswitch, 8 ib400'", option_,
         text_, at_ + 1, at_end() ? "it ends there" : fmt::format("there stands '{}'", next()), expected);
  }

 private:
  void skip_spaces() { at_ = std::min(text_.find_first_not_of(" \t", at_), text_.size()); }

  std::string_view text_, option_;
  size_t at_ = 0;
};

bool parse_nic(std::string_view text, Nic* nic) {
  const std::optional<Nic> parsed = Nic::parse(text);
  if (!parsed || parsed->gbit_per_s == 0) return false;
  return *nic = *parsed, true;
}

std::string lower_case(std::string_view word) {
  std::string lower(word);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

std::string unknown_device(std::string_view name) {
  const std::vector<std::string> names = device_sheet_names();
  return fmt::format("a device{}: {}", did_you_mean(name, names), fmt::join(names, ", "));
}

// By the name of its data sheet or by the one that nvidia-smi shows, in lower case.
std::optional<DeviceSheet> find_device(std::string_view name) {
  if (auto sheet = find_device_sheet(name)) return sheet;
  return name.starts_with("nvidia ") ? find_gpu_sheet(name) : std::nullopt;
}

// A driver's name is all words up to the links or the adapters. "PCIe" is a word of it, which tells one card from
// another, unless the card is one that has sockets of its own.
DeviceSheet take_device(Words& words) {
  std::string name(words.next());
  Words rest = words;
  rest.take();
  while (name.starts_with("nvidia") && !rest.at_end()) {
    const std::string_view word = rest.next();
    if (word == "," || word == link_name(Link::nvswitch) || word == link_name(Link::nvlink_pairs)) break;
    if (word == link_name(Link::pcie) && (name.find("sxm") != name.npos || name.find("hbm3") != name.npos)) break;
    name += fmt::format(" {}", rest.take());
  }
  const auto sheet = find_device(name);
  if (!sheet) words.refuse(unknown_device(words.next()));
  words = rest;
  return *sheet;
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

// As a host of such devices usually is; of more than any has nobody knows.
TpReach usual_reach(const Cluster& cluster) {
  if (cluster.link == Link::nvswitch) return TpReach::all_of(cluster.devices);
  if (cluster.devices > kMostInvented) return {};
  Cluster host = cluster;
  host.hosts = 1, host.nics = 0;
  const Machine machine = invent_machine(host);
  return TpReach::of(Links(machine, 0), machine.size());
}

// Why these links cannot be, or "".
std::string link_fault(const Cluster& cluster) {
  if (cluster.device.cpu && cluster.link != Link::sockets) return "a CPU has no GPU's links";
  const bool nvlink = cluster.link == Link::nvswitch || cluster.link == Link::nvlink_pairs;
  if (nvlink && cluster.device.nvlink_bytes_per_s == 0) return fmt::format("{} has no NVLink", cluster.device.name);
  return "";
}

int count_of(const JsonFields& fields, const char* field, int otherwise) {
  return static_cast<int>(fields.whole(field, otherwise, 1, kMost));
}

DeviceSheet custom_device(const nlohmann::json& json, const std::string& source) {
  const JsonFields fields(json, source);
  fields.only({"name", "cpu", "memory_gb", "memory_gbps", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops",
               "nvlink_gbps", "pcie_gbps"});
  for (const char* figure :
       {"memory_gb", "memory_gbps", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops", "nvlink_gbps", "pcie_gbps"})
    if (const double n = fields.number(figure, 0); n > 0 && (n < 1e-3 || n > 1e9))
      fields.refuse(figure, "must be 0 or from 0.001 to 1000000000");
  DeviceSheet d;
  d.name = fields.text("name", "device");
  d.cpu = fields.truth("cpu", false);
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

int Cluster::fast_domain() const {
  switch (link) {
    case Link::nvswitch:
      return std::max(devices, std::min(device.link_domain, size()));
    case Link::nvlink_pairs:
      return std::min(devices, device.link == Link::nvlink_pairs ? std::max(2, device.link_domain) : 2);
    case Link::pcie:
      return 1;
    case Link::sockets:
      return devices;
  }
  return 1;
}

LinkClass Cluster::slowest_group_link(int tp, int groups) const {
  if (tp == 1) return LinkClass::device;
  const bool switched = link == Link::nvswitch && !is_slow(reach.slowest(devices, 1));
  if (switched && stay_inside(tp, groups, fast_domain())) return LinkClass::nvswitch;
  return reach.slowest(tp, groups);
}

Cluster Cluster::divided(int ranks_per_host, int threads) const {
  if (cores == 0) return *this;
  if (threads == 0) threads = std::max(1, cores / ranks_per_host);
  Cluster c = *this;
  c.devices = ranks_per_host, c.cores = 0;
  c.device.memory_bytes /= ranks_per_host;
  const double part = std::min(1.0 / ranks_per_host, static_cast<double>(threads) / cores);
  c.device.share *= part;
  c.reach = reach.of_parts(threads);
  c.device.scale_rates(part);
  return c;
}

Cluster Cluster::with_hosts(int count) const {
  Cluster more = *this;
  more.hosts = count;
  assume_nics(more);
  return more;
}

Cluster Cluster::with_devices(int count) const {
  Cluster more = *this;
  more.devices = count;
  if (!is_slow(slowest_group_link(devices, hosts))) more.reach = usual_reach(more);
  assume_nics(more);
  return more;
}

std::string Cluster::text() const {
  std::string text = fmt::format("{} host{} x ", hosts, hosts == 1 ? "" : "s");
  if (cores > 0)
    text += fmt::format("{} core{}{}{}", cores, cores == 1 ? "" : "s", device.name.empty() ? "" : " of ", device.name);
  else
    text += fmt::format("{} {}", devices, device.name);
  if (!device.cpu) text += fmt::format(" {}", link_name(link));
  if (nics > 0) text += fmt::format(", {} {}", nics, nic.text());
  return text;
}

Cluster Cluster::parse(std::string_view spec, std::string_view option) {
  const std::string lower = lower_case(spec);
  Words words(lower, option);
  Cluster cluster;
  const int first = words.take_count("a number of hosts or devices");
  if (words.take("host") || words.take("hosts")) {
    cluster.hosts = first;
    if (!words.take("x")) words.refuse("'x' and the devices of a host");
    cluster.devices = words.take_count("the number of devices of a host", kMost / cluster.hosts);
  } else {
    cluster.devices = first;
  }
  cluster.device = take_device(words);
  cluster.link = cluster.device.link;
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
  cluster.reach = usual_reach(cluster);
  return cluster;
}

Cluster Cluster::from_json(const nlohmann::json& json, const std::string& source) {
  const JsonFields fields(json, source);
  fields.only({"hosts", "devices", "device", "link", "nics", "nic"});
  Cluster cluster;
  cluster.hosts = count_of(fields, "hosts", 1);
  cluster.devices = count_of(fields, "devices", 1);
  if (cluster.devices > kMost / cluster.hosts)
    fields.refuse("devices", fmt::format("must be {} at most, of all hosts", kMost));
  if (const nlohmann::json& device = fields.at("device"); device.is_string()) {
    const std::string name = lower_case(device.get<std::string>());
    const auto sheet = find_device(name);
    if (!sheet) fields.refuse("device", "must be " + unknown_device(name));
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
    cluster.nics = count_of(fields, "nics", 1);
    if (!parse_nic(fields.text("nic", ""), &cluster.nic)) fields.refuse("nic", "must be as ib400, roce100 or eth25");
  }
  assume_nics(cluster);
  cluster.reach = usual_reach(cluster);
  return cluster;
}

}  // namespace trireme

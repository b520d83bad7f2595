#include "topology/gpu.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "topology/pci.h"

namespace trireme {

namespace {

// The one item that `matches`; null: none does, or more than one.
template <typename Item, typename Matches>
const Item* find_only(const std::vector<Item>& items, const Matches& matches) {
  const auto first = std::find_if(items.begin(), items.end(), matches);
  if (first == items.end() || std::find_if(first + 1, items.end(), matches) != items.end()) return nullptr;
  return &*first;
}

Gpu as_instance(const Gpu& gpu, const MigInstance& instance) {
  Gpu part = gpu;
  part.uuid = instance.uuid;
  part.memory_bytes = instance.memory_bytes;
  part.free_bytes = std::min(gpu.free_bytes, instance.memory_bytes);
  part.instances = {instance};
  return part;
}

// What CUDA computes on where it is given a GPU: the whole, its first instance, or nothing.
std::optional<Gpu> device_of(const Gpu* gpu) {
  if (!gpu || (gpu->mig && gpu->instances.empty())) return std::nullopt;
  return gpu->mig ? as_instance(*gpu, gpu->instances.front()) : *gpu;
}

std::vector<Gpu> all_instances(const std::vector<Gpu>& gpus) {
  std::vector<Gpu> all;
  for (const Gpu& gpu : gpus)
    for (const MigInstance& instance : gpu.instances) all.push_back(as_instance(gpu, instance));
  return all;
}

// What one word of CUDA_VISIBLE_DEVICES names; nothing: no GPU, or more than one.
std::optional<Gpu> named(const std::vector<Gpu>& gpus, std::string_view word) {
  const auto begins = [&](const Gpu& gpu) { return gpu.uuid.starts_with(word); };
  if (word.starts_with("MIG-")) {
    const std::vector<Gpu> instances = all_instances(gpus);
    const Gpu* instance = find_only(instances, begins);
    return instance ? std::optional(*instance) : std::nullopt;
  }
  if (word.starts_with("GPU-")) return device_of(find_only(gpus, begins));
  int index = -1;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), index);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return device_of(find_only(gpus, [&](const Gpu& gpu) { return gpu.index == index; }));
}

std::string links_text(const Gpu& gpu) {
  if (gpu.switch_links) return fmt::format(", {} NVLinks to a switch", gpu.switch_links);
  int links = 0;
  for (const auto& [peer, count] : gpu.peer_links) links += count;
  return links ? fmt::format(", {} NVLinks to {} GPU{}", links, gpu.peer_links.size(),
                             gpu.peer_links.size() == 1 ? "" : "s")
               : "";
}

// Equal texts are one kind.
std::string kind_text(const Gpu& gpu) {
  std::string text = gpu.name.empty() ? "unknown" : gpu.name;
  if (gpu.memory_bytes) text += fmt::format(", {:.0f} GiB", static_cast<double>(gpu.memory_bytes) / (1 << 30));
  if (gpu.architecture) text += fmt::format(", sm_{}", gpu.architecture);
  text += links_text(gpu);
  if (gpu.mig) text += ", MIG on";
  if (gpu.exclusive) text += ", exclusive mode";
  return text;
}

}  // namespace

std::vector<Gpu> visible_gpus(const std::vector<Gpu>& gpus, const std::optional<std::string>& variable) {
  std::vector<Gpu> visible;
  if (!variable)
    for (const Gpu& gpu : gpus)
      if (const std::optional<Gpu> device = device_of(&gpu)) visible.push_back(*device);
  for (std::string_view rest = variable ? std::string_view(*variable) : ""; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::optional<Gpu> gpu = named(gpus, rest.substr(0, comma));
    if (!gpu) break;
    if (std::any_of(visible.begin(), visible.end(), [&](const Gpu& before) { return before.uuid == gpu->uuid; }))
      return {};
    visible.push_back(*gpu);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  const auto instance = std::find_if(visible.begin(), visible.end(), [](const Gpu& gpu) { return gpu.mig; });
  return instance == visible.end() ? visible : std::vector<Gpu>{*instance};
}

std::string gpu_of_digits(std::string_view digits, const std::vector<std::string>& visible) {
  std::string dashed(digits);
  for (size_t at : {8, 13, 18, 23})
    if (at < dashed.size()) dashed.insert(at, 1, '-');
  for (const std::string& name : visible)
    if (name.ends_with("-" + dashed)) return name;
  return "GPU-" + dashed;
}

void place_gpus(const std::string& root, std::vector<Gpu>& gpus) {
  for (Gpu& gpu : gpus) {
    const std::string address = pci_address(gpu.pci);
    if (address.empty()) continue;
    const PciPlace place = find_pci_place(std::filesystem::path(root) / "sys/bus/pci/devices" / address);
    gpu.pci_path = place.path;
    gpu.numa = place.numa;
  }
}

namespace {

// Kinds, in the order of their first GPU, and how many there are of each.
std::vector<std::pair<std::string, int>> kinds_of(const std::vector<Gpu>& gpus) {
  std::vector<std::pair<std::string, int>> kinds;
  for (const Gpu& gpu : gpus) {
    const std::string kind = kind_text(gpu);
    auto known = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.first == kind; });
    if (known == kinds.end()) known = kinds.insert(kinds.end(), {kind, 0});
    known->second++;
  }
  return kinds;
}

}  // namespace

std::string kinds_text(const GpuProbe& probe) {
  std::string text;
  for (const auto& [kind, count] : kinds_of(probe.gpus))
    text += fmt::format("{}{} x {}", text.empty() ? "" : "; ", count, kind);
  return text.empty() ? "none" : text;
}

std::string gpu_text(const GpuProbe& probe) {
  if (!probe.missing.empty()) return fmt::format("  GPUs           none: {}\n", probe.missing);
  std::string text;
  for (const auto& [kind, count] : kinds_of(probe.gpus)) text += fmt::format("  GPUs           {} x {}\n", count, kind);
  if (probe.driver.empty() && probe.cuda.empty()) return text;
  text += fmt::format("  GPU driver     {}", probe.driver.empty() ? "of unknown version" : probe.driver);
  if (!probe.cuda.empty()) text += fmt::format(", CUDA {}", probe.cuda);
  return text + "\n";
}

}  // namespace trireme

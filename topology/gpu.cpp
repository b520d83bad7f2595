#include "topology/gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace trireme {

namespace {

// The GPU that one word of CUDA_VISIBLE_DEVICES names; null: none, or more than one.
const Gpu* named(const std::vector<Gpu>& gpus, std::string_view word) {
  if (word.starts_with("GPU-")) {
    const auto begins = [&](const Gpu& gpu) { return gpu.uuid.starts_with(word); };
    const auto first = std::find_if(gpus.begin(), gpus.end(), begins);
    if (first == gpus.end() || std::find_if(first + 1, gpus.end(), begins) != gpus.end()) return nullptr;
    return &*first;
  }
  int index = -1;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), index);
  const auto found = std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& gpu) { return gpu.index == index; });
  return error == std::errc() && end == word.data() + word.size() && found != gpus.end() ? &*found : nullptr;
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
  if (!variable) return gpus;
  std::vector<Gpu> visible;
  for (std::string_view rest = *variable; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const Gpu* gpu = named(gpus, rest.substr(0, comma));
    if (!gpu) break;
    if (std::any_of(visible.begin(), visible.end(), [&](const Gpu& before) { return before.index == gpu->index; }))
      return {};
    visible.push_back(*gpu);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return visible;
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
  text += fmt::format("  GPU driver     {}", probe.driver.empty() ? "of unknown version" : probe.driver);
  if (!probe.cuda.empty()) text += fmt::format(", CUDA {}", probe.cuda);
  return text + "\n";
}

}  // namespace trireme

#include "topology/device_names.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <utility>

namespace trireme {

namespace {

// Words in the names that drivers and kernels have for what data sheets call otherwise; those of more words first.
struct Alias {
  std::string_view words;
  const char* sheet;
};
// Words that make another card of what is called like one of these.
constexpr std::string_view kOthers[] = {"Ti", "D", "Laptop", "Max-Q"};
constexpr Alias kGpuAliases[] = {{"A100X", "a100-pcie-80gb"},
                                 {"H100 PCIe", "h100-pcie"},
                                 {"H100 NVL", "h100-nvl"},
                                 {"H100", "h100"},
                                 {"H200 NVL", "h200-nvl"},
                                 {"H200", "h200"},
                                 {"H800 SXM", "h800"},
                                 {"GH200", "gh200"},
                                 {"H20", "h20"},
                                 {"B200", "b200"},
                                 {"GB200", "gb200"},
                                 {"B300", "b300"},
                                 {"GB300", "gb300"},
                                 {"A10", "a10"},
                                 {"A10G", "a10g"},
                                 {"A30", "a30"},
                                 {"A40", "a40"},
                                 {"L4", "l4"},
                                 {"L20", "l20"},
                                 {"L40S", "l40s"},
                                 {"RTX A6000", "rtx-a6000"},
                                 {"RTX 6000 Ada", "rtx-6000-ada"},
                                 {"RTX 3090", "rtx-3090"},
                                 {"RTX 4090", "rtx-4090"},
                                 {"RTX 5090", "rtx-5090"},
                                 {"PRO 6000 Server", "rtx-pro-6000-server"},
                                 {"PRO 6000", "rtx-pro-6000"}};
constexpr Alias kCpuAliases[] = {{"EPYC 9654", "epyc-9654"},
                                 {"EPYC 9654P", "epyc-9654"},
                                 {"6980P", "xeon-6980p"},
                                 {"7950X", "ryzen-7950x"},
                                 {"7950X3D", "ryzen-7950x"}};

// In lower case, between spaces and hyphens.
std::set<std::string> words_of(std::string_view name) {
  std::set<std::string> words;
  std::string word;
  for (char c : name) {
    if (c == ' ' || c == '-')
      words.insert(std::exchange(word, ""));
    else
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  words.insert(word);
  return words;
}

bool has_words(std::string_view name, std::string_view wanted) {
  const std::set<std::string> words = words_of(name), all = words_of(wanted);
  return std::includes(words.begin(), words.end(), all.begin(), all.end());
}

template <size_t N>
std::optional<DeviceSheet> find_sheet(std::string_view name, const Alias (&aliases)[N]) {
  if (auto sheet = find_device_sheet(name)) return sheet;  // invented machines have it
  for (const std::string_view other : kOthers)
    if (has_words(name, other)) return std::nullopt;
  for (const auto& [words, sheet] : aliases)
    if (has_words(name, words)) return find_device_sheet(sheet);
  return std::nullopt;
}

}  // namespace

std::optional<DeviceSheet> find_gpu_sheet(std::string_view name, uint64_t memory_bytes) {
  if (auto sheet = find_sheet(name, kGpuAliases)) return sheet;
  if (!has_words(name, "A100")) return std::nullopt;
  constexpr uint64_t kLarge = uint64_t{60} << 30;
  const bool large = memory_bytes > 0 ? memory_bytes > kLarge : has_words(name, "80GB");
  return find_device_sheet(fmt::format("a100{}-{}gb", has_words(name, "PCIe") ? "-pcie" : "", large ? 80 : 40));
}

std::optional<DeviceSheet> find_cpu_sheet(std::string_view name) { return find_sheet(name, kCpuAliases); }

}  // namespace trireme

#include "topology/machine_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "topology/machine_compare.h"
#include "topology/machine_text.h"
#include "topology/svg.h"

namespace trireme {

namespace {

// In CSS pixels.
constexpr double kPad = 12, kTitle = 20, kDeviceWidth = 104, kDeviceHeight = 50, kCpuHeight = 30, kLeastNode = 190;
constexpr double kLinkZone = 64, kBar = 24, kNetworkZone = 40, kHostTitle = 40;
constexpr double kLarge = 13, kNormal = 11, kSmall = 9;
constexpr size_t kDevicesOfRow = 8;
constexpr const char *kHostFill = "#fafafa", *kPackageFill = "#f0f0f0", *kNodeFill = "#ffffff", *kCpuFill = "#dfe7f2",
                     *kGpuFill = "#dcefd9", *kNicFill = "#fbe8cf", *kBarFill = "#e6dff0";

std::string cut(std::string text, double width, double size) {
  const size_t most = std::max<size_t>(4, letters_in(width, size));
  if (text.size() > most) text = text.substr(0, most - 3) + "...";
  return text;
}

std::string gib(uint64_t bytes) { return fmt::format("{:.0f} GiB", static_cast<double>(bytes) / (1 << 30)); }

size_t rows_of(size_t devices) { return (devices + kDevicesOfRow - 1) / kDevicesOfRow; }

// One host at a place: its size is known before it is drawn.
class HostPicture {
 public:
  HostPicture(const Machine& machine, const std::vector<int>& group)
      : machine_(machine),
        group_(group),
        host_(machine.hosts[static_cast<size_t>(group.front())]),
        packages_(parts_of(host_)) {
    for (const PackagePart& package : packages_)
      for (const NumaPart& node : package.nodes) {
        gpu_rows_ = std::max(gpu_rows_, rows_of(node.gpus.size()));
        nic_rows_ = std::max(nic_rows_, rows_of(node.nics.size()));
      }
    for (const Gpu& gpu : host_.gpus.gpus) linked_ |= gpu.switch_links > 0 || !gpu.peer_links.empty();
    width_ = kPad;
    for (const PackagePart& package : packages_) width_ += width_of(package) + kPad;
    width_ = std::max(width_, kLeastNode + 4 * kPad);
  }

  double width() const { return width_; }
  double height() const { return kHostTitle + (linked_ ? kLinkZone : 0) + package_height() + kPad; }

  void draw(Svg& svg, double x, double y, double network_y) {
    // Hosts that are alike lie behind the one that is drawn.
    if (group_.size() > 1) svg.frame({x + 5, y - 5, width_, height()}, kHostFill);
    svg.frame({x, y, width_, height()}, kHostFill);
    const std::string names = host_names(machine_, group_);
    const double text_width = width_ - 2 * kPad;
    svg.text(x + kPad, y + 17,
             cut(group_.size() > 1 ? fmt::format("{} x host: {}", group_.size(), names) : names, text_width, kLarge),
             kLarge, Svg::Anchor::start, true);
    svg.text(x + kPad, y + 32, cut(summary(), text_width, kNormal), kNormal);
    double at = x + kPad, top = y + kHostTitle + (linked_ ? kLinkZone : 0);
    for (const PackagePart& package : packages_) {
      draw_package(svg, package, {at, top, width_of(package), package_height()}, network_y);
      at += width_of(package) + kPad;
    }
    draw_links(svg, x, y + kHostTitle);
  }

 private:
  static double width_of(const NumaPart& node) {
    const size_t columns = std::min(kDevicesOfRow, std::max(node.gpus.size(), node.nics.size()));
    return std::max(kLeastNode, static_cast<double>(columns) * (kDeviceWidth + kPad) + kPad);
  }
  static double width_of(const PackagePart& package) {
    double width = kPad;
    for (const NumaPart& node : package.nodes) width += width_of(node) + kPad;
    return width;
  }
  double node_height() const {
    return kTitle + static_cast<double>(gpu_rows_ + nic_rows_) * (kDeviceHeight + 2 * kPad) + kCpuHeight + kPad;
  }
  double package_height() const { return kTitle + node_height() + kPad; }

  std::string summary() const {
    std::string text = host_.cpu_model.empty() ? "" : host_.cpu_model + ", ";
    text += fmt::format("{} cores", host_.cores());
    if (host_.memory_bytes) text += ", " + gib(host_.memory_bytes);
    return text;
  }

  void draw_package(Svg& svg, const PackagePart& package, const SvgBox& box, double network_y) {
    svg.frame(box, kPackageFill);
    svg.text(box.x + kPad, box.y + 14, package.package < 0 ? "no package" : fmt::format("package {}", package.package),
             kNormal);
    double at = box.x + kPad;
    for (const NumaPart& node : package.nodes) {
      draw_node(svg, node, {at, box.y + kTitle, width_of(node), node_height()}, network_y);
      at += width_of(node) + kPad;
    }
  }

  // GPUs above the CPUs, adapters below: their links leave the box on their own side.
  void draw_node(Svg& svg, const NumaPart& node, const SvgBox& box, double network_y) {
    svg.frame(box, kNodeFill);
    svg.text(box.x + kPad, box.y + 14, node.node < 0 ? "NUMA unknown" : fmt::format("NUMA {}", node.node), kNormal);
    const double row = kDeviceHeight + 2 * kPad, cpu_y = box.y + kTitle + static_cast<double>(gpu_rows_) * row;
    const SvgBox cpus{box.x + kPad, cpu_y, box.width - 2 * kPad, kCpuHeight};
    for (size_t i = 0; i < node.gpus.size(); i++) {
      const SvgBox at = device_box(box, i, box.y + kTitle);
      svg.line(at.middle(), at.bottom(), at.middle(), cpus.y);
      if (i == 0) svg.text(at.middle() + 4, cpus.y - 4, "PCIe", kSmall);
      draw_gpu(svg, *node.gpus[i], at);
    }
    svg.box(cpus, kCpuFill);
    const std::string words =
        node.cpus.empty() ? "CPUs unknown" : fmt::format("{} cores, CPUs {}", node.cores, cpu_list(node.cpus));
    svg.text(cpus.middle(), cpus.y + 19, cut(words, cpus.width, kNormal), kNormal, Svg::Anchor::middle);
    for (size_t i = 0; i < node.nics.size(); i++) {
      const SvgBox at = device_box(box, i, cpus.bottom() + 2 * kPad);
      svg.line(at.middle(), cpus.bottom(), at.middle(), network_y);
      if (i == 0) svg.text(at.middle() + 4, at.y - 8, "PCIe", kSmall);
      svg.text(at.middle() + 4, network_y - 5, node.nics[i]->nic.text(), kSmall);
      draw_nic(svg, *node.nics[i], at);
    }
  }

  static SvgBox device_box(const SvgBox& node, size_t i, double top) {
    const auto column = static_cast<double>(i % kDevicesOfRow), row = static_cast<double>(i / kDevicesOfRow);
    return {node.x + kPad + column * (kDeviceWidth + kPad), top + row * (kDeviceHeight + 2 * kPad), kDeviceWidth,
            kDeviceHeight};
  }

  void lines_in(Svg& svg, const SvgBox& at, std::string_view first, const std::string& second,
                const std::string& third) {
    svg.text(at.middle(), at.y + 15, cut(std::string(first), at.width, kNormal), kNormal, Svg::Anchor::middle, true);
    svg.text(at.middle(), at.y + 29, cut(second, at.width, kSmall), kSmall, Svg::Anchor::middle);
    svg.text(at.middle(), at.y + 42, cut(third, at.width, kSmall), kSmall, Svg::Anchor::middle);
  }

  void draw_gpu(Svg& svg, const Gpu& gpu, const SvgBox& at) {
    svg.box(at, kGpuFill);
    gpu_boxes_[&gpu] = at;
    std::string name = gpu.name.starts_with("NVIDIA ") ? gpu.name.substr(7) : gpu.name;
    std::string facts = gpu.memory_bytes ? gib(gpu.memory_bytes) : "";
    for (int r : machine_.ranks_on(group_.front()))
      if (machine_.gpu_of_rank(r) == &gpu) facts += fmt::format("{}rank {}", facts.empty() ? "" : ", ", r);
    lines_in(svg, at, fmt::format("GPU {}", gpu.index), name, facts);
  }

  void draw_nic(Svg& svg, const HostNic& nic, const SvgBox& at) {
    svg.box(at, kNicFill);
    std::string beside;
    for (const Gpu& gpu : host_.gpus.gpus)
      if (pci_relation(gpu.pci_path, gpu.numa, nic.pci_path, nic.numa) == "switch")
        beside += fmt::format("{}{}", beside.empty() ? "beside GPU " : ", ", gpu.index);
    lines_in(svg, at, nic.name, nic.nic.text(), beside);
  }

  void draw_links(Svg& svg, double x, double top) {
    const SvgBox bar{x + kPad, top, width_ - 2 * kPad, kBar};
    bool switched = false;
    for (const auto& [gpu, at] : gpu_boxes_) {
      if (gpu->switch_links > 0) {
        svg.line(at.middle(), at.y, at.middle(), bar.bottom());
        svg.text(at.middle() + 4, bar.bottom() + 14, fmt::format("{} NVLinks", gpu->switch_links), kSmall);
        switched = true;
      }
      for (const auto& [other, there] : gpu_boxes_)
        if (const auto links = gpu->peer_links.find(other->pci);
            links != gpu->peer_links.end() && gpu->index < other->index)
          draw_arc(svg, at, there, links->second, top);
    }
    if (!switched) return;
    svg.box(bar, kBarFill);
    svg.text(bar.middle(), bar.y + 16, "NVSwitch", kNormal, Svg::Anchor::middle);
  }

  void draw_arc(Svg& svg, const SvgBox& a, const SvgBox& b, int links, double top) {
    const double lowest = a.y - 2 * kTitle - kSmall, reach = std::abs(a.x - b.x) / width_;
    const double peak = lowest - reach * (lowest - top - kSmall);
    svg.arc(a.middle(), a.y, b.middle(), b.y, peak);
    svg.text((a.middle() + b.middle()) / 2, peak - 3, fmt::format("{} NVLinks", links), kSmall, Svg::Anchor::middle);
  }

  const Machine& machine_;
  const std::vector<int>& group_;
  const Host& host_;
  std::vector<PackagePart> packages_;
  std::map<const Gpu*, SvgBox> gpu_boxes_;
  size_t gpu_rows_ = 0, nic_rows_ = 0;
  bool linked_ = false;
  double width_ = 0;
};

}  // namespace

std::string machine_svg(const Machine& machine) {
  const std::vector<std::vector<int>> groups = alike_hosts(machine);
  std::vector<HostPicture> pictures;
  double width = kPad, tallest = 0;
  bool network = false;
  for (const std::vector<int>& group : groups) {
    pictures.emplace_back(machine, group);
    width += pictures.back().width() + 2 * kPad;
    tallest = std::max(tallest, pictures.back().height());
    network |= !machine.hosts[static_cast<size_t>(group.front())].nics.empty();
  }
  Svg svg;
  const double network_y = kPad + tallest + kNetworkZone;
  double x = kPad;
  for (HostPicture& picture : pictures) {
    picture.draw(svg, x, kPad, network_y);
    x += picture.width() + 2 * kPad;
  }
  if (network) {
    svg.box({kPad, network_y, width - 3 * kPad, kBar}, kBarFill);
    svg.text(width / 2, network_y + 16, "network", kNormal, Svg::Anchor::middle);
  }
  const double height = network ? network_y + kBar + kPad : tallest + 2 * kPad;
  return svg.document(
      width, height,
      fmt::format("{} host{}, {} ranks", machine.hosts.size(), machine.hosts.size() == 1 ? "" : "s", machine.size()));
}

}  // namespace trireme

#include "topology/adapters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "topology/nearest.h"

namespace trireme {

namespace {

// Within its group, or to the stages beside its own.
bool sends_by_network(const Links& links, const Layout& layout, int rank) {
  const Coordinates c = layout.at[static_cast<size_t>(rank)];
  std::vector<int> others = layout.group(c.pp, c.dp);
  if (c.pp > 0) others.push_back(layout.rank_at({c.tp, c.pp - 1, c.dp}));
  if (c.pp + 1 < layout.pp) others.push_back(layout.rank_at({c.tp, c.pp + 1, c.dp}));
  return std::any_of(others.begin(), others.end(),
                     [&](int other) { return links.between(rank, other) == LinkClass::network; });
}

// A rank that exchanges something with other hosts, and the adapter that is nearest to it.
struct Sender {
  int rank;
  const std::vector<int>& numa;
  const std::vector<HostNic>& nics;
  const HostNic& nearest;
};

void for_each_sender(const Machine& machine, const Links& links, const Layout& layout, int threads,
                     const std::function<void(const Sender&)>& look) {
  for (int host = 0; host < std::ssize(machine.hosts); host++) {
    const std::vector<HostNic>& nics = machine.hosts[static_cast<size_t>(host)].nics;
    const std::vector<int> here = machine.ranks_on(host), nearest = nearest_nics(machine, host, threads);
    const std::vector<std::vector<int>> numa = numa_of_ranks(machine, host, threads);
    for (size_t i = 0; i < here.size(); i++)
      if (nearest[i] >= 0 && sends_by_network(links, layout, here[i]))
        look({here[i], numa[i], nics, nics[static_cast<size_t>(nearest[i])]});
  }
}

std::string node_of(const HostNic& nic) { return fmt::format("{} at node {}", nic.name, nic.numa); }

}  // namespace

AdapterChoice AdapterChoice::parse(std::string_view entry) {
  constexpr std::string_view kUcx = "UCX_NET_DEVICES=", kNccl = "NCCL_IB_HCA=";
  AdapterChoice choice;
  choice.nccl_ = entry.starts_with(kNccl);
  if (!choice.nccl_ && !entry.starts_with(kUcx)) return {};
  entry.remove_prefix((choice.nccl_ ? kNccl : kUcx).size());
  choice.inverted_ = entry.starts_with('^');
  if (choice.inverted_) entry.remove_prefix(1);
  choice.exact_ = !choice.nccl_ || entry.starts_with('=');
  if (entry.starts_with('=')) entry.remove_prefix(1);
  while (!entry.empty()) {
    const std::string_view item = entry.substr(0, entry.find(','));
    entry.remove_prefix(std::min(entry.size(), item.size() + 1));
    const size_t colon = std::min(item.find(':'), item.size());
    if (colon > 0) choice.names_.push_back({std::string(item.substr(0, colon)), std::string(item.substr(colon))});
  }
  return choice;
}

bool AdapterChoice::matches(const Name& name, const Name& nic) const {
  if (!nccl_ && name.device == "all") return true;
  const bool device = exact_ ? nic.device == name.device : nic.device.starts_with(name.device);
  return device && (name.port.empty() || name.port == nic.port);
}

bool AdapterChoice::takes(const HostNic& nic) const {
  if (!could_take(nic)) return false;
  const size_t colon = std::min(nic.name.find(':'), nic.name.size());
  Name own{nic.name.substr(0, colon), nic.name.substr(colon)};
  if (own.port.empty() && nic.nic.kind != Nic::Kind::ethernet) own.port = ":1";  // the only one is the first
  const bool named = std::any_of(names_.begin(), names_.end(), [&](const Name& name) { return matches(name, own); });
  return named != inverted_;
}

std::vector<std::string> far_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads) {
  std::vector<int> far;
  std::string example;
  for_each_sender(machine, links, layout, threads, [&](const Sender& sender) {
    if (!crosses_numa(sender.numa, sender.nearest)) return;
    if (far.empty())
      example = fmt::format("rank {} is at node {}, its nearest adapter {}", sender.rank, fmt::join(sender.numa, ","),
                            node_of(sender.nearest));
    far.push_back(sender.rank);
  });
  if (far.empty()) return {};
  return {fmt::format("what ranks {} exchange with other hosts crosses NUMA nodes: {}", fmt::join(far, " "), example)};
}

std::vector<std::string> wrong_adapters(const Machine& machine, const Links& links, const Layout& layout, int threads,
                                        const std::vector<std::string>& choices) {
  std::vector<int> wrong;
  std::string example;
  for_each_sender(machine, links, layout, threads, [&](const Sender& sender) {
    const std::string& entry = choices[static_cast<size_t>(sender.rank)];
    const AdapterChoice choice = AdapterChoice::parse(entry);
    // Near only where that is known: a refusal needs more than a guess.
    const HostNic& near = sender.nearest;
    if (!choice.is_given() || !choice.could_take(near) || near.numa < 0 || crosses_numa(sender.numa, near)) return;
    std::vector<std::string> named;
    for (const HostNic& nic : sender.nics) {
      if (!choice.takes(nic)) continue;
      if (!crosses_numa(sender.numa, nic)) return;
      named.push_back(node_of(nic));
    }
    if (named.empty()) return;  // adapters that nobody knows: the library will say
    if (wrong.empty())
      example = fmt::format("rank {} is at node {}, {} leaves it {} alone, and {} is up", sender.rank,
                            fmt::join(sender.numa, ","), entry, fmt::join(named, ", "), node_of(near));
    wrong.push_back(sender.rank);
  });
  if (wrong.empty()) return {};
  return {fmt::format("what ranks {} exchange with other hosts crosses NUMA nodes by the user's choice: {}",
                      fmt::join(wrong, " "), example)};
}

}  // namespace trireme

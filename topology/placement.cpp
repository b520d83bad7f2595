#include "topology/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "base/error.h"

namespace trireme {

namespace {

std::string text_of(int count) { return count == 0 ? "auto" : std::to_string(count); }

// Every way to spread `ranks`, the smallest tp x pp first, among equals the largest tp.
std::vector<Degrees> all_degrees(int ranks, const ModelNeed& need) {
  std::vector<Degrees> choices;
  for (int model = 1; model <= ranks; model++)
    for (int tp = std::min(model, need.max_tp); tp >= 1; tp--)
      if (ranks % model == 0 && model % tp == 0 && model / tp <= need.num_layers)
        choices.push_back({tp, model / tp, ranks / model});
  return choices;
}

bool grants(const Degrees& wish, const Degrees& d) {
  auto ok = [](int wished, int is) { return wished == 0 || wished == is; };
  return ok(wish.tp, d.tp) && ok(wish.pp, d.pp) && ok(wish.dp, d.dp);
}

// The valid ones most like the wish, as words.
std::string nearest(std::vector<Degrees> choices, const Degrees& wish) {
  auto distance = [&](const Degrees& d) {
    auto part = [](int wished, int is) {
      return wished == 0 ? 0.0 : std::abs(std::log2(static_cast<double>(wished) / is));
    };
    return part(wish.tp, d.tp) + part(wish.pp, d.pp) + part(wish.dp, d.dp);
  };
  std::stable_sort(choices.begin(), choices.end(),
                   [&](const Degrees& a, const Degrees& b) { return distance(a) < distance(b); });
  if (choices.size() > 3) choices.resize(3);
  std::vector<std::string> words;
  for (const Degrees& d : choices) words.push_back(degrees_name(d));
  return fmt::format("{}", fmt::join(words, ", "));
}

[[noreturn]] void refuse_wish(int ranks, const ModelNeed& need, const Degrees& wish,
                              const std::vector<Degrees>& choices) {
  std::string near = nearest(choices, wish);
  if (wish.tp > need.max_tp)
    fail(ExitCode::configuration,
         "--tp {}: a layer of this model has {} units, and each rank needs one; with {} ranks try {}", wish.tp,
         need.max_tp, ranks, near);
  if (wish.pp > need.num_layers)
    fail(ExitCode::configuration, "--pp {}: this model has {} layers, and each stage needs one; with {} ranks try {}",
         wish.pp, need.num_layers, ranks, near);
  const Degrees least = wish.least();
  int64_t product = least.ranks();
  int64_t below = ranks / product * product, above = below + product;
  std::string starts = below > 0 ? fmt::format("{} or {}", below, above) : fmt::format("{}", above);
  const std::string spare = below > 0 ? fmt::format(" ({} would be spare)", ranks - below) : "";
  fail(ExitCode::configuration,
       "tp {} x pp {} x dp {} does not make {} ranks ({} x {} x {} = {}){}; try {}, or start {} ranks",
       text_of(wish.tp), text_of(wish.pp), text_of(wish.dp), ranks, least.tp, least.pp, least.dp, product, spare, near,
       starts);
}

constexpr LinkClass kClasses[] = {LinkClass::device,  LinkClass::nvswitch, LinkClass::nvlink,
                                  LinkClass::pcie,    LinkClass::numa,     LinkClass::staged,
                                  LinkClass::package, LinkClass::sockets,  LinkClass::network};

// Positions of ranks, so that those of one component of any class are neighbours, and otherwise by rank.
std::vector<int> positions(const Links& links, int ranks) {
  std::vector<std::vector<int>> path(static_cast<size_t>(ranks));  // its component of each class, the slowest first
  for (auto link = std::rbegin(kClasses); link != std::rend(kClasses); ++link) {
    const std::vector<std::vector<int>> components = links.components(*link);
    for (const std::vector<int>& component : components)
      for (int rank : component) path[static_cast<size_t>(rank)].push_back(component.front());
  }
  std::vector<int> order(path.size()), position(path.size());
  for (size_t r = 0; r < order.size(); r++) order[r] = static_cast<int>(r);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return path[static_cast<size_t>(a)] < path[static_cast<size_t>(b)]; });
  for (size_t i = 0; i < order.size(); i++) position[static_cast<size_t>(order[i])] = static_cast<int>(i);
  return position;
}

// A search for TP groups among ranks that links of one class join. NVLinks may join ranks that do not all reach each
// other: groups are made of those that do.
struct GroupSearch {
  const Links& links;
  LinkClass link;
  std::span<const int> from;
  std::vector<bool>& placed;     // [ranks]
  int dead_ends_left = 1 << 16;  // before it gives up; where all reach each other there are none

  // Adds ranks, from[next] or later, until the group has `tp`. False, with the group as it was: there are none.
  bool complete(std::vector<int>& group, size_t next, int tp) {
    if (std::ssize(group) == tp) return true;
    const size_t missing = static_cast<size_t>(tp) - group.size();
    for (size_t i = next; i + missing <= from.size() && dead_ends_left > 0; i++) {
      if (placed[static_cast<size_t>(from[i])]) continue;
      if (std::all_of(group.begin(), group.end(), [&](int r) { return links.between(r, from[i]) <= link; })) {
        group.push_back(from[i]);
        if (complete(group, i + 1, tp)) return true;
        group.pop_back();
      }
      dead_ends_left--;
    }
    return false;
  }
};

// TP groups: whole ones inside each component of the fastest class, of the next what these left over, and so on.
std::vector<std::vector<int>> make_groups(const Links& links, int ranks, int tp) {
  const std::vector<int> position = positions(links, ranks);
  const auto before = [&](int a, int b) { return position[static_cast<size_t>(a)] < position[static_cast<size_t>(b)]; };
  std::vector<std::vector<int>> groups;
  std::vector<bool> placed(static_cast<size_t>(ranks));
  for (LinkClass link : kClasses)
    for (std::vector<int> left : links.components(link)) {
      std::erase_if(left, [&](int r) { return placed[static_cast<size_t>(r)]; });
      std::sort(left.begin(), left.end(), before);
      GroupSearch search{links, link, left, placed};
      for (size_t i = 0; i < left.size(); i++) {
        std::vector<int> group = {left[i]};
        if (placed[static_cast<size_t>(left[i])] || !search.complete(group, i + 1, tp)) continue;
        for (int r : group) placed[static_cast<size_t>(r)] = true;
        groups.push_back(std::move(group));
      }
    }
  std::sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) { return before(a[0], b[0]); });
  return groups;
}

// The slowest group of that width, and its slowest link.
std::pair<std::vector<int>, LinkClass> slowest_group(const Links& links, int ranks, int tp) {
  std::pair<std::vector<int>, LinkClass> worst{{}, LinkClass::device};
  for (const std::vector<int>& group : make_groups(links, ranks, tp))
    if (const LinkClass link = links.slowest(group); worst.first.empty() || link > worst.second) worst = {group, link};
  return worst;
}

void refuse_slow_group(const Links& links, int ranks, int tp) {
  for (const std::vector<int>& group : make_groups(links, ranks, tp)) {
    const LinkClass link = links.slowest(group);
    if (!is_refused(link)) continue;
    fail(ExitCode::configuration,
         "--tp {}: its group of ranks {} reaches over {}, a slow link for two sums a layer; start ranks whose devices "
         "are nearer, try replicas or stages in its place, or take it as it is with --allow-slow-placement",
         tp, fmt::join(group, " "), link_class_name(link));
  }
}

void check_links(const Links& links, int ranks, const LayoutWish& wish, std::vector<Degrees>& choices) {
  if (wish.degrees.tp > 0) {
    if (!wish.allow_slow) refuse_slow_group(links, ranks, wish.degrees.tp);
    return;
  }
  std::vector<Degrees> fast;
  std::map<int, bool> slow;  // by tp
  for (const Degrees& d : choices) {
    const auto [known, fresh] = slow.try_emplace(d.tp);
    if (fresh) known->second = is_slow(slowest_group_link(links, ranks, d.tp));
    if (!known->second) fast.push_back(d);
  }
  if (fast.empty() && !wish.allow_slow) {
    const auto [group, link] = slowest_group(links, ranks, choices.front().tp);
    fail(ExitCode::configuration,
         "tp auto x pp {} x dp {} on {} ranks needs TP groups across hosts or other slow links (ranks {}: {}), which "
         "auto does not make; try {} by hand, or other ranks a host",
         text_of(wish.degrees.pp), text_of(wish.degrees.dp), ranks, fmt::join(group, " "), link_class_name(link),
         nearest(choices, wish.degrees));
  }
  if (!fast.empty()) choices = std::move(fast);
}

void check_memory(const Machine& machine, const ModelNeed& need, std::vector<Degrees>& choices) {
  int64_t room = machine.available_bytes(0);
  for (int r = 1; r < machine.size(); r++) room = std::min(room, machine.available_bytes(r));
  const auto needs = [&](const Degrees& d) { return bytes_needed(need, d.tp, d.pp); };
  std::vector<Degrees> fitting;
  std::copy_if(choices.begin(), choices.end(), std::back_inserter(fitting),
               [&](const Degrees& d) { return needs(d) <= room; });
  if (fitting.empty()) {
    const Degrees least = *std::min_element(choices.begin(), choices.end(),
                                            [&](const Degrees& a, const Degrees& b) { return needs(a) < needs(b); });
    fail(ExitCode::configuration,
         "the model does not fit: at {} the fullest of {} ranks needs {} MiB, and {} MiB are free for each; use more "
         "hosts, fewer ranks a host, or a smaller --kv-gib",
         degrees_name(least), machine.size(), needs(least) >> 20, room >> 20);
  }
  choices = std::move(fitting);
}

std::string remark_of(const std::vector<int>& group, LinkClass link, int num_layers) {
  if (link == LinkClass::network)
    return fmt::format(
        "the TP group of ranks {} spans hosts: {} sums a token cross the network instead of shared memory",
        fmt::join(group, " "), 2 * num_layers);
  return fmt::format("the TP group of ranks {} reaches over {}: {} sums a token wait for that slow link",
                     fmt::join(group, " "), link_class_name(link), 2 * num_layers);
}

}  // namespace

std::string degrees_name(const Degrees& d) { return fmt::format("tp {} x pp {} x dp {}", d.tp, d.pp, d.dp); }

int64_t bytes_needed(const ModelNeed& need, int tp, int pp) {
  auto share = [&](int64_t bytes) {
    int64_t units = std::max(need.max_tp, 1);
    return bytes * ((units + tp - 1) / tp) / units;  // the rank with the most units
  };
  int64_t fullest = 0;
  for (int stage = 0; stage < pp; stage++) {
    const bool first = stage == 0, last = stage + 1 == pp;
    const int64_t layers = need.stage_split.empty() ? (need.num_layers + pp - 1 - stage) / pp
                                                    : need.stage_split[static_cast<size_t>(stage)];
    int64_t ends = first ? need.embedding_bytes : 0;
    if (last && !(first && need.tied)) ends += need.tied ? need.embedding_bytes : need.head_bytes;
    fullest = std::max(fullest, layers * share(need.layer_bytes + need.kv_layer_bytes) + share(ends));
  }
  return need.rank_bytes + fullest;
}

int Layout::rank_at(Coordinates c) const {
  auto place = std::find(at.begin(), at.end(), c);
  must(place != at.end(), "every coordinate of the layout has a rank");
  return static_cast<int>(place - at.begin());
}

std::vector<int> Layout::group(int pp_stage, int dp_replica) const {
  std::vector<int> ranks;
  for (int t = 0; t < tp; t++) ranks.push_back(rank_at({t, pp_stage, dp_replica}));
  return ranks;
}

LinkClass slowest_group_link(const Links& links, int ranks, int tp) { return slowest_group(links, ranks, tp).second; }

std::vector<Degrees> possible_layouts(const Machine& machine, const Links& links, const ModelNeed& need,
                                      const LayoutWish& wish) {
  must(machine.size() > 0 && need.num_layers > 0 && need.max_tp > 0, "ranks and a model to place");
  const std::vector<Degrees> all = all_degrees(machine.size(), need);
  std::vector<Degrees> choices;
  std::copy_if(all.begin(), all.end(), std::back_inserter(choices),
               [&](const Degrees& d) { return grants(wish.degrees, d); });
  if (choices.empty()) refuse_wish(machine.size(), need, wish.degrees, all);
  check_links(links, machine.size(), wish, choices);
  check_memory(machine, need, choices);
  return choices;
}

Layout place(const Machine& machine, const Links& links, const Degrees& degrees, int num_layers) {
  Layout layout{degrees, std::vector<Coordinates>(machine.ranks.size()), {}};
  const std::vector<std::vector<int>> groups = make_groups(links, machine.size(), degrees.tp);
  for (int g = 0; g < std::ssize(groups); g++) {
    const std::vector<int>& group = groups[static_cast<size_t>(g)];
    for (int t = 0; t < degrees.tp; t++)
      layout.at[static_cast<size_t>(group[static_cast<size_t>(t)])] = {t, g % degrees.pp, g / degrees.pp};
    if (const LinkClass link = links.slowest(group); is_slow(link))
      layout.remarks.push_back(remark_of(group, link, num_layers));
  }
  return layout;
}

}  // namespace trireme

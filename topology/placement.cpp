#include "topology/placement.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"

namespace trireme {

namespace {

struct Shape {
  int tp, pp, dp;
};

std::string text_of(int count) { return count == 0 ? "auto" : std::to_string(count); }
std::string text_of(const Shape& s) { return fmt::format("tp {} x pp {} x dp {}", s.tp, s.pp, s.dp); }

// Every way to spread `ranks`, the smallest tp x pp first, among equals the largest tp.
std::vector<Shape> all_shapes(int ranks, const ModelNeed& need) {
  std::vector<Shape> shapes;
  for (int model = 1; model <= ranks; model++)
    for (int tp = std::min(model, need.max_tp); tp >= 1; tp--)
      if (ranks % model == 0 && model % tp == 0 && model / tp <= need.num_layers)
        shapes.push_back({tp, model / tp, ranks / model});
  return shapes;
}

bool grants(const LayoutWish& wish, const Shape& s) {
  auto ok = [](int wished, int is) { return wished == 0 || wished == is; };
  return ok(wish.tp, s.tp) && ok(wish.pp, s.pp) && ok(wish.dp, s.dp);
}

std::map<int, std::vector<int>> ranks_by_domain(std::span<const RankSite> ranks) {
  std::map<int, std::vector<int>> domains;
  for (size_t r = 0; r < ranks.size(); r++) domains[ranks[r].domain].push_back(static_cast<int>(r));
  return domains;
}

bool stays_inside(const std::map<int, std::vector<int>>& domains, int tp) {
  return std::all_of(domains.begin(), domains.end(),
                     [&](const auto& d) { return static_cast<int>(d.second.size()) % tp == 0; });
}

// The valid shapes most like the wish, as words.
std::string nearest(std::vector<Shape> shapes, const LayoutWish& wish) {
  auto distance = [&](const Shape& s) {
    auto part = [](int wished, int is) {
      return wished == 0 ? 0.0 : std::abs(std::log2(static_cast<double>(wished) / is));
    };
    return part(wish.tp, s.tp) + part(wish.pp, s.pp) + part(wish.dp, s.dp);
  };
  std::stable_sort(shapes.begin(), shapes.end(),
                   [&](const Shape& a, const Shape& b) { return distance(a) < distance(b); });
  if (shapes.size() > 3) shapes.resize(3);
  std::vector<std::string> words;
  for (const Shape& s : shapes) words.push_back(text_of(s));
  return fmt::format("{}", fmt::join(words, ", "));
}

[[noreturn]] void refuse(int ranks, const ModelNeed& need, const LayoutWish& wish, const std::vector<Shape>& shapes) {
  std::string near = nearest(shapes, wish);
  if (wish.tp > need.max_tp)
    fail(ExitCode::configuration,
         "--tp {}: a layer of this model has {} units, and each rank needs one; with {} ranks try {}", wish.tp,
         need.max_tp, ranks, near);
  if (wish.pp > need.num_layers)
    fail(ExitCode::configuration, "--pp {}: this model has {} layers, and each stage needs one; with {} ranks try {}",
         wish.pp, need.num_layers, ranks, near);
  int64_t product = int64_t{std::max(wish.tp, 1)} * std::max(wish.pp, 1) * std::max(wish.dp, 1);
  int64_t below = ranks / product * product, above = below + product;
  std::string starts = below > 0 ? fmt::format("{} or {}", below, above) : fmt::format("{}", above);
  fail(ExitCode::configuration,
       "tp {} x pp {} x dp {} does not make {} ranks ({} x {} x {} = {}); try {}, or start {} ranks", text_of(wish.tp),
       text_of(wish.pp), text_of(wish.dp), ranks, std::max(wish.tp, 1), std::max(wish.pp, 1), std::max(wish.dp, 1),
       product, near, starts);
}

// TP groups [groups][tp]: whole ones inside each domain, in rank order; what is left over joins across domains.
std::vector<std::vector<int>> make_groups(const std::map<int, std::vector<int>>& domains, int tp,
                                          std::vector<std::string>& remarks, int num_layers) {
  std::vector<std::vector<int>> groups;
  std::vector<int> left;
  size_t width = static_cast<size_t>(tp);
  auto take = [&](const std::vector<int>& ranks, size_t begin) {
    groups.emplace_back(ranks.begin() + static_cast<ptrdiff_t>(begin),
                        ranks.begin() + static_cast<ptrdiff_t>(begin + width));
  };
  for (const auto& [domain, ranks] : domains) {
    size_t begin = 0;
    for (; begin + width <= ranks.size(); begin += width) take(ranks, begin);
    left.insert(left.end(), ranks.begin() + static_cast<ptrdiff_t>(begin), ranks.end());
  }
  for (size_t begin = 0; begin < left.size(); begin += width) {
    take(left, begin);
    remarks.push_back(
        fmt::format("the TP group of ranks {} spans hosts: {} sums a token cross the network instead of shared memory",
                    fmt::join(groups.back(), " "), 2 * num_layers));
  }
  std::sort(groups.begin(), groups.end());
  return groups;
}

}  // namespace

int64_t bytes_needed(const ModelNeed& need, int tp, int pp) {
  auto share = [&](int64_t bytes) {
    int64_t units = std::max(need.max_tp, 1);
    return bytes * ((units + tp - 1) / tp) / units;  // the rank with the most units
  };
  int64_t layers = (need.num_layers + pp - 1) / pp;  // first stages hold one more
  int64_t stage = layers * share(need.layer_bytes + need.kv_layer_bytes);
  int64_t head = need.tied ? need.embedding_bytes : need.head_bytes;
  int64_t ends =
      pp == 1 ? need.embedding_bytes + (need.tied ? 0 : need.head_bytes) : std::max(need.embedding_bytes, head);
  return need.rank_bytes + stage + share(ends);
}

int Layout::rank_at(Coordinates c) const {
  auto place = std::find(at.begin(), at.end(), c);
  must(place != at.end(), "every coordinate of the layout has a rank");
  return static_cast<int>(place - at.begin());
}

Layout place(std::span<const RankSite> ranks, const ModelNeed& need, const LayoutWish& wish) {
  must(!ranks.empty() && need.num_layers > 0 && need.max_tp > 0, "ranks and a model to place");
  int n = static_cast<int>(ranks.size());
  auto domains = ranks_by_domain(ranks);
  std::vector<Shape> possible = all_shapes(n, need), wished;
  std::copy_if(possible.begin(), possible.end(), std::back_inserter(wished),
               [&](const Shape& s) { return grants(wish, s); });
  if (wished.empty()) refuse(n, need, wish, possible);
  if (wish.tp == 0) {
    std::vector<Shape> spanning = wished;
    std::erase_if(wished, [&](const Shape& s) { return !stays_inside(domains, s.tp); });
    if (wished.empty())
      fail(ExitCode::configuration,
           "tp auto x pp {} x dp {} on {} ranks needs TP groups across hosts, which auto does not make; try {} by "
           "hand, or other ranks a host",
           text_of(wish.pp), text_of(wish.dp), n, nearest(spanning, wish));
  }

  int64_t room = std::min_element(ranks.begin(), ranks.end(), [](auto& a, auto& b) {
                   return a.available_bytes < b.available_bytes;
                 })->available_bytes;
  auto fits = std::find_if(wished.begin(), wished.end(),
                           [&](const Shape& s) { return bytes_needed(need, s.tp, s.pp) <= room; });
  if (fits == wished.end()) {
    auto least = std::min_element(wished.begin(), wished.end(), [&](const Shape& a, const Shape& b) {
      return bytes_needed(need, a.tp, a.pp) < bytes_needed(need, b.tp, b.pp);
    });
    fail(ExitCode::configuration,
         "the model does not fit: at {} the fullest of {} ranks needs {} MiB, and {} MiB are free for each; use more "
         "hosts, fewer ranks a host, or a smaller --kv-gib",
         text_of(*least), n, bytes_needed(need, least->tp, least->pp) >> 20, room >> 20);
  }

  Layout layout{fits->tp, fits->pp, fits->dp, std::vector<Coordinates>(ranks.size()), {}};
  auto groups = make_groups(domains, layout.tp, layout.remarks, need.num_layers);
  for (size_t g = 0; g < groups.size(); g++)
    for (int t = 0; t < layout.tp; t++) {
      int index = static_cast<int>(g);
      layout.at[static_cast<size_t>(groups[g][static_cast<size_t>(t)])] = {t, index % layout.pp, index / layout.pp};
    }
  return layout;
}

}  // namespace trireme

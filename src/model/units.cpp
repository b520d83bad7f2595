#include "model/units.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

#include "base/error.h"

namespace trireme {

namespace {

constexpr int64_t kUnitsPerLayer = 32;
// Of the hidden row, which no rank border cuts: as many as a GPU's block has warps for few rows, and no more, for each
// costs an addition of every output, and a pause of a GPU's tensor cores where rows are many.
constexpr int64_t kHiddenUnits = 8;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// The width of a unit: a multiple of granule, as near to so many units as that allows.
int64_t unit_width(int64_t total, int64_t granule, int64_t units = kUnitsPerLayer) {
  return round_up(divide_up(total, units), granule);
}

}  // namespace

UnitTable UnitTable::of(const ModelConfig& config, int group) {
  UnitTable t;
  // Heads: the columns of o_proj that belong to a unit must be whole quantization groups, and pairs for BF16 products.
  t.heads_per_unit = divide_up(config.num_heads, kUnitsPerLayer);
  while (t.heads_per_unit < config.num_heads && t.heads_per_unit * config.head_dim % std::lcm(group, 2) != 0)
    t.heads_per_unit++;
  t.attention_units = static_cast<int>(divide_up(config.num_heads, t.heads_per_unit));
  t.chain_columns = unit_width(config.intermediate_size, std::lcm<int64_t>(32, group));
  t.columns_per_unit = config.num_experts > 0 ? config.intermediate_size : t.chain_columns;
  t.mlp_units = static_cast<int>(divide_up(config.mlp_columns(), t.columns_per_unit));
  t.rows_per_unit = unit_width(config.vocab_size, 32);
  t.vocab_units = static_cast<int>(divide_up(config.vocab_size, t.rows_per_unit));
  t.hidden_unit_columns = unit_width(config.hidden_size, std::lcm<int64_t>(64, group), kHiddenUnits);
  return t;
}

std::vector<int> unit_borders(int units, int parts) {
  std::vector<int> borders(static_cast<size_t>(parts) + 1, units);
  borders[0] = 0;
  if (parts >= units) {
    for (int i = 0; i <= parts; i++) borders[static_cast<size_t>(i)] = std::min(i, units);
    return borders;
  }
  if ((parts & (parts - 1)) == 0) {  // nodes of one depth
    std::vector<UnitRange> nodes{{0, units}};
    while (static_cast<int>(nodes.size()) < parts) {
      std::vector<UnitRange> deeper;
      for (UnitRange n : nodes) {
        int middle = n.begin + (n.size() + 1) / 2;
        deeper.push_back({n.begin, middle});
        deeper.push_back({middle, n.end});
      }
      nodes = deeper;
    }
    bool all_held = std::all_of(nodes.begin(), nodes.end(), [](UnitRange n) { return n.size() > 0; });
    if (all_held) {
      for (size_t i = 0; i < nodes.size(); i++) borders[i] = nodes[i].begin;
      return borders;
    }
  }
  // Fewest roots (of the worst rank, then in all), then the smallest largest share, over borders whose largest share is
  // as small as can be, or one unit more where that is at most an eighth: fewer sums to exchange are worth that much.
  // Ties go to the earlier border. A dynamic program over (rank, border).
  using Cost = std::tuple<int, int, int>;  // most roots of a rank, roots in all, largest share
  const Cost worst{std::numeric_limits<int>::max(), 0, 0};
  int low = std::max(1, units / parts - 1), high = (units + parts - 1) / parts + (units >= 8 * parts ? 1 : 0);
  auto at = [units](int part, int border) {
    return static_cast<size_t>(part) * static_cast<size_t>(units + 1) + static_cast<size_t>(border);
  };
  std::vector<int> roots(static_cast<size_t>(units + 1) * static_cast<size_t>(units + 1));  // 0: not asked yet
  const auto roots_of = [&](UnitRange r) {
    int& known = roots[at(r.begin, r.end)];
    if (known == 0) known = static_cast<int>(maximal_nodes(units, r).size());
    return known;
  };
  std::vector<Cost> best(static_cast<size_t>(parts + 1) * static_cast<size_t>(units + 1), worst);
  std::vector<int> from(best.size(), -1);
  best[at(0, 0)] = {0, 0, 0};
  for (int p = 1; p <= parts; p++)
    for (int end = 1; end <= units; end++)
      for (int begin = std::max(0, end - high); begin <= end - low; begin++) {
        auto [most, all, share] = best[at(p - 1, begin)];
        if (best[at(p - 1, begin)] == worst) continue;
        const int more = roots_of({begin, end});
        Cost cost{std::max(most, more), all + more, std::max(share, end - begin)};
        if (cost < best[at(p, end)]) best[at(p, end)] = cost, from[at(p, end)] = begin;
      }
  must(from[at(parts, units)] >= 0, "borders exist for every width up to the number of units");
  for (int p = parts, end = units; p > 0; p--) {
    borders[static_cast<size_t>(p)] = end;
    end = from[at(p, end)];
  }
  return borders;
}

UnitRange units_of(int units, int parts, int part) {
  std::vector<int> borders = unit_borders(units, parts);
  return {borders[static_cast<size_t>(part)], borders[static_cast<size_t>(part) + 1]};
}

std::vector<int> layer_borders(int num_layers, int pp, const std::vector<int>& split) {
  std::vector<int> borders{0};
  for (int s = 0; s < pp; s++) {
    int layers = split.empty() ? num_layers / pp + (s < num_layers % pp ? 1 : 0) : split[static_cast<size_t>(s)];
    borders.push_back(borders.back() + layers);
  }
  must(borders.back() == num_layers, "the stages hold every layer once");
  return borders;
}

RankShare RankShare::of(const ModelConfig& config, const UnitTable& units, int tp, int tp_rank) {
  RankShare s;
  s.attention = units_of(units.attention_units, tp, tp_rank);
  s.mlp = units_of(units.mlp_units, tp, tp_rank);
  s.vocab = units_of(units.vocab_units, tp, tp_rank);
  auto clip = [](int64_t unit, int64_t width, int64_t total) { return std::min(unit * width, total); };
  s.first_head = static_cast<int>(clip(s.attention.begin, units.heads_per_unit, config.num_heads));
  s.num_heads = static_cast<int>(clip(s.attention.end, units.heads_per_unit, config.num_heads)) - s.first_head;
  if (s.num_heads > 0) {
    s.first_kv_head = s.first_head / config.group_size();
    s.num_kv_heads = (s.first_head + s.num_heads - 1) / config.group_size() - s.first_kv_head + 1;
  }
  s.intermediate = clip(s.mlp.end, units.columns_per_unit, config.mlp_columns()) -
                   clip(s.mlp.begin, units.columns_per_unit, config.mlp_columns());
  s.first_token = clip(s.vocab.begin, units.rows_per_unit, config.vocab_size);
  s.num_tokens = clip(s.vocab.end, units.rows_per_unit, config.vocab_size) - s.first_token;
  return s;
}

}  // namespace trireme

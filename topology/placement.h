#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "topology/links.h"

namespace trireme {

// What a model asks of a layout.
struct ModelNeed {
  int num_layers = 0;
  std::vector<int> stage_split;  // layers of each stage, where they are given by hand
  int max_tp = 0;                // units of a layer
  int64_t layer_bytes = 0;       // weights of one layer, all units
  int64_t embedding_bytes = 0;   // on the first stage
  int64_t head_bytes = 0;        // on the last stage; 0 when tied and the embedding is there already (one stage)
  bool tied = false;             // the head is the embedding: with several stages the last holds it, too
  int64_t kv_layer_bytes = 0;    // of the smallest useful KV cache, one layer, all heads
  int64_t rank_bytes = 0;        // of any rank: workspace, windows, libraries
};
// Bytes of the fullest rank.
int64_t bytes_needed(const ModelNeed& need, int tp, int pp);

// How many ranks share a layer (tp), a replica's layers (pp), and the documents (dp).
struct Degrees {
  int tp = 0, pp = 0, dp = 0;  // 0, of a wish: auto
  bool operator==(const Degrees&) const = default;
  Degrees least() const { return {std::max(tp, 1), std::max(pp, 1), std::max(dp, 1)}; }  // where auto is 1
  int64_t ranks() const { return int64_t{tp} * pp * dp; }
};
std::string degrees_name(const Degrees& degrees);  // "tp 4 x pp 2 x dp 1"

struct LayoutWish {
  Degrees degrees;
  bool allow_slow = false;  // TP groups over slow links (is_slow)
};

// Where a rank stands.
struct Coordinates {
  int tp = 0, pp = 0, dp = 0;
  bool operator==(const Coordinates&) const = default;
};

struct Layout : Degrees {
  std::vector<Coordinates> at;       // [ranks]
  std::vector<std::string> remarks;  // what the user should know (a group across hosts and its cost)

  int rank_at(Coordinates c) const;
  // The ranks of a TP group, in its order.
  std::vector<int> group(int pp, int dp) const;
};

// Every layout of all ranks that the wish, the units, the layers, the memory and the links allow: the smallest tp x pp
// first, of equals the one with the largest tp. A tp of auto makes no group over slow links, but where nothing else can
// be and `allow_slow`; one given by hand may reach over the network, and over other slow links if `allow_slow`. Never
// empty: throws Error(configuration) with the arithmetic and the nearest choices.
std::vector<Degrees> possible_layouts(const Machine& machine, const Links& links, const ModelNeed& need,
                                      const LayoutWish& wish);

// The slowest link of the TP groups of that width that place() makes of all ranks; `device` where it makes none.
LinkClass slowest_group_link(const Links& links, int ranks, int tp);

// Places (dp, pp, tp) on ranks, for one of these: TP groups inside the smallest set of ranks that the fastest links
// join and that is wide enough; the stages of a replica on neighbouring groups, so that hops cross what groups need
// not; replicas outermost.
Layout place(const Machine& machine, const Links& links, const Degrees& degrees, int num_layers);

}  // namespace trireme

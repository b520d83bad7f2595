#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace trireme {

// A rank as placement sees it.
struct RankSite {
  int domain = 0;               // ranks of one domain share memory (RankProbe::domain)
  int64_t available_bytes = 0;  // for this rank (Machine::available_bytes)
};

// What a model asks of a layout.
struct ModelNeed {
  int num_layers = 0;
  int max_tp = 0;               // units of a layer
  int64_t layer_bytes = 0;      // weights of one layer, all units
  int64_t embedding_bytes = 0;  // on the first stage
  int64_t head_bytes = 0;       // on the last stage; 0 when tied and the embedding is there already (one stage)
  bool tied = false;            // the head is the embedding: with several stages the last holds it, too
  int64_t kv_layer_bytes = 0;   // of the smallest useful KV cache, one layer, all heads
  int64_t rank_bytes = 0;       // of any rank: workspace, windows, libraries
};
// Bytes of the fullest rank.
int64_t bytes_needed(const ModelNeed& need, int tp, int pp);

struct LayoutWish {
  int tp = 0, pp = 0, dp = 0;  // 0: auto
};

// Where a rank stands.
struct Coordinates {
  int tp = 0, pp = 0, dp = 0;
  bool operator==(const Coordinates&) const = default;
};

struct Layout {
  int tp = 1, pp = 1, dp = 1;
  std::vector<Coordinates> at;       // [ranks]
  std::vector<std::string> remarks;  // what the user should know (a group across hosts and its cost)

  int rank_at(Coordinates c) const;
};

// Places (dp, pp, tp) on ranks: TP groups of consecutive ranks inside one domain as far as that goes, the stages of a
// replica on consecutive groups, replicas outermost. auto takes the smallest tp x pp that fits the memory, of these the
// one with the largest tp, and never lets a TP group leave its domain; a tp given by hand may. Throws
// Error(configuration) with the arithmetic and the nearest choices when there is no such layout.
Layout place(std::span<const RankSite> ranks, const ModelNeed& need, const LayoutWish& wish);

}  // namespace trireme

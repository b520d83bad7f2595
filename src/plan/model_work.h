#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/weight_source.h"
#include "model/config.h"
#include "model/stage.h"
#include "model/units.h"
#include "plan/engine_profile.h"

namespace trireme {

// What the fullest rank of one pipeline stage holds and does. Bytes and operations of that rank alone.
struct StageWork {
  StagePlace place;  // of a rank of it
  int layers = 0;
  double weight_bytes = 0;      // held
  double layer_bytes = 0;       // of them, those of the layers
  double head_bytes = 0;        // of them, those of the head, read once a step
  double layer_parameters = 0;  // of the layers
  double head_parameters = 0;
  double heads = 0, kv_heads = 0;  // held
};

// A model at a precision, as ranks hold it: every number is asked of the functions that decide it for the engine
// (RankShare, unit_borders, layer_borders, StageWeights::packed_bytes_of).
class ModelWork {
 public:
  // A model of which there is no file: weights as if converted to `precision` and packed by the profile's engine.
  // kv_bytes: of an element of keys and values. shared_columns, chunked: what this engine has not (PublishedModel), for
  // profiles of others.
  ModelWork(std::string name, const ModelConfig& config, Precision precision, double kv_bytes,
            const EngineProfile& profile, double shared_columns = 0, bool chunked = false);
  // A checkpoint, with the sizes that its table of tensors has. source outlives this.
  ModelWork(const WeightSource& source, const ModelConfig& config, double kv_bytes);

  const std::string& name() const { return name_; }
  const ModelConfig& config() const { return config_; }
  const UnitTable& units() const { return units_; }
  Precision precision() const { return precision_; }
  // Keys and values of one position in one layer, of `kv_heads` heads.
  double position_bytes(double kv_heads) const { return 2 * kv_heads * config_.head_dim * kv_bytes_; }
  double kv_bytes() const { return kv_bytes_; }
  double bits() const { return bits_; }  // of a weight of the layers, about

  double parameters() const;                                                             // all
  double read_parameters() const { return layer_parameters_ + vocabulary_parameters_; }  // layers and head
  // Of the layers' parameters, the part that a token uses, and that a step of `rows` tokens reads: of experts those
  // that it chose, and those that some row chose.
  double used_share() const { return read_share(1); }
  double used_expert_share() const;  // of them, experts'
  double read_share(double rows) const;
  // Positions of the cache that a row at position `context` sees, a mean over the layers: windows.
  double seen_positions(double context) const;
  // The mean over the rows of a prompt of `tokens`: half of them, where no layer has a window.
  double seen_in_prompt(double tokens) const;
  // Of a sequence of `context` positions, those whose keys and values an engine keeps, the same mean.
  double kept_positions(double context, const EngineProfile& profile) const;

  int most_tp() const { return std::min(units_.attention_units, units_.mlp_units); }
  // split: layers of each stage, where they are given by hand (layer_borders).
  std::vector<StageWork> stages(int tp, int pp, const std::vector<int>& split = {}) const;

 private:
  StageWork stage_of(const StagePlace& place) const;
  double packed_bytes(const StagePlace& place, int first, int end, bool embeds, bool ends) const;
  double shared_parameters() const;  // of a layer
  void count_parameters();

  std::string name_;
  ModelConfig config_;
  std::unique_ptr<WeightSource> own_source_;
  const WeightSource* source_ = nullptr;
  UnitTable units_;
  Precision precision_ = Precision::bf16;
  double kv_bytes_ = 2;
  double shared_columns_ = 0;
  bool chunked_ = false;
  double bits_ = 16;
  double layer_scale_ = 1, vocabulary_scale_ = 1;  // of the source's packed bytes
  bool equal_layers_ = false;                      // one stands for all
  double layer_parameters_ = 0, expert_parameters_ = 0, vocabulary_parameters_ = 0;
  std::map<int64_t, int> windows_;  // how many layers have each; 0: none
};

}  // namespace trireme

#include "plan/cost.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "plan/collectives.h"

namespace trireme {

namespace {

double overlapped(double a, double b, double exponent) {
  return std::pow(std::pow(a, exponent) + std::pow(b, exponent), 1 / exponent);
}

// Of a step, all that is not fixed.
constexpr double StepCost::*kParts[] = {&StepCost::weights_ms, &StepCost::arithmetic_ms, &StepCost::products_ms,
                                        &StepCost::cache_ms,   &StepCost::layers_ms,     &StepCost::reduce_ms,
                                        &StepCost::hops_ms};

// By the bits that its bytes make.
Precision head_precision(const StageWork& stage) {
  const double bits = stage.head_parameters > 0 ? 8 * stage.head_bytes / stage.head_parameters : 16;
  return bits > 12 ? Precision::bf16 : bits > 6.5 ? Precision::int8 : Precision::int4;
}

}  // namespace

double StepCost::total_ms() const {
  return std::max(bound_ms, products_ms + cache_ms + layers_ms + reduce_ms + hops_ms + fixed_ms);
}

StepCost StepCost::times(double factor) const {
  StepCost c = *this;
  for (double StepCost::*part : kParts) c.*part *= factor;
  return c;
}

void StepCost::add(const StepCost& other) {
  for (double StepCost::*part : kParts) this->*part += other.*part;
}

CostModel::CostModel(const ModelWork& model, std::vector<StageWork> stages, const Cluster& cluster,
                     const EngineProfile& profile, int tp, int pp)
    : model_(model), stages_(std::move(stages)), cluster_(cluster), profile_(profile), tp_(tp), pp_(pp) {
  if (profile.host) measured_ = profile.host->of(cluster.device.share);
  if (profile.host && pp > 1) lone_ = profile.host->lone_of(cluster.device.share);
}

// Bytes a second, where engines reach that share of the bandwidth of most devices.
double CostModel::read_rate(double share) const {
  return std::min(1.0, share * cluster_.device.memory_reach) * cluster_.device.memory_bytes_per_s;
}

// Of one stage: its layers over `rows` rows, and the head over `head_rows`.
void CostModel::add_products(StepCost& cost, const Measured& costs, const StageWork& stage, double rows,
                             double head_rows) const {
  if (costs) return add_measured_products(cost, *costs, stage, rows, head_rows);
  const Precision precision = model_.precision();
  const bool cpu = cluster_.device.cpu;
  const double weights =
      stage.layer_bytes * model_.read_share(rows) / read_rate(profile_.weight_share_of(precision, cpu)) +
      stage.head_bytes / read_rate(profile_.weight_share_of(Precision::bf16, cpu));
  const double share = profile_.flops_share_of(precision, arithmetic_of(cluster_.device, precision));
  const double flops = share * cluster_.device.flops_reach * peak_flops(cluster_.device, precision);
  // As many parameters as would take as long where products reach their whole share.
  const double part = cpu ? 1 : profile_.expert_flops_part;
  const double used = model_.used_share() + model_.used_expert_share() * (1 / part - 1);
  const double arithmetic = 2 * (stage.layer_parameters * used * rows + stage.head_parameters * head_rows) / flops;
  cost.weights_ms += weights * 1e3;
  cost.arithmetic_ms += arithmetic * 1e3;
  cost.products_ms += overlapped(weights, arithmetic, profile_.overlap) * 1e3;
}

// The embedding's format is the head's, which may have other bits than the layers.
void CostModel::add_measured_products(StepCost& cost, const StepCosts& costs, const StageWork& stage, double rows,
                                      double head_rows) const {
  const double read = model_.read_share(rows), each = stage.layer_parameters * read / stage.layers;
  const auto layers_ns = [&](double r) { return stage.layers * costs.layer_ns(model_.precision(), each, r); };
  const auto head_ns = [&](double r) {
    return r > 0 && stage.head_parameters > 0 ? costs.layer_ns(head_precision(stage), stage.head_parameters, r) : 0;
  };
  const double products = layers_ns(rows * model_.used_share() / read) + head_ns(head_rows);
  const double weights = std::min(products, layers_ns(1) + head_ns(1));
  cost.weights_ms += weights * 1e-6;
  cost.arithmetic_ms += (products - weights) * 1e-6;
  cost.products_ms += products * 1e-6;
}

double CostModel::decode_attention_ms(const Measured& costs, const StageWork& stage, double rows,
                                      double position) const {
  const double seen = rows * stage.layers * model_.seen_positions(position);
  if (!costs) return seen * model_.position_bytes(stage.kv_heads) / read_rate(profile_.kv_share) * 1e3;
  const double cached = profile_.host->cached_bytes * cluster_.device.share;
  const double read = std::max(0.0, 1 - cached / (seen * model_.position_bytes(stage.kv_heads)));
  const double near = stage.heads * costs->cached_attend_ns + stage.kv_heads * costs->cached_kv_ns;
  const double far = std::max(near, stage.heads * costs->attend_ns + stage.kv_heads * costs->kv_ns);
  const double ns = near + read * (far - near);
  return seen * model_.config().head_dim * ns * 1e-6;
}

// Of a piece of prompts of `tokens`.
double CostModel::prompt_attention_ms(const Measured& costs, const StageWork& stage, double rows, double tokens) const {
  const double values = rows * model_.seen_in_prompt(tokens) * stage.layers * model_.config().head_dim;
  if (costs) return values * stage.heads * costs->attend_prompt_ns * 1e-6;
  const double flops = profile_.flops_share * cluster_.device.flops_reach * cluster_.device.bf16_flops;
  return 4 * values * model_.config().num_heads / tp_ / flops * 1e3;
}

double CostModel::reduce_ms(double bytes) const {
  const GroupPlace group = GroupPlace::of(cluster_, tp_);
  if (profile_.host && group.hosts == 1)
    return (profile_.host->reduce_us + (tp_ - 1) * bytes / profile_.host->reduce_bytes_per_s * 1e6) * 1e-3;
  return (profile_.reduce_factor * usual_all_reduce_us(cluster_, group, bytes) + profile_.reduce_us) * 1e-3;
}

double CostModel::hop_ms(double bytes) const {
  if (profile_.host && tp_ < cluster_.devices)
    return (profile_.host->reduce_us + bytes / profile_.host->reduce_bytes_per_s * 1e6) * 1e-3;
  return hop_us(cluster_, tp_, bytes) * 1e-3;
}

// Of a host's other ranks, those that wait while one works at what its pipeline has nothing else of: not its own group
// and not other replicas.
double CostModel::waiting_share() const {
  const double ranks = cluster_.devices, working = std::max<double>(tp_, ranks / pp_);
  return ranks > 1 ? std::max(0.0, (ranks - working) / (ranks - 1)) : 0;
}

template <typename AttentionMs>
CostModel::Pass CostModel::pass(double rows, double head_rows, const AttentionMs& attention_ms) const {
  Pass p = pass_by(measured_, rows, head_rows, attention_ms);
  if (lone_) {  // measured with some noise: no rank is slower for others that wait
    const Pass alone = pass_by(lone_, rows, head_rows, attention_ms);
    p.lone_gain = std::pow(std::max(1.0, p.cost.total_ms() / alone.cost.total_ms()), waiting_share());
  }
  return p;
}

template <typename AttentionMs>
CostModel::Pass CostModel::pass_by(const Measured& costs, double rows, double head_rows,
                                   const AttentionMs& attention_ms) const {
  const double eight = arithmetic_of(cluster_.device, model_.precision()) == Precision::bf16 ? 0 : profile_.layer_8_us;
  const double experts = model_.config().num_experts > 0 && !cluster_.device.cpu ? profile_.expert_us : 0;
  const double layer_us = costs ? 0 : profile_.layer_us + eight + experts;
  const double bytes = rows * static_cast<double>(model_.config().hidden_size) * profile_.sum_bytes;
  Pass p;
  for (const StageWork& stage : stages_) {
    StepCost one;
    add_products(one, costs, stage, rows, head_rows);
    one.cache_ms += attention_ms(costs, stage);
    one.layers_ms += stage.layers * layer_us * 1e-3;
    if (tp_ > 1) one.reduce_ms += 2 * stage.layers * reduce_ms(bytes);
    if (&stage != &stages_.front()) one.hops_ms += hop_ms(bytes);
    p.slowest_ms = std::max(p.slowest_ms, one.total_ms());
    p.cost.add(one);
  }
  return p;
}

// Between one piece and the next of a full pipeline: what its slowest stage takes; or, where stages are alike, an equal
// share of all and what they wait for each other, which a slowest stage's slack hides.
double CostModel::pace_ms(const Pass& p) const {
  return std::max(p.slowest_ms, p.cost.total_ms() / pp_ * (1 + profile_.bubble * (pp_ - 1) / pp_));
}

// How many times as long as one piece of a batch, which takes once_ms, all of them take in a pipeline: whole_ms by the
// work of its stages. Cores are faster while their neighbours wait, as stages do that have no piece: what those leave
// of memory, and of a core that the system takes for two, goes to them, as far as a core can take it.
double CostModel::pipelined(double whole_ms, double once_ms, double pieces, double lone_gain) const {
  const double busy = pieces * once_ms / whole_ms;
  return whole_ms / once_ms / std::min(lone_gain, pp_ / busy);
}

double CostModel::fixed_ms(double sequences) const {
  const auto [step_us, sequence_us] = measured_ ? std::pair(measured_->step_us, measured_->sequence_us)
                                                : std::pair(profile_.step_us, profile_.sequence_us);
  return (step_us + sequence_us * sequences) * 1e-3;
}

StepCost CostModel::decode_step(double sequences, double position) const {
  const double micro_batches = std::min<double>(pp_, std::max(1.0, sequences));
  const double rows = sequences / micro_batches;
  const Pass p = pass(rows, rows, [&](const Measured& costs, const StageWork& stage) {
    return decode_attention_ms(costs, stage, rows, position);
  });
  const double once = p.cost.total_ms(), whole = std::max(once, micro_batches * pace_ms(p));
  StepCost cost = p.cost.times(pipelined(whole, once, micro_batches, p.lone_gain));
  cost.fixed_ms = fixed_ms(sequences);
  cost.bound_ms = decode_bound(model_, cluster_, tp_, pp_, rows, position, profile_.sum_bytes).total_ms();
  return cost;
}

// Prompts pass a pipeline in pieces: chunks of a long one, or some of many.
CostModel::Prompts CostModel::prompts(double tokens, double sequences) const {
  const double all = tokens * sequences;
  const double cut = std::max(sequences, std::ceil(all / profile_.piece_tokens));
  const double pieces = std::max(std::ceil(all / profile_.chunk_tokens), std::min<double>(pp_, cut));
  const double rows = all / pieces;
  const auto piece_of = [&](double piece_rows) {
    return pass(piece_rows, sequences / pieces, [&](const Measured& costs, const StageWork& stage) {
      return prompt_attention_ms(costs, stage, piece_rows, tokens);
    });
  };
  const Pass p = piece_of(rows);
  const double once = p.cost.total_ms();
  double whole = once + (pieces - 1) * pace_ms(p);
  // Other engines do not cut a long prompt evenly, which would make it faster than one of a whole chunk.
  if (!profile_.host && pp_ > 1 && all > profile_.chunk_tokens) {
    const Pass chunk = piece_of(profile_.chunk_tokens);
    whole = std::max(whole, chunk.cost.total_ms() + (all / profile_.chunk_tokens - 1) * pace_ms(chunk));
  }
  Prompts prompts{p.cost.times(pipelined(whole, once, pieces, p.lone_gain))};
  prompts.cost.fixed_ms = fixed_ms(0) * (profile_.host ? pieces : 1);
  // This engine's pieces of one prompt pass its stages beside each other, which that bound knows nothing of.
  const double beside = profile_.host ? (once + (pieces - 1) * p.slowest_ms) / (pieces * once) : 1;
  const double bound_ms = prefill_bound(model_, cluster_, tp_, pp_, tokens, profile_.sum_bytes).total_ms();
  prompts.cost.bound_ms = beside * bound_ms;
  // Without the wait of full stages for each other: published throughput of pipelines shows none of prompts.
  prompts.busy_ms = std::max(bound_ms / pp_, pieces * p.slowest_ms + prompts.cost.fixed_ms);
  return prompts;
}

Performance CostModel::steady(const Workload& load) const {
  Performance p;
  p.running = std::max(1.0, std::min({load.sequences, load.capacity, profile_.most_sequences}));
  p.step = decode_step(p.running, load.position);
  p.prefill = prefill(load.input_tokens);
  const double together = std::max(1.0, std::floor(profile_.chunk_tokens / load.input_tokens));
  p.prompt_ms = prompts(load.input_tokens, together).busy_ms / together;
  const double others = p.running - 1;
  // A step has room for a chunk of others' prompts; what does not go beside the tokens is waited for before the first.
  const double beside = others / load.output_tokens * profile_.interference;
  const double prompts_a_step = std::min(beside, profile_.chunk_tokens / load.input_tokens);
  p.decode_ms = p.step.total_ms() + prompts_a_step * p.prompt_ms;
  p.ttft_ms =
      profile_.request_ms + p.prefill.total_ms() + (load.output_tokens - 1) * (beside - prompts_a_step) * p.prompt_ms;
  const double decoding_ms = (load.output_tokens - 1) * p.decode_ms;
  const double prompts_ms = p.running * p.prompt_ms;  // in a cycle each sequence's prompt is computed once
  if (load.sequences > p.running) {  // others wait for each place, and their prefill begins when it is free
    const double cycle_ms = std::max(prompts_ms, p.ttft_ms + decoding_ms);
    p.queue_ms = (load.sequences - p.running) / p.running * cycle_ms;
    p.tokens_per_s = p.running * load.output_tokens / cycle_ms * 1e3;
  }
  // About a step of the others: half of the one that a request comes upon is left as a mean, and its own step has their
  // rows, too.
  p.ttft_ms += others / p.running * p.step.total_ms() + profile_.clump * others * p.prompt_ms;
  // Of few output tokens there are few steps in which others' prompts are computed: the rest is waited for at first.
  p.ttft_ms = std::max(p.ttft_ms, prompts_ms - decoding_ms);
  if (load.sequences <= p.running) p.tokens_per_s = p.running * load.output_tokens / (p.ttft_ms + decoding_ms) * 1e3;
  p.ttft_ms += p.queue_ms;
  return p;
}

Performance CostModel::at_rate(Workload load, double rate) const {
  const double places = std::max(1.0, std::min(load.capacity, profile_.most_sequences));
  const auto with = [&](double sequences) {
    load.sequences = sequences;
    return steady(load);
  };
  double few = 1, many = places;
  for (int i = 0; i < 40 && many - few > 0.01; i++) {
    const double middle = (few + many) / 2;
    (with(middle).tokens_per_s >= rate * load.output_tokens ? many : few) = middle;
  }
  Performance p = with(many);
  p.tokens_per_s = with(HUGE_VAL).tokens_per_s;
  const double busy = rate * load.output_tokens / p.tokens_per_s;  // share of the most that it answers
  const double service_ms = p.ttft_ms + (load.output_tokens - 1) * p.decode_ms;
  p.queue_ms =
      busy < 1 ? service_ms / places * std::pow(busy, std::sqrt(2 * (places + 1)) - 1) / (1 - busy) / 2 : HUGE_VAL;
  p.ttft_ms += p.queue_ms;
  return p;
}

}  // namespace trireme

#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "launch/bench.h"
#include "launch/model_file.h"
#include "launch/quality_report.h"
#include "launch/quality_text.h"
#include "launch/session.h"
#include "launch/together.h"
#include "quality/logit_comparer.h"

namespace trireme {

namespace {

constexpr int kComparisonTag = 1;  // on the world, where nothing else is under way
constexpr std::chrono::seconds kNews{10};

// A model in one mode, through the engine's own path, one window at a time.
struct Side {
  Session session;
  std::optional<Engine> engine;  // on the leader

  Side(const Options& options, Communicator& world, const std::string& path)
      : session(options, world, open_checkpoint(path, world)) {}

  void load(const Tokenizer& tokenizer, Log& log) {
    session.load(log);
    if (session.leads_replica())
      engine.emplace(session.replica(), session.runner(), &tokenizer, session.config(), session.scheduler_limits());
  }

  void show_logits_to(Sampler::Witness witness) {
    if (session.sampler()) session.sampler()->show_scored_to(std::move(witness));
  }

  // On the leader, the log-probs of the window's tokens from the second on; the others take their part.
  std::vector<float> read(const TextWindow* window) {
    if (!engine) {
      follow(session.replica(), session.runner());
      return {};
    }
    Request request;
    request.prompt = window->tokens;
    request.sampling.max_tokens = 0;
    request.sampling.prompt_logprobs = 0;
    engine->submit(std::move(request));
    while (!engine->idle()) engine->step();
    const std::vector<Completion> done = engine->take_finished();
    engine->stop();
    must(done.size() == 1, "a window comes back");
    if (!done[0].error_code.empty())
      fail(ExitCode::bad_data, "{}: the window at token {} of the text: {}", session.source().path(), window->offset,
           done[0].error_message);
    std::vector<float> logprobs;
    for (const auto& entry : done[0].prompt_logprobs)
      if (entry) logprobs.push_back(entry->logprob);
    return logprobs;
  }
};

class QualityBench {
 public:
  QualityBench(const Options& options, Communicator& world);
  void run();
  void report();  // on rank 0

 private:
  Options side_options(bool reference) const;
  void check_memory() const;
  void share_windows();
  void load();
  void score(size_t w, std::span<const float> logprobs, std::span<const float> reference);
  std::vector<Comparison> gather_comparisons();

  const Options& options_;
  Communicator& world_;
  Log log_;
  const bool compared_;
  std::string path_, reference_path_;  // of the checkpoints
  std::optional<TextModel> model_;
  WindowSize size_;
  QualityText text_;                   // on rank 0
  std::vector<int32_t> first_scored_;  // of every window, on all ranks
  std::optional<Side> tested_, reference_;
  std::optional<LogitComparer> comparer_;  // on the rank that sees the logits
  Quality quality_;
};

QualityBench::QualityBench(const Options& options, Communicator& world)
    : options_(options),
      world_(world),
      log_(options.log_level, world.rank()),
      compared_(!options.against.empty() || !options.against_numerics.empty()) {
  if (options.text_path.empty())
    fail(ExitCode::usage, "no text was given; try trireme bench quality -m MODEL book.txt");
  if (options.dp > 1) fail(ExitCode::usage, "--dp {}: a benchmark measures one replica; leave --dp out", options.dp);
  path_ = checkpoint_of(options.model, world, log_);
  reference_path_ = options.against.empty() ? path_ : checkpoint_of(options.against, world, log_);
  together(world, [&] { model_.emplace(TextModel::open(path_)); });
  int64_t context = model_->config.max_positions;
  if (!options.against.empty()) {
    const TextModel other = TextModel::open(reference_path_);
    check_same_vocabulary(*model_, other, options);
    context = std::min(context, other.config.max_positions);
  }
  size_ = WindowSize::of(options, context);
  share_windows();
  tested_.emplace(side_options(false), world, path_);
  if (compared_) {
    reference_.emplace(side_options(true), world, reference_path_);
    check_memory();
  }
  load();
}

// One window at a time, with a cache for that; the reference in the layout of the tested side, so that one rank sees
// the logits of both.
Options QualityBench::side_options(bool reference) const {
  Options side = options_;
  side.dp = 1;
  side.max_seqs = 1;
  if (!options_.given("kv-gib") && !options_.given("kv-blocks"))
    side.kv_blocks = (size_.tokens + kBlockTokens - 1) / kBlockTokens;
  if (!reference) return side;
  side.tp = tested_->session.layout().tp;
  side.pp = tested_->session.layout().pp;
  if (!options_.against.empty()) side.model = options_.against;
  if (!options_.against_numerics.empty()) side.numerics = options_.against_numerics;
  return side;
}

void QualityBench::check_memory() const {
  together(world_, [&] {
    int64_t needed = tested_->session.needed_bytes() + reference_->session.needed_bytes();
    if (world_.rank() == tested_->session.result_rank())
      needed += LogitComparer::bytes(size_.tokens, model_->config.vocab_size);
    const int64_t free = tested_->session.available_bytes();
    if (needed > free)
      fail(ExitCode::out_of_memory,
           "both sides and the logits of a window need {} MiB on rank {}, and {} MiB are free; use more ranks, or a "
           "smaller --window",
           needed >> 20, world_.rank(), free >> 20);
  });
}

void QualityBench::share_windows() {
  together(world_, [&] {
    if (world_.rank() == 0) text_ = QualityText::read(options_.text_path, *model_, size_);
  });
  for (const TextWindow& window : text_.windows) first_scored_.push_back(window.first_scored);
  const auto mine = std::as_bytes(std::span(first_scored_));
  std::vector<std::byte> bytes(mine.begin(), mine.end());
  world_.broadcast(bytes, 0);
  first_scored_.resize(bytes.size() / sizeof(int32_t));
  std::memcpy(first_scored_.data(), bytes.data(), bytes.size());
}

void QualityBench::load() {
  tested_->load(model_->tokenizer, log_);
  log_.info("{}", tested_->session.layout_text());
  if (!tested_->session.numerics_remark().empty()) log_.warn("{}", tested_->session.numerics_remark());
  if (!compared_) return;
  reference_->load(model_->tokenizer, log_);
  log_.info("reference: {}", reference_->session.layout_text());
  const int rank = tested_->session.result_rank();
  must(rank == reference_->session.result_rank(), "equal layouts stand on the same ranks");
  together(world_, [&] {
    if (world_.rank() == rank) comparer_.emplace(size_.tokens, model_->config.vocab_size);
  });
  reference_->show_logits_to([this](int32_t position, auto logits) { comparer_->keep(position, logits); });
  tested_->show_logits_to([this](int32_t position, auto logits) { comparer_->compare(position, logits); });
}

void QualityBench::run() {
  auto told = std::chrono::steady_clock::now();
  for (size_t w = 0; w < first_scored_.size(); w++) {
    const TextWindow* window = world_.rank() == 0 ? &text_.windows[w] : nullptr;
    if (comparer_) comparer_->begin(first_scored_[w]);
    const std::vector<float> reference = reference_ ? reference_->read(window) : std::vector<float>();
    const std::vector<float> logprobs = tested_->read(window);
    if (window) score(w, logprobs, reference);
    if (std::chrono::steady_clock::now() - told < kNews) continue;
    told = std::chrono::steady_clock::now();
    log_.info("{} of {} windows", w + 1, first_scored_.size());
  }
}

// What the text's own tokens cost.
void QualityBench::score(size_t w, std::span<const float> logprobs, std::span<const float> reference) {
  const TextWindow& window = text_.windows[w];
  WindowQuality quality{.positions = window.positions()};
  for (size_t i = static_cast<size_t>(window.first_scored) - 1; i < logprobs.size(); i++) {
    const double loss = -static_cast<double>(logprobs[i]);
    quality.loss += loss;
    if (compared_)
      quality.reference_loss -= static_cast<double>(reference[i]);
    else if (loss > quality_.worst.value)
      quality_.worst = {loss, static_cast<int64_t>(i) + 1 + window.offset, "", ""};
  }
  quality_.windows.push_back(quality);
}

// Brings to rank 0 what the rank that sees the logits has found.
std::vector<Comparison> QualityBench::gather_comparisons() {
  const int from = tested_->session.result_rank();
  std::vector<Comparison> all;
  if (comparer_) all = comparer_->windows();
  if (from == 0) return all;
  if (comparer_) world_.send(0, kComparisonTag, std::as_bytes(std::span(all)));
  if (world_.rank() == 0) {
    const auto bytes = world_.receive(from, kComparisonTag, "the comparison of the logits");
    all.resize(bytes.size() / sizeof(Comparison));
    std::memcpy(all.data(), bytes.data(), bytes.size());
  }
  world_.flush();
  return all;
}

void QualityBench::report() {
  const std::vector<Comparison> comparisons = compared_ ? gather_comparisons() : std::vector<Comparison>();
  if (world_.rank() != 0) return;
  for (size_t w = 0; w < comparisons.size(); w++) {
    const Comparison& c = comparisons[w];
    quality_.windows[w].kl = c.kl;
    quality_.windows[w].agreements = c.agreements;
    auto word = [&](int32_t id) { return model_->tokenizer.decode(std::span(&id, 1), false); };
    if (c.worst_kl > quality_.worst.value)
      quality_.worst = {c.worst_kl, c.worst_index + text_.windows[w].offset, word(c.worst_top),
                        word(c.worst_reference_top)};
  }
  quality_.compared = compared_;
  quality_.tokens = std::ssize(text_.tokens);
  quality_.window = size_.tokens;
  quality_.unscored = size_.unscored;
  quality_.about = {
      {"text", options_.text_path}, {"model", options_.model}, {"numerics", tested_->session.fingerprint()}};
  if (compared_) {
    quality_.about["reference"] = reference_->session.options().model;
    quality_.about["reference_numerics"] = reference_->session.fingerprint();
  }
  quality_.about["layout"] = tested_->session.layout_text();
  print_quality(quality_, options_);
}

}  // namespace

void bench_quality(const Options& options, Communicator& world) {
  QualityBench bench(options, world);
  bench.run();
  bench.report();
}

}  // namespace trireme

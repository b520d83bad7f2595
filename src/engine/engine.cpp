#include "engine/engine.h"

#include <algorithm>
#include <chrono>

#include "base/hash.h"

namespace trireme {

namespace {

constexpr int kPlanTag = 1, kResultTag = 2;
constexpr std::chrono::milliseconds kSignOfLife{1000};  // or a quarter of the deadline with which followers wait

}  // namespace

Engine::Engine(Replica replica, Runner& runner, const Tokenizer* tokenizer, const ModelConfig& config,
               const SchedulerLimits& limits)
    : replica_(replica), runner_(runner), tokenizer_(tokenizer), config_(config), scheduler_(limits) {}

void Engine::submit(Request request) {
  must(request.assumed_positions == 0 ||
           (request.assumed_positions < std::ssize(request.prompt) && request.sampling.prompt_logprobs < 0),
       "the end of a prompt is computed, and all of one whose log-probs are wanted");
  auto sequence = std::make_unique<Sequence>(std::move(request), tokenizer_);
  const Request& r = sequence->request;
  Completion& c = sequence->completion;
  c.row = r.row;
  c.prompt_tokens = std::ssize(r.prompt);
  if (r.sampling.prompt_logprobs >= 0) c.prompt_logprobs.push_back(std::nullopt);
  const bool past_context = c.prompt_tokens > config_.max_positions;
  if (past_context || !scheduler_.fits(r)) {
    c.finish_reason = "error";
    c.error_code = "too_long";
    // How many the cache has is the layout's and the machine's, and stands in the log: results do not tell these apart.
    c.error_message =
        past_context ? fmt::format("{} prompt tokens are more than the model's context of {}; send the text in parts",
                                   c.prompt_tokens, config_.max_positions)
                     : fmt::format(
                           "{} prompt tokens and up to {} new ones need {} positions, more than the KV cache "
                           "has; use more ranks or a larger --kv-gib, or ask for fewer tokens",
                           c.prompt_tokens, r.sampling.max_tokens, scheduler_.positions_needed(r));
    finished_.push_back(std::move(c));
    return;
  }
  scheduler_.add(std::move(sequence));
}

void Engine::step(const std::function<void()>& meanwhile) {
  const int most = scheduler_.limits().in_flight;
  bool called = !meanwhile;
  const std::function<void()> once = [&] {
    if (!std::exchange(called, true)) meanwhile();
  };
  for (StepPlan plan; in_flight_ < most && scheduler_.schedule(plan);) run(std::move(plan), once);
  once();
  if (in_flight_ == 0) {
    pace_.rest();
    const auto every = std::min(kSignOfLife, replica_.ranks.waiter().deadline() / 4);
    if (std::chrono::steady_clock::now() - last_plan_ > every) run({});
    return;
  }
  if (!own_results_.empty()) {
    postprocess(own_results_.front());
    own_results_.erase(own_results_.begin());
  } else {
    postprocess(parse_result(replica_.ranks.receive(replica_.result_rank, kResultTag, "the result of a step")));
  }
}

void Engine::run(StepPlan plan, const std::function<void()>& meanwhile) {
  plan.number = next_step_++;
  const bool has_rows = !plan.items.empty();
  const std::vector<std::byte> bytes = serialize(plan);
  for (int r = 1; r < replica_.ranks.size(); r++) replica_.ranks.send(r, kPlanTag, bytes);
  last_plan_ = std::chrono::steady_clock::now();
  if (plan.stop) return;
  if (has_rows) pace_.begin(plan);
  if (auto result = runner_.run(plan, meanwhile)) own_results_.push_back(std::move(*result));
  if (has_rows) in_flight_++;
}

void Engine::stop() {
  StepPlan plan;
  plan.stop = 1;
  run(std::move(plan));
  next_step_ = 1;  // whoever follows again counts from there
  replica_.ranks.flush();
}

void Engine::postprocess(const StepResult& result) {
  in_flight_--;
  pace_.end();
  for (const ItemResult& item : result.items) {
    Sequence& sequence = scheduler_.in_slot(item.slot);
    sequence.steps_in_flight--;
    for (const TokenLogprob& entry : item.prompt_logprobs) sequence.completion.prompt_logprobs.push_back(entry);
    if (sequence.request.sampling.digest) sequence.completion.digest = hex16(item.digest);
    if (item.token == ItemResult::kNumericalError) fault(sequence);
    if (!sequence.completion.error_code.empty()) {
      if (sequence.steps_in_flight == 0) finish(sequence, "error");
    } else if (item.token != ItemResult::kNone) {
      append(sequence, item);
    }
  }
}

// It ends when none of its steps is under way any more: their results find it by its slot.
void Engine::fault(Sequence& s) {
  s.completion.error_code = "numerical_error";
  s.completion.error_message = fmt::format(
      "the logits before position {} are not all numbers; check the model with `trireme inspect`", s.length());
}

void Engine::append(Sequence& s, const ItemResult& item) {
  const SamplingParams& sampling = s.request.sampling;
  Completion& c = s.completion;
  if (sampling.max_tokens == 0) return finish(s, "length");
  scheduler_.token_sampled(s, item.token);
  if (!sampling.ignore_eos &&
      std::find(config_.eos_token_ids.begin(), config_.eos_token_ids.end(), item.token) != config_.eos_token_ids.end())
    return finish(s, "stop");
  c.token_ids.push_back(item.token);
  c.logprobs.insert(c.logprobs.end(), item.logprobs.begin(), item.logprobs.end());
  if (s.decoder) c.text += s.decoder->push(item.token);
  s.text_ends.push_back(c.text.size());
  if (cut_at_stop_text(s)) return finish(s, "stop");
  if (s.generated() >= sampling.max_tokens || s.length() >= config_.max_positions) finish(s, "length");
}

// A stop text may begin in an earlier token: the text is cut before it, and the tokens that lie wholly behind the cut
// go.
bool Engine::cut_at_stop_text(Sequence& s) {
  Completion& c = s.completion;
  size_t cut = std::string::npos;
  for (const std::string& stop : s.request.sampling.stop) {
    size_t before = s.text_ends.size() > 1 ? s.text_ends[s.text_ends.size() - 2] : 0;
    size_t from = before > stop.size() ? before - stop.size() : 0;  // what came earlier has been searched
    cut = std::min(cut, c.text.find(stop, from));
  }
  if (cut == std::string::npos) return false;
  c.text.resize(cut);
  size_t kept = 0;  // tokens whose text begins before the cut
  while (kept < s.text_ends.size() && (kept == 0 ? 0 : s.text_ends[kept - 1]) < cut) kept++;
  c.token_ids.resize(kept);
  if (c.logprobs.size() > kept) c.logprobs.resize(kept);
  return true;
}

void Engine::finish(Sequence& sequence, const char* reason) {
  std::unique_ptr<Sequence> done = scheduler_.finish(sequence);
  Completion& c = done->completion;
  c.finish_reason = reason;
  const bool whole = c.text.size() == (done->text_ends.empty() ? 0 : done->text_ends.back());
  if (done->decoder && (std::string_view(reason) != "stop" || whole)) c.text += done->decoder->finish();
  if (c.finish_reason == "error") c.text.clear();
  c.completion_tokens = std::ssize(c.token_ids);
  finished_.push_back(std::move(c));
}

void follow(Replica replica, Runner& runner) {
  for (uint64_t number = 1;; number++) {
    const StepPlan plan = parse_plan(replica.ranks.receive(0, kPlanTag, "the leader's next step plan"), number);
    if (plan.stop) return;
    if (auto result = runner.run(plan)) replica.ranks.send(0, kResultTag, serialize(*result));
  }
}

}  // namespace trireme

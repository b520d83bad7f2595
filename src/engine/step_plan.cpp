#include "engine/step_plan.h"

#include "base/hash.h"
#include "base/wire.h"

namespace trireme {

namespace {

void put(WireWriter& out, const std::vector<TokenLogprob>& entries) {
  out.put(static_cast<uint64_t>(entries.size()));
  for (const TokenLogprob& e : entries) {
    out.put(e.id);
    out.put(e.logprob);
    out.put(static_cast<uint64_t>(e.top.size()));
    for (auto [id, logprob] : e.top) out.put(id), out.put(logprob);
  }
}

void get(WireReader& in, std::vector<TokenLogprob>& entries) {
  entries.resize(in.get_count(16));
  for (TokenLogprob& e : entries) {
    in.get(e.id);
    in.get(e.logprob);
    e.top.resize(in.get_count(8));
    for (auto& [id, logprob] : e.top) in.get(id), in.get(logprob);
  }
}

}  // namespace

int64_t StepPlan::rows() const {
  int64_t rows = 0;
  for (const PlanItem& item : items) rows += static_cast<int64_t>(item.tokens.size());
  return rows;
}

std::vector<std::byte> serialize(const StepPlan& plan) {
  WireWriter out;
  out.put(plan.number);
  out.put(plan.stop);
  out.put(static_cast<uint64_t>(plan.items.size()));
  for (const PlanItem& item : plan.items) {
    out.put(item.slot);
    out.put(item.position);
    out.put(item.logit_from);
    out.put(item.next_token);
    out.put(item.admit);
    out.put(item.restart);
    if (item.admit) out.put(item.spec);
    out.put(item.tokens);
    out.put(item.new_blocks);
  }
  out.put(xxh3(out.data()));
  return out.take();
}

StepPlan parse_plan(std::span<const std::byte> bytes, uint64_t expected_number) {
  must(bytes.size() >= sizeof(uint64_t), "a step plan has a hash");
  const size_t body = bytes.size() - sizeof(uint64_t);
  must(WireReader(bytes.subspan(body)).get<uint64_t>() == xxh3(bytes.first(body)),
       "a step plan arrives as it was sent");
  WireReader in(bytes.first(body));
  StepPlan plan;
  in.get(plan.number);
  must(plan.number == expected_number, "every rank gets the step plans in order");
  in.get(plan.stop);
  plan.items.resize(in.get_count(16));
  for (PlanItem& item : plan.items) {
    in.get(item.slot);
    in.get(item.position);
    in.get(item.logit_from);
    in.get(item.next_token);
    in.get(item.admit);
    in.get(item.restart);
    if (item.admit) in.get(item.spec);
    in.get(item.tokens);
    in.get(item.new_blocks);
  }
  in.finish();
  return plan;
}

std::vector<std::byte> serialize(const StepResult& result) {
  WireWriter out;
  out.put(static_cast<uint64_t>(result.items.size()));
  for (const ItemResult& item : result.items) {
    out.put(item.slot);
    out.put(item.token);
    out.put(item.digest);
    put(out, item.logprobs);
    put(out, item.prompt_logprobs);
  }
  return out.take();
}

StepResult parse_result(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  StepResult result;
  result.items.resize(in.get_count(32));
  for (ItemResult& item : result.items) {
    in.get(item.slot);
    in.get(item.token);
    in.get(item.digest);
    get(in, item.logprobs);
    get(in, item.prompt_logprobs);
  }
  in.finish();
  return result;
}

}  // namespace trireme

// Sequences in flight: as many as promised times allow, or as a rate of requests brings.
#include <cmath>

#include "plan/advice.h"
#include "plan/reasons.h"
#include "question.h"
#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

TEST_CASE("a batch that keeps the promised times is smaller than one that fits") {
  Question q("llama-3.1-8b", Precision::bf16, "1 h100");
  const Plan free = q.plan();
  q.request.slo_tpot_ms = 15;
  const Plan kept = q.plan();
  REQUIRE(kept.choice == 0);
  CHECK(kept.layouts[0].performance.decode_ms <= 15);
  CHECK(kept.layouts[0].performance.running < free.layouts[0].performance.running);
  q.request.slo_tpot_ms = 0.5;  // below the bound
  const Plan never = q.plan();
  CHECK(never.choice == -1);
  CHECK(contains(never.layouts[0].reason, "0.5 wanted"));
}

TEST_CASE("where promises leave few in flight, these are the reason, not the room that there is") {
  Question q("llama-3.1-70b", Precision::fp8, "8 h100");
  q.request.slo_tpot_ms = 20;
  const Plan plan = q.plan();
  const LayoutPlan *best = q.find(plan, 4, 1), *narrow = q.find(plan, 2, 1);
  CHECK(best == &plan.layouts.front());
  CHECK(narrow->wanted < best->wanted);
  CHECK(contains(narrow->reason,
                 fmt::format("the promised times are kept with {:.0f} in flight a replica, {} with {:.0f}; ",
                             narrow->wanted, layout_name(*best), best->wanted)));
  CHECK(give_advice(plan, q.whole()).front().starts_with("smallest that fits and keeps the promised times: TP 2, "));
}

TEST_CASE("a rate of requests keeps so many in flight, up to what the machine can answer") {
  Question q("llama-3.1-8b", Precision::bf16, "1 h100");
  q.request.rate = 1;
  const Plan calm = q.plan();
  REQUIRE(calm.choice == 0);
  CHECK(calm.layouts[0].performance.running < 8);
  CHECK(calm.layouts[0].tokens_per_s == doctest::Approx(256).epsilon(0.01));
  q.request.rate = 10000;
  const Plan flooded = q.plan();
  CHECK(flooded.choice == -1);
  CHECK(contains(flooded.layouts[0].reason, "10000 requests/s wanted, "));
}

TEST_CASE("the nearer a rate comes to what is answered, the longer requests wait for a place; past it for ever") {
  Question q("llama-3.1-70b", Precision::fp8, "2 h100");
  q.request.degrees = {2, 1, 1};
  q.request.rate = 0.01;
  const double alone = q.plan().layouts[0].performance.ttft_ms;
  q.request.rate = 1000;
  const LayoutPlan flooded = q.plan().layouts[0];
  const double most = flooded.tokens_per_s / q.request.output_tokens;
  CHECK(std::isinf(flooded.performance.ttft_ms));
  CHECK(flooded.limiting_factor == "queueing");
  CHECK_FALSE(flooded.meets_slo);
  double before = alone;
  for (double busy : {0.5, 0.9, 0.99, 0.999}) {
    q.request.rate = busy * most;
    const Performance p = q.plan().layouts[0].performance;
    CHECK(p.ttft_ms > before);
    CHECK(p.queue_ms >= 0);
    before = p.ttft_ms;
  }
  CHECK(before > 3 * alone);
}

TEST_CASE("a rate at the least cost takes no more replicas than answer it") {
  Question q("llama-3.1-8b", Precision::bf16, "8 h100");
  q.request.rate = 2;
  q.request.objective = Objective::cost;
  const Plan plan = q.plan();
  REQUIRE(plan.choice == 0);
  CHECK(plan.layouts[0].devices() == 1);
  q.request.objective = Objective::throughput;
  CHECK(q.plan().layouts[0].devices() == 8);
}

#include "plan/nearest_fit.h"

#include "question.h"
#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

TEST_CASE("nothing fits: what would is named") {
  Question q("llama-3.1-405b", Precision::bf16, "2 h100");
  const Plan plan = q.plan();
  CHECK(plan.choice == -1);
  CHECK(contains(nearest_fit(plan, q.whole()), "2 hosts x 8 h100"));
  Question one("llama-3.1-70b", Precision::bf16, "8 h100");
  one.request.degrees = {1, 1, 1};
  const std::string near = nearest_fit(one.plan(), one.whole());
  CHECK(contains(near, ", or --precision fp8 with 1 device would fit"));
}

TEST_CASE("what would fit keeps what was promised: devices for a rate, times that can be kept, sequences that fit") {
  Question rate("llama-3.1-8b", Precision::bf16, "1 h100");
  rate.request.rate = 100;
  CHECK(nearest_fit(rate.plan(), rate.whole()) ==
        "--rate 23.1 with 1 device, or 1 host x 8 h100 nvswitch with DP 8 would fit");
  Question time("llama-3.1-70b", Precision::bf16, "8 h100");
  time.request.batch = 64, time.request.slo_tpot_ms = 22;
  const std::string near = nearest_fit(time.plan(), time.whole());
  CHECK(contains(near, "--precision fp8 with "));
  CHECK(contains(near, "--batch "));
  CHECK(contains(near, "--slo-tpot "));
  CHECK(!contains(near, "--context "));
  time.request.slo_tpot_ms = 0.1;  // of no batch, precision or machine
  const std::string only = nearest_fit(time.plan(), time.whole());
  CHECK(only.starts_with("--slo-tpot "));
  CHECK(!contains(only, ", or "));
}

TEST_CASE("where no single change is enough, promises are dropped first, then sequences, then bits") {
  Question hasty("qwen2.5-72b", Precision::bf16, "2 a100-40gb");
  hasty.request.slo_ttft_ms = 5000, hasty.request.slo_tpot_ms = 5;
  CHECK(
      nearest_fit(hasty.plan(), hasty.whole()) ==
      "without --slo-ttft and --slo-tpot: --precision int8 with TP 2, or 1 host x 4 a100-40gb nvswitch with TP 4 would "
      "fit");
  Question busy("qwen2.5-72b", Precision::int4, "3 l4");
  busy.request.rate = 20, busy.request.slo_tpot_ms = 20;
  CHECK(nearest_fit(busy.plan(), busy.whole()).starts_with("without --slo-tpot and --rate: PP 3 would fit, at "));
  Question large("llama-3.1-70b", Precision::bf16, "1 raspberry-pi-4");
  large.request.batch = 256;
  CHECK(nearest_fit(large.plan(), large.whole()).starts_with("at --batch 1: 64 hosts x 1 "));
}

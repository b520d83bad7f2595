#include <set>
#include <tuple>

#include "base/error.h"
#include "plan/advice.h"
#include "plan/reasons.h"
#include "question.h"
#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

TEST_CASE("every layout uses the machine once, and the chosen one is the best of those that fit") {
  for (Objective objective : {Objective::latency, Objective::throughput, Objective::cost}) {
    Question q("llama-3.1-70b", Precision::fp8, "2 hosts x 8 h100");
    q.request.objective = objective;
    const Plan plan = q.plan();
    REQUIRE(plan.choice == 0);
    std::set<std::pair<int, int>> seen;
    for (const LayoutPlan& l : plan.layouts) {
      CAPTURE(layout_name(l));
      CHECK(seen.emplace(l.tp, l.pp).second);
      CHECK(l.devices() == 16);
      CHECK(!l.reason.empty());
      CHECK(l.performance.decode_ms >= l.bound_decode_ms);
      if (!l.fits) continue;
      const LayoutPlan& best = plan.layouts[0];
      if (objective == Objective::latency) CHECK(best.performance.decode_ms <= l.performance.decode_ms * 1.25);
      if (objective == Objective::throughput) CHECK(best.tokens_per_s >= l.tokens_per_s * 0.8);
      if (objective == Objective::cost) CHECK(best.cost_per_million <= l.cost_per_million * 1.25);
    }
  }
}

TEST_CASE("interactive takes wide TP, offline takes replicas") {
  Question q("llama-3.1-8b", Precision::bf16, "8 h100");
  q.request.objective = Objective::latency;
  CHECK(q.plan().layouts[0].tp == 8);
  q.request.objective = Objective::throughput;
  const Plan offline = q.plan();
  CHECK(offline.layouts[0].tp == 1);
  CHECK(offline.layouts[0].dp == 8);
  CHECK(contains(q.find(offline, 8, 1)->reason, "llama-3.1-8b fits 1 device: 8 replicas give"));
}

TEST_CASE("a layout that is better by less than its stages must gain is refused in these words, not as a slower one") {
  Question q("llama-3.1-405b", Precision::fp8, "2 hosts x 8 h100");
  const Plan plan = q.plan();
  const LayoutPlan& best = plan.layouts[0];
  int better = 0;
  for (const LayoutPlan& l : plan.layouts) {
    CAPTURE(l.reason);
    const bool preferred = contains(l.reason, " % better") && contains(l.reason, " preferred");
    if (l.fits) CHECK(preferred == (l.tokens_per_s > best.tokens_per_s * 1.005));
    better += preferred;
  }
  CHECK(better > 0);
  CHECK(contains(best.reason, " % of the most tokens a second of those that fit, and simpler than what is better: "));
}

TEST_CASE("a reason has the figure that decided, and words") {
  Question q("llama-3.1-70b", Precision::bf16, "2 hosts x 8 h100");
  q.request.rate = 3;
  CHECK(contains(q.find(q.plan(), 4, 1)->reason, "768 tok/s, TP 2 x DP 8 768: no better; narrower TP preferred"));
  q.request.objective = Objective::cost, q.request.gpu_hour = 3;
  CHECK(q.find(q.plan(), 4, 1)->reason ==
        "more devices than the rate needs; cost of a million tokens 4.34 on 4 devices, TP 2 2.17 on 2 devices");
  q.request.rate = 0;
  CHECK(contains(q.find(q.plan(), 8, 1)->reason, "; cost of a million tokens "));
}

TEST_CASE("weights that do not fit, and a cache that does not, are told apart with their figures") {
  Question q("llama-3.1-70b", Precision::bf16, "8 h100");
  q.request.context = 8192, q.request.batch = 24;
  const Plan plan = q.plan();
  CHECK(contains(q.find(plan, 1, 1)->reason, "weights do not fit: 141.1 GB of them"));
  CHECK(q.find(plan, 1, 1)->limiting_factor == "weights do not fit");
  CHECK(!q.find(plan, 2, 1)->fits);
  CHECK(contains(q.find(plan, 2, 1)->reason, "weights fit, KV for 24 x 8192 does not: 32.2 GB needed, "));
  CHECK(q.find(plan, 2, 1)->limiting_factor == "KV cache");
  CHECK(q.find(plan, 4, 1)->fits);
}

TEST_CASE("of weights that do not fit the times are those of the batch that was asked for, beside the others'") {
  Question q("llama-3.1-70b", Precision::bf16, "8 h100");
  q.request.batch = 16, q.request.context = q.request.position = 2048;
  const Plan plan = q.plan();
  const LayoutPlan* one = q.find(plan, 1, 1);
  REQUIRE(one);
  CHECK(!one->fits);
  CHECK(one->tokens_per_s == 0);
  CHECK(one->bound_decode_ms == doctest::Approx(44.7).epsilon(0.01));  // the published arithmetic, of 16 sequences
  CHECK(one->performance.decode_ms >= one->bound_decode_ms);
}

TEST_CASE("TP over PCIe is refused in the words of its all-reduce") {
  Question q("llama-3.1-70b", Precision::fp8, "8 l40s");
  const Plan plan = q.plan();
  CHECK(plan.layouts[0].tp < 8);
  CHECK(contains(q.find(plan, 8, 1)->reason, "TP 8 on PCIe: all-reduce is "));
}

TEST_CASE("figures that are small keep their digits") {
  CHECK(short_number(1977.6) == "1978");
  CHECK(short_number(9.96) == "10");
  CHECK(short_number(3.14) == "3.1");
  CHECK(short_number(0.0123) == "0.012");
  CHECK(short_number(0) == "0");
  Question q("llama-2-7b", Precision::bf16, "8 hosts x 1 raspberry-pi-4");
  q.request.slo_ttft_ms = 0.5;
  CHECK(contains(q.plan().layouts.front().reason, " ms, 0.5 wanted"));
  q.request.slo_ttft_ms = 0, q.request.rate = 25;
  CHECK(contains(q.plan().layouts.front().reason, "25 requests/s wanted, 0.0"));
}

TEST_CASE("one layout that is asked for is the only one; one that cannot be is refused with the arithmetic") {
  Question q("llama-3.1-70b", Precision::fp8, "8 h100");
  q.request.degrees = {2, 2, 1};
  const Plan plan = q.plan();
  REQUIRE(plan.layouts.size() == 1);
  CHECK(plan.layouts[0].devices() == 4);
  q.request.degrees.dp = 4;
  CHECK(contains(testkit::error_of([&] { q.plan(); }),
                 "78: tp 2 x pp 2 x dp 4 = 16 devices; 1 host x 8 h100 nvswitch has 8"));
  q.request = {.degrees = {.tp = 64}, .input_tokens = 1, .output_tokens = 1, .context = 2, .position = 1};
  CHECK(contains(testkit::error_of([&] { q.plan(); }), "has 32 units"));
  q.request.degrees.tp = 1, q.request.degrees.pp = 81;
  CHECK(contains(testkit::error_of([&] { q.plan(); }), "has 80 layers"));
}

TEST_CASE("this engine takes uneven widths that others do not") {
  Question other("smollm2-135m", Precision::bf16, "6 h100"), own("smollm2-135m", Precision::bf16, "6 h100", "trireme");
  CHECK(other.find(other.plan(), 2, 1) == nullptr);  // 9 heads
  CHECK(own.find(own.plan(), 2, 1) != nullptr);
}

TEST_CASE("the questions that everybody asks are answered") {
  Question q("llama-3.1-70b", Precision::bf16, "2 hosts x 8 h100");
  std::string all;
  for (const std::string& line : give_advice(q.plan(), q.whole())) all += line + "\n";
  CHECK(contains(all, "smallest that fits: TP 2"));
  CHECK(contains(all, "at fp8 it fits "));
  CHECK(contains(all, "over hosts: TP 8 x PP 2 takes "));
  CHECK(contains(all, "interactive, one user a replica: TP "));
}

TEST_CASE("ranks divide a host's CPUs: every number of them that divides its cores, each layout once") {
  Question q("llama-3.2-1b", Precision::int8, "2 hosts x 1 epyc-9654", "trireme");
  q.cluster.cores = 12, q.cluster.reach = TpReach::all_of(12);
  const Plan plan = q.plan();
  std::set<std::tuple<int, int, int>> seen;
  std::set<int> ranks;
  for (const LayoutPlan& l : plan.layouts) {
    CAPTURE(layout_name(l));
    CHECK(seen.emplace(l.tp, l.pp, l.dp).second);
    ranks.insert(l.devices());
    CHECK(l.memory.device_bytes == doctest::Approx(q.cluster.device.memory_bytes * 2 / l.devices()));
  }
  CHECK(ranks == std::set<int>{2, 4, 6, 8, 12, 24});
  q.request.degrees = {3, 1, 2};
  CHECK(q.plan().layouts.size() == 1);
  q.request.degrees.dp = 9;
  CHECK(contains(testkit::error_of([&] { q.plan(); }), "= 27 ranks, which want a core each; "));
}

TEST_CASE("what is preferred is what the chosen one has: of replicas that do alike, fewer") {
  Question q("smollm2-135m", Precision::bf16, "2 epyc-9654");
  q.cluster.cores = 192, q.cluster.reach = TpReach::all_of(192);
  const Plan plan = q.plan();
  const LayoutPlan& best = plan.layouts.front();
  int fewer = 0, more = 0;  // replicas than the best one's, of layouts that are no better
  for (const LayoutPlan& l : plan.layouts) {
    CAPTURE(layout_name(l));
    CAPTURE(l.reason);
    if (!contains(l.reason, ": no better") || l.tp > best.tp || l.pp > best.pp) continue;
    CHECK(contains(l.reason, "fewer replicas preferred") == (l.dp > best.dp));
    ++(l.dp > best.dp ? more : fewer);
  }
  CHECK(fewer > 0);
  CHECK(more > 0);
}

TEST_CASE("a layout of ranks that is asked for need not divide the cores: alone it may leave some idle") {
  Question q("llama-3.2-1b", Precision::int8, "2 hosts x 1 epyc-9654", "trireme");
  q.cluster.cores = 8, q.cluster.reach = TpReach::all_of(8);
  for (const Degrees& d : {Degrees{1, 1, 1}, Degrees{3, 1, 1}, Degrees{1, 5, 1}, Degrees{7, 1, 2}}) {
    CAPTURE(degrees_name(d));
    q.request.degrees = d;
    const Plan plan = q.plan();
    REQUIRE(plan.layouts.size() == 1);
    const LayoutPlan& l = plan.layouts[0];
    CHECK(l == d);
    const int of_host = (l.devices() + 1) / 2;
    CHECK(l.memory.device_bytes == doctest::Approx(q.cluster.device.memory_bytes / of_host));
  }
}

TEST_CASE("a part of a layout of ranks that is asked for is taken with every number of them that it fills") {
  Question q("llama-3.2-1b", Precision::int8, "2 hosts x 1 epyc-9654", "trireme");
  q.cluster.cores = 8, q.cluster.reach = TpReach::all_of(8);
  for (int Degrees::*degree : {&Degrees::tp, &Degrees::pp, &Degrees::dp}) {
    q.request.degrees = {};
    q.request.degrees.*degree = 3;
    std::set<std::tuple<int, int, int>> seen;
    std::set<int> ranks;
    for (const LayoutPlan& l : q.plan().layouts) {
      CAPTURE(layout_name(l));
      CHECK(seen.emplace(l.tp, l.pp, l.dp).second);
      CHECK(l.*degree == 3);
      ranks.insert(l.devices());
    }
    CHECK(ranks == std::set<int>{6, 12});
  }
  q.cluster.hosts = 3, q.cluster.cores = 2, q.cluster.reach = TpReach::all_of(2);
  q.request = {.degrees = {.tp = 4}, .input_tokens = 1, .output_tokens = 1, .context = 2, .position = 1};
  CHECK(contains(testkit::error_of([&] { q.plan(); }),
                 "78: tp 4 x pp 1 x dp 1 = 4 ranks: no layout of so many or a multiple uses 3 hosts x 2 cores "));
  CHECK(contains(testkit::error_of([&] { q.plan(); }), "; --tp 4 --pp 1 --dp 1 takes no more ranks than these"));
  q.request.degrees.pp = q.request.degrees.dp = 1;
  CHECK(q.plan().layouts.size() == 1);
}

TEST_CASE("TP groups that a request leaves no even width are refused with what they must divide") {
  Question q("smollm2-135m", Precision::bf16, "2 hosts x 1 epyc-9654");
  q.cluster.cores = 8, q.cluster.reach = TpReach::all_of(8);
  q.request.degrees.pp = q.request.degrees.dp = 1;  // so TP over both hosts, of 9 heads
  CHECK(contains(testkit::error_of([&] { q.plan(); }), "78: tp 1 x pp 1 x dp 1 = 1 rank: "));
  CHECK(
      contains(testkit::error_of([&] { q.plan(); }), " and divide 9 heads, at most 30 stages); --tp 1 --pp 1 --dp 1 "));
}

TEST_CASE("ranks of one host cost what their host does; all that it has are started, and hosts are saved") {
  Question q("llama-3.2-1b", Precision::int8, "4 hosts x 1 epyc-9654", "trireme");
  q.cluster.cores = 4, q.cluster.reach = TpReach::all_of(4);
  q.request.objective = Objective::cost;
  for (const LayoutPlan& l : q.plan().layouts) {
    CAPTURE(layout_name(l));
    CHECK(l.cost_per_million == doctest::Approx(4 / l.tokens_per_s * 1e6 / 3600));
  }
  q.request.rate = 0.01;
  std::set<std::tuple<int, int, int>> seen;
  for (const LayoutPlan& l : q.plan().layouts) {
    CAPTURE(layout_name(l));
    CHECK(seen.emplace(l.tp, l.pp, l.dp).second);
    if (l.tp == 1 && l.pp == 1) CHECK((l.dp == 1 || l.dp == 8 || l.dp == 16));
  }
}

TEST_CASE("of ranks that divide a host's CPUs it is said what holds for them, not how few fit") {
  Question q("llama-3.2-1b", Precision::bf16, "2 hosts x 1 epyc-9654", "trireme");
  q.cluster.cores = 12, q.cluster.reach = TpReach::all_of(12);
  const Plan plan = q.plan();
  std::string all, over_hosts;
  for (const std::string& line : give_advice(plan, q.whole())) {
    all += line + "\n";
    if (line.starts_with("over hosts: ")) over_hosts = line;
  }
  CHECK(!contains(all, "smallest that fits"));
  CHECK(!contains(all, "devices"));
  CHECK(contains(all, "at int8 it fits; "));
  CHECK(contains(over_hosts, "PP 2 takes "));  // a stage on each host
  CHECK(!contains(over_hosts, "DP"));          // replicas pass nothing between hosts
  const auto name_of_best = [&](Objective objective) {
    q.request.objective = objective;
    return layout_name(q.plan().layouts[0]);
  };
  CHECK(contains(all, "interactive, one user a replica: " + name_of_best(Objective::latency) + ", "));
  CHECK(contains(all, "offline: " + name_of_best(Objective::throughput) + ", "));
}

TEST_CASE(
    "a rank that has a part of the cores has that part of their speed, and one that shares them with more threads "
    "less") {
  Question q("llama-3.2-1b", Precision::int8, "1 epyc-9654", "trireme");
  q.cluster.cores = 16, q.cluster.reach = TpReach::all_of(16);
  const Cluster four = q.cluster.divided(4), starved = q.cluster.divided(4, 2), uneven = q.cluster.divided(3);
  CHECK(four.size() == 4);
  CHECK(four.device.share == 0.25);
  CHECK(four.device.memory_bytes_per_s == doctest::Approx(q.cluster.device.memory_bytes_per_s / 4));
  CHECK(starved.device.share == 0.125);
  CHECK(uneven.device.share == doctest::Approx(5.0 / 16));
  CHECK(four.divided(2).size() == 4);  // it is divided
  CHECK(Cluster::parse("4 h100").divided(2).size() == 4);
}

TEST_CASE("of layouts that are given one is chosen; few documents want few replicas") {
  Question q("llama-3.1-8b", Precision::bf16, "8 h100");
  const Degrees choices[] = {{1, 1, 8}, {8, 1, 1}};
  const auto best = [&] {
    const Plan plan = plan_layouts(q.whole(), choices);
    REQUIRE(plan.layouts.size() == 2);
    return plan.layouts[0];
  };
  CHECK(best().dp == 8);
  q.request.documents = 1;
  CHECK(best().tp == 8);
}

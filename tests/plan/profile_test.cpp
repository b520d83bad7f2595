#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "plan/engine_profile.h"
#include "plan/profiles.h"
#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;

TEST_CASE("embedded profiles are whole, and physical") {
  for (const EmbeddedProfile& embedded : embedded_profiles()) {
    CAPTURE(embedded.name);
    const EngineProfile p = get_engine_profile(embedded.name);
    CHECK(p.name == embedded.name);
    for (double share : {p.weight_share, p.weight_share_8, p.weight_share_4, p.kv_share, p.flops_share, p.flops_share_8,
                         p.cache_share, p.host_cache_share}) {
      CHECK(share > 0);
      CHECK(share <= 1);
    }
    CHECK(p.overlap >= 1);
    CHECK(p.sum_bytes == (p.own() ? 4 : 2));
  }
}

TEST_CASE("a profile that lacks something is refused by name") {
  CHECK(contains(testkit::error_of([] { get_engine_profile("vllm"); }),
                 "64: there is no engine profile 'vllm'; there are published, trireme"));
  nlohmann::json json = nlohmann::json::parse(embedded_profiles()[0].json);
  json["constants"].erase("layer_us");
  CHECK(contains(testkit::error_of([&] { EngineProfile::parse(json, "x"); }),
                 "65: engine profile x: there is no field \"layer_us\""));
  json["constants"]["layer_us"] = -1;
  CHECK(contains(testkit::error_of([&] { EngineProfile::parse(json, "x"); }),
                 "\"layer_us\" must be a number of at least 0"));
  json["memory"]["drops_unseen"] = 1;
  CHECK(
      contains(testkit::error_of([&] { EngineProfile::parse(json, "x"); }), "\"drops_unseen\" must be true or false"));
}

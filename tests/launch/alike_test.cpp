#include "launch/alike.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace trireme;
using Traits = nlohmann::ordered_json;

namespace {

Traits traits(std::vector<std::string> given, const std::string& host = "n1") {
  given.insert(given.begin(), {"run", "input"});
  Traits rank = {{"host", host}, {"program", "1.0"}, {"model", "5ca1ab1e"}};
  rank.update(option_traits(with_texts(parse_options(given, {}))));
  return rank;
}

}  // namespace

TEST_CASE("ranks that have the same on other hosts are alike; one alone is") {
  CHECK(first_difference({traits({"--seed", "3"}), traits({"--seed", "3"}, "n2")}) == "");
  CHECK(first_difference({traits({})}) == "");
}

TEST_CASE("the first rank that differs is named, with what it has and what rank 0 has") {
  CHECK(first_difference({traits({}), traits({}), traits({"--numerics", "exact"}, "n2"), traits({"--seed", "1"})}) ==
        "rank 2 on n2 has --numerics 'exact', rank 0 on n1 'standard'");
  Traits other = traits({}, "n2");
  other["model"] = "deadbeef";
  CHECK(first_difference({traits({}), other}) == "rank 1 on n2 has model 'deadbeef', rank 0 on n1 '5ca1ab1e'");
}

TEST_CASE("whatever shapes results or the layout is compared") {
  for (const std::vector<std::string>& given : std::vector<std::vector<std::string>>{{"--tp", "2"},
                                                                                     {"--threads", "2"},
                                                                                     {"--device", "cuda"},
                                                                                     {"--max-tokens", "5"},
                                                                                     {"--temperature", "0.5"},
                                                                                     {"--stop", "a", "--stop", "b"},
                                                                                     {"--ignore-eos"},
                                                                                     {"--logprobs", "0"},
                                                                                     {"--digest"},
                                                                                     {"--system", "Be kind."},
                                                                                     {"--kv-blocks", "8"}})
    CHECK_MESSAGE(first_difference({traits({}), traits(given)}).find(given[0]) != std::string::npos, given[0]);
}

TEST_CASE("what rank 0 alone does, or each rank for itself, may differ") {
  CHECK(first_difference({traits({"--output", "a", "--restart"}), traits({"--log-level", "error"})}) == "");
  CHECK(first_difference({traits({"--nccl", "/opt/a.so", "--kv-gib", "2"}), traits({"--kv-gib", "4"})}) == "");
}

TEST_CASE("long texts and line ends do not break the line") {
  const std::string text =
      first_difference({traits({"--system", "a\nb"}), traits({"--system", std::string(100, 'x')})});
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.size() < 120);
}

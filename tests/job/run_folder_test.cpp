#include "job/run_folder.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "job/corpus.h"
#include "job/status.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

Manifest manifest(int64_t max_tokens = 256) {
  return {{{"input", {{"rows", 3}, {"digest", "ab"}}}, {"options", {{"max_tokens", max_tokens}}}},
          {{"layout", "1x1x1"}}};
}

template <typename Action>
std::pair<ExitCode, std::string> fault_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ExitCode::done, ""};
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

// A run from its start to its end.
void run(const std::string& out) {
  RunFolder folder(out);
  folder.begin(manifest(), false);
  replace_file(out, "result\n");
  folder.write_status({{"state", "done"}, {"exit_code", 0}}, Durable::yes);
}

}  // namespace

TEST_CASE("a fresh run, an interrupted one, a complete one, another one") {
  testkit::TempFolder temp;
  std::string out = temp / "out.jsonl";
  CHECK(RunFolder(out).identity().is_null());
  CHECK(RunFolder(out).begin(manifest(), false) == RunFolder::Start::fresh);
  CHECK(RunFolder(out).identity()["options"]["max_tokens"] == 256);
  CHECK(RunFolder(out).begin(manifest(), false) == RunFolder::Start::started_over);
  run(out);
  CHECK(RunFolder(out).begin(manifest(), false) == RunFolder::Start::already_complete);
  CHECK(RunFolder(out).status()->at("exit_code") == 0);

  auto [code, text] = fault_of([&] { RunFolder(out).begin(manifest(9), false); });
  CHECK(code == ExitCode::configuration);
  CHECK(has(text, "options.max_tokens: 256 before, 9 now"));
  CHECK(has(text, "--restart"));
  CHECK_FALSE(has(text, "input"));

  CHECK(RunFolder(out).begin(manifest(9), true) == RunFolder::Start::fresh);
  CHECK(read_whole_file(out) == "result\n");  // until the new one is whole
  CHECK_FALSE(RunFolder(out).status());
}

TEST_CASE("what the manifest tells people does not decide") {
  testkit::TempFolder temp;
  run(temp / "out");
  Manifest other = manifest();
  other.about["layout"] = "2x2x1";
  CHECK(RunFolder(temp / "out").begin(other, false) == RunFolder::Start::already_complete);
}

TEST_CASE("a complete run whose output is gone runs again") {
  testkit::TempFolder temp;
  run(temp / "out");
  std::filesystem::remove(temp / "out");
  CHECK(RunFolder(temp / "out").begin(manifest(), false) == RunFolder::Start::started_over);
}

TEST_CASE("outputs that are refused") {
  testkit::TempFolder temp;
  auto foreign = fault_of([&] { RunFolder(temp.put("foreign", "someone's")); });
  CHECK(foreign.first == ExitCode::cannot_create);
  CHECK(read_whole_file(temp / "foreign") == "someone's");
  CHECK_FALSE(std::filesystem::exists(temp / "foreign.run"));
  CHECK(fault_of([] { RunFolder("-"); }).first == ExitCode::usage);
  CHECK(fault_of([&] { RunFolder(temp / "no/such/folder/out"); }).first == ExitCode::cannot_create);
}

TEST_CASE("one job at a time; the holder is named; its end frees the folder") {
  testkit::TempFolder temp;
  {
    RunFolder first(temp / "out");
    auto [code, text] = fault_of([&] { RunFolder(temp / "out"); });
    CHECK(code == ExitCode::cannot_create);
    CHECK(has(text, "process " + std::to_string(::getpid())));
  }
  CHECK_NOTHROW(RunFolder(temp / "out"));
}

TEST_CASE("standard input is kept in the run folder, once the run is accepted") {
  testkit::TempFolder temp;
  auto spool = [&](RunFolder& folder, std::string_view text) {
    File input = File::open_to_read(temp.put("stdin_text", text));
    return folder.spool_stdin(input.fd());
  };
  {
    RunFolder folder(temp / "out");
    CHECK(survey_input(spool(folder, "{}\n{}\n")).rows == 2);
    folder.begin(manifest(), false);
    CHECK(read_whole_file(folder.path_of_stdin()) == "{}\n{}\n");
  }
  RunFolder folder(temp / "out");
  spool(folder, "other");
  CHECK(fault_of([&] { folder.begin(manifest(1), false); }).first == ExitCode::configuration);
  CHECK(read_whole_file(folder.path_of_stdin()) == "{}\n{}\n");
  CHECK_FALSE(std::filesystem::exists(folder.path("stdin.new")));
}

TEST_CASE("standard input of a job that was killed before its run began is nobody's") {
  testkit::TempFolder temp;
  {
    RunFolder killed(temp / "out");
    killed.spool_stdin(File::open_to_read(temp.put("stdin_text", "{}\n")).fd());
  }
  RunFolder folder(temp / "out");  // of an input that is a file
  folder.begin(manifest(), false);
  CHECK_FALSE(std::filesystem::exists(folder.path("stdin.new")));
  CHECK_FALSE(std::filesystem::exists(folder.path_of_stdin()));
}

TEST_CASE("status.json is whole, and due once a second") {
  testkit::TempFolder temp;
  RunFolder folder(temp / "out");
  folder.begin(manifest(), false);
  Status status;
  status.tally = {10, 4, 1, 100, 50};
  status.seconds = 2;
  CHECK(folder.status_due());
  folder.write_status(status.to_json(1'000'000'000), Durable::no);
  CHECK_FALSE(folder.status_due());
  auto json = *folder.status();
  CHECK(json["state"] == "running");
  CHECK(json["exit_code"].is_null());
  CHECK(json["documents_done"] == 4);
  CHECK(json["tokens_per_second"] == 75.0);
  CHECK(json["updated"] == "2001-09-09T01:46:40Z");
  CHECK(json["predicted_end"] == "2001-09-09T01:46:43Z");
  CHECK(json["memory_bytes"] > 0);
  status.state = "done";
  status.message = "a path of any bytes: \xff";
  status.exit_code = 76;
  folder.write_status(status.to_json(1'000'000'000), Durable::yes);
  CHECK((*folder.status())["exit_code"] == 76);
  CHECK((*folder.status())["message"] == "a path of any bytes: \xef\xbf\xbd");
  CHECK((*folder.status())["predicted_end"].is_null());
}

TEST_CASE("status.json says whose GPU was throttled most, and of how many ranks") {
  const auto said = [](const char* ranks) { return throttling_text(nlohmann::ordered_json::parse(ranks)); };
  CHECK(said("null") == "");
  CHECK(
      said(
          R"([{"rank": 0, "host": "n1"}, {"rank": 1, "host": "n1", "gpu": {"samples": 9, "throttled_samples": 0}}])") ==
      "");
  CHECK(
      said(
          R"([{"rank": 0, "host": "n1", "gpu": {"samples": 7, "throttled_samples": 1, "throttle_seen": "power cap"}}])") ==
      "the GPU of rank 0 on n1 was throttled in 1 of 7 samples (power cap)");
  Status status;
  status.ranks = nlohmann::ordered_json::parse(R"([{"rank": 0, "host": "n1"},
    {"rank": 1, "host": "n1", "gpu": {"samples": 9, "throttled_samples": 2, "throttle_seen": "power cap"}},
    {"rank": 2, "host": "n2", "gpu": {"samples": 9, "throttled_samples": 8, "throttle_seen": "power cap, hardware slowdown",
                                      "sm_clock_lowest_mhz": 705, "sm_clock_max_mhz": 1980}}])");
  CHECK(status.to_json(0)["gpu_throttling"] ==
        "the GPU of rank 2 on n2 was throttled in 8 of 9 samples (power cap, hardware slowdown), its SM clock down to "
        "705 MHz, of 1980 at most; of 3 ranks' GPUs 2 were");
  status.ranks = nullptr;
  CHECK_FALSE(status.to_json(0).contains("gpu_throttling"));
}

TEST_CASE("a damaged manifest or status is another run's, not a crash") {
  testkit::TempFolder temp;
  run(temp / "out");
  temp.put("out.run/status.json", "{\"state\":");
  CHECK(RunFolder(temp / "out").begin(manifest(), false) == RunFolder::Start::started_over);
  temp.put("out.run/manifest.json", "[1");
  CHECK(fault_of([&] { RunFolder(temp / "out").begin(manifest(), false); }).first == ExitCode::configuration);
}

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/error.h"
#include "job/document_reader.h"
#include "job/id_set.h"
#include "job/result_store.h"
#include "testkit/temp_folder.h"

using namespace trireme;

TEST_CASE("results come out in input order, whatever order they finished in") {
  testkit::TempFolder folder;
  std::vector<uint64_t> order(20000);
  std::iota(order.begin(), order.end(), 0);
  for (bool shuffled : {false, true}) {
    if (shuffled) std::shuffle(order.begin(), order.end(), std::mt19937(7));
    ResultStore store(folder / "part");
    // Some lines are longer than any buffer.
    auto line = [](uint64_t row) {
      return std::to_string(row) + std::string(row % 5000 == 0 ? 1'500'000 : row % 100, 'x');
    };
    for (uint64_t row : order) store.append(row, line(row));
    store.publish(folder / "out");
    std::string expected;
    for (uint64_t row = 0; row < order.size(); row++) expected += line(row) + "\n";
    CHECK(read_whole_file(folder / "out") == expected);
    CHECK(!std::filesystem::exists(folder / "out.tmp"));
    CHECK(!std::filesystem::exists(folder / "part"));  // the results take their space once
  }
}

TEST_CASE("a row is stored once, a missing one is noticed, and the old output stays until the new is whole") {
  testkit::TempFolder folder;
  folder.put("out", "old");
  ResultStore store(folder / "part");
  store.append(2, "c");
  store.append(0, "a");
  CHECK_THROWS_AS(store.append(2, "again"), Error);
  CHECK_THROWS_AS(store.append(1, "two\nlines"), Error);
  CHECK_THROWS_AS(store.publish(folder / "out"), Error);
  CHECK(read_whole_file(folder / "out") == "old");
  CHECK(std::filesystem::exists(folder / "part"));
  store.append(1, "b");
  store.publish(folder / "out");
  CHECK(read_whole_file(folder / "out") == "a\nb\nc\n");
}

TEST_CASE("memory: at most 32 bytes a row for ids and result index together") {
  testkit::TempFolder folder;
  ResultStore store(folder / "part");
  IdSet ids;
  constexpr size_t kConstant = 1 << 20;
  for (uint64_t row = 0; row < 1'000'000; row++) {
    CHECK_FALSE(!ids.insert(DocumentId{true, std::to_string(row)}.key()));
    store.append(row, "x");
    if ((row & (row + 1)) == 0 && row > 1000) {  // at the sizes where tables have just grown, or are about to
      CAPTURE(row);
      CHECK(ids.bytes() + store.index_bytes() <= kConstant + 32 * (row + 1));
    }
  }
  CHECK(ids.bytes() + store.index_bytes() <= kConstant + 32 * 1'000'000);
  MESSAGE("bytes a row: ", static_cast<double>(ids.bytes() + store.index_bytes()) / 1e6);
}

TEST_CASE("a set of ids finds every one again") {
  IdSet ids;
  for (uint64_t i = 0; i < 5000; i++) CHECK(ids.insert(i << 50));  // few tables, long probes
  for (uint64_t i = 0; i < 5000; i++) CHECK_FALSE(ids.insert(i << 50));
}

TEST_CASE("the second row with an id is an error row; types differ; line numbers count as ids") {
  testkit::TempFolder folder;
  std::string path = folder.put("in.jsonl", R"({"id":"1","text":""}
{"id":1,"text":""}
{"id":"1","text":""}
{"text":""}
{"id":4,"text":""}
{"id":"x","text":5}
{"id":"x","text":""}
not json
{"id":8,"text":""}
)");
  DocumentReader reader(Corpus::open(path));
  std::vector<std::string> codes;
  while (auto result = reader.next()) {
    auto* error = std::get_if<RowError>(&*result);
    codes.push_back(error ? error->code : "");
  }
  CHECK(codes == std::vector<std::string>{"", "", "duplicate_id", "", "duplicate_id", "bad_field", "duplicate_id",
                                          "bad_json", ""});
}

TEST_CASE("a full disk and too many open files are exit code 74, a missing folder 73, both with path and errno") {
  auto fault = [](auto action) {
    try {
      action();
    } catch (const Error& error) {
      return std::pair(error.code(), std::string(error.what()));
    }
    return std::pair(ExitCode::done, std::string());
  };
  auto full = fault([] {
    File file = File::open_or_create("/dev/full");
    file.write("x");
  });
  CHECK(full.first == ExitCode::io_error);
  CHECK(full.second.find("/dev/full: No space left on device (errno 28); free space") != std::string::npos);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 3;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  auto out_of_files = fault([] { File::create("/tmp/part"); });
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(out_of_files.first == ExitCode::io_error);  // no fault of the path
  auto missing = fault([] { ResultStore store("/nowhere/part"); });
  CHECK(missing.first == ExitCode::cannot_create);
  CHECK(missing.second.find("/nowhere/part: No such file or directory (errno 2)") != std::string::npos);
}

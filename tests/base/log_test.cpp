#include "base/log.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

using namespace trireme;

namespace {

// What `speak` writes to stderr.
template <typename Speak>
std::string heard(const Speak& speak) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const int before = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  speak();
  dup2(before, STDERR_FILENO);
  close(before);
  close(ends[1]);
  std::array<char, 4096> text{};
  const ssize_t bytes = read(ends[0], text.data(), text.size());
  close(ends[0]);
  return {text.data(), static_cast<size_t>(bytes)};
}

}  // namespace

TEST_CASE("a line names its time, rank, host and level") {
  const std::string line = heard([] { Log("info", 3).warn("step {} is slow", 17); });
  const std::string form = "dddd-dd-ddTdd:dd:dd.ddd r03/";
  for (size_t i = 0; i < form.size(); i++) {
    CAPTURE(line);
    CHECK((form[i] == 'd' ? std::isdigit(line[i]) != 0 : line[i] == form[i]));
  }
  CHECK(line.ends_with(" W step 17 is slow\n"));
}

TEST_CASE("rank 0 speaks at the level it was given, others from warnings on") {
  auto lines = [](const char* level, int rank) {
    return heard([&] {
      Log log(level, rank);
      log.info("a");
      log.warn("b");
      log.write(LogLevel::error, "c");
    });
  };
  auto count = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  CHECK(count(lines("info", 0)) == 3);
  CHECK(count(lines("warn", 0)) == 2);
  CHECK(count(lines("error", 0)) == 1);
  CHECK(count(lines("debug", 1)) == 2);
  CHECK(count(lines("error", 1)) == 1);
}

#include "checkpoint/checkpoint.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "checkpoint/sample.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

// Requests for all units, `step` at a time, in reverse; each compares what it gets and counts its units.
std::vector<Checkpoint::Request> everything(const Checkpoint& checkpoint, const Sample& sample, int step,
                                            int* consumed) {
  std::vector<Checkpoint::Request> requests;
  for (const TensorInfo& t : checkpoint.tensors())
    for (int unit = 0; unit < t.units; unit += step) {
      UnitRange units{unit, std::min(unit + step, t.units)};
      requests.push_back({&t, units, [&sample, &t, consumed](UnitRange run, auto values, auto scales, auto minimums) {
                            CHECK(text_of(values) == sample.piece(t, 0, run));
                            CHECK(text_of(scales) == sample.piece(t, 1, run));
                            CHECK(text_of(minimums) == sample.piece(t, 2, run));
                            *consumed += run.size();
                          }});
    }
  std::reverse(requests.begin(), requests.end());
  return requests;
}

std::string read_all(const std::string& path) {
  return error_of([&] {
    Checkpoint checkpoint(path);
    std::vector<Checkpoint::Request> requests;
    for (const TensorInfo& t : checkpoint.tensors()) requests.push_back({&t, {0, t.units}, [](auto...) {}});
    checkpoint.read(std::move(requests));
    checkpoint.read_blob("tokenizer.json");
    checkpoint.read_blob("chat_template.jinja");
  });
}

}  // namespace

TEST_CASE("a checkpoint gives back what was written") {
  TempFolder folder;
  Sample sample;
  sample.write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  CHECK(checkpoint.config() == sample.content.config);
  CHECK(checkpoint.unit_formula() == 1);
  CHECK(checkpoint.unit_group() == 32);
  CHECK(checkpoint.read_blob("tokenizer.json") == "{\"a\": \"ü\"}");
  CHECK(checkpoint.read_blob("empty") == "");
  CHECK(checkpoint.digest().size() == 16);
  CHECK(checkpoint.get_tensor("layers.0.mlp.down").format.has_minimum);
  CHECK(checkpoint.find_tensor("other") == nullptr);
  CHECK(contains(error_of([&] { checkpoint.get_tensor("other"); }), "65: "));
  for (int step : {1, 2, 100}) {
    int consumed = 0;
    auto requests = everything(checkpoint, sample, step, &consumed);
    int units = 0;
    for (const auto& r : requests) units += r.units.size();
    auto stats = checkpoint.read(std::move(requests));
    CHECK(consumed == units);
    CHECK(stats.bytes > 200000);
  }
  CHECK(checkpoint.read({}).bytes == 0);
}

TEST_CASE("a long request comes in pieces of whole units, in order") {
  TempFolder folder;
  Sample sample;
  sample.add("long", {}, 1000, 1000, UnitAxis::rows, 13, 80, 1000);  // 320,000 bytes a unit; a piece has 1 MiB at most
  sample.write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  const TensorInfo& t = checkpoint.get_tensor("long");
  std::vector<UnitRange> runs;
  checkpoint.read({{&t, {1, 13}, [&](UnitRange run, auto values, auto, auto) {
                      CHECK(text_of(values) == sample.piece(t, 0, run));
                      runs.push_back(run);
                    }}});
  CHECK(runs == std::vector<UnitRange>{{1, 4}, {4, 7}, {7, 10}, {10, 13}});
}

TEST_CASE("requests are consumed in the order given, and what comes after one before the next") {
  TempFolder folder;
  Sample sample;
  sample.write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  std::vector<std::string> seen, expected;
  std::vector<Checkpoint::Request> requests;
  for (size_t i = 0; i < 300; i++) {
    const TensorInfo& t = checkpoint.tensors()[i * 7 % checkpoint.tensors().size()];
    requests.push_back({&t, {0, t.units}, [&](UnitRange run, auto...) {
                          if (run.begin == 0) seen.push_back(t.name);
                        }});
    expected.push_back(t.name);
    if (i % 3 != 0) continue;
    requests.back().after = [&] { seen.push_back("after"); };
    expected.push_back("after");
  }
  checkpoint.read(std::move(requests));
  CHECK(seen == expected);
}

TEST_CASE("of several faults the first in order is told, whichever is read first") {
  TempFolder folder;
  Sample sample;
  sample.add("long", {}, 1000, 1000, UnitAxis::rows, 13, 80, 1000);  // in several batches
  sample.write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  const TensorInfo& t = checkpoint.get_tensor("long");
  std::string file = read_file(folder / "a.h5");
  file[t.parts[0].offset + 4 * t.parts[0].unit_bytes] ^= 1;
  write_file(folder / "a.h5", file.substr(0, t.parts[0].offset + 7 * t.parts[0].unit_bytes));
  for (int i = 0; i < 30; i++) {
    int consumed = 0;
    std::string text = error_of([&] {
      checkpoint.read({{&t, {0, 13}, [&](UnitRange run, auto...) { consumed += run.size(); }}});
    });
    CHECK(contains(text, "65: "));
    CHECK(contains(text, "unit 4 of long"));
    CHECK(consumed == 3);
  }
}

TEST_CASE("the same content makes the same file, at another time too") {
  TempFolder folder;
  Sample sample;
  sample.write(folder / "a.h5");
  sleep(1);
  sample.write(folder / "b.h5");
  CHECK((read_file(folder / "a.h5") == read_file(folder / "b.h5")));
}

TEST_CASE("what a consumer throws ends the read") {
  TempFolder folder;
  Sample().write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  auto throws = [](auto...) { throw std::runtime_error("enough"); };
  CHECK_THROWS_WITH(checkpoint.read({{&checkpoint.tensors()[0], {0, 1}, throws}}), "enough");
}

TEST_CASE("every flipped byte of weights, texts, index and header is found") {
  TempFolder folder;
  Sample().write(folder / "a.h5");
  const std::string valid = read_file(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  CHECK(read_all(folder / "a.h5") == "");
  auto flipped = [&](size_t at) {
    std::string file = valid;
    file[at] ^= 0x10;
    write_file(folder / "b.h5", file);
    std::string text = read_all(folder / "b.h5");
    CAPTURE(at);
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, "b.h5"));
    return text;
  };
  for (size_t at = 0; at < 500; at++) flipped(at);
  for (const TensorInfo& t : checkpoint.tensors())
    for (const TensorInfo::Part& p : t.parts) {
      if (p.unit_bytes == 0) continue;
      std::string text = flipped(p.offset + p.unit_bytes * static_cast<size_t>(t.units) - 1);
      CHECK(contains(text, fmt::format("unit {} of {}", t.units - 1, t.name)));
      CHECK(contains(text, "checksum"));
    }
}

TEST_CASE("a file cut at any place is refused") {
  TempFolder folder;
  Sample().write(folder / "a.h5");
  const std::string valid = read_file(folder / "a.h5");
  for (size_t cut = 0; cut < valid.size(); cut += valid.size() / 60 + 1) {
    write_file(folder / "b.h5", valid.substr(0, cut));
    CHECK(read_all(folder / "b.h5").starts_with("65: "));
  }
  write_file(folder / "b.h5", valid + "x");
  CHECK(contains(read_all(folder / "b.h5"), "file_bytes"));
}

TEST_CASE("a file that shrinks while it is open ends in a message") {
  TempFolder folder;
  Sample().write(folder / "a.h5");
  Checkpoint checkpoint(folder / "a.h5");
  const TensorInfo& head = checkpoint.get_tensor("head");
  REQUIRE(truncate((folder / "a.h5").c_str(), static_cast<off_t>(head.parts[0].offset) + 3) == 0);
  std::string text = error_of([&] { checkpoint.read({{&head, {0, 5}, [](auto...) {}}}); });
  CHECK(contains(text, "65: "));
  CHECK(contains(text, fmt::format("ends at byte {}", head.parts[0].offset + 3)));
}

TEST_CASE("an unfinished checkpoint leaves nothing, and a bad folder is said so") {
  TempFolder folder;
  Sample sample;
  WriterGroup group = WriterGroup::self();
  {
    CheckpointWriter writer(group, folder / "a.h5", sample.content);
    sample.write_units(writer, 0, {0, 1});
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(contains(error_of([&] { CheckpointWriter writer(group, folder / "no/a.h5", sample.content); }), "73: "));
}

TEST_CASE("two jobs that make one checkpoint at once leave each other alone: the last one's stands") {
  TempFolder folder;
  Sample sample;
  WriterGroup one = WriterGroup::self(), other = WriterGroup::self();
  CheckpointWriter first(one, folder / "a.h5", sample.content), second(other, folder / "a.h5", sample.content);
  sample.write_all(first);
  first.finish();
  CHECK(read_all(folder / "a.h5") == "");
  sample.write_all(second);
  second.finish();
  CHECK(read_all(folder / "a.h5") == "");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a checkpoint that somebody removed while it was written is not published as a piece of one") {
  TempFolder folder;
  Sample sample;
  WriterGroup group = WriterGroup::self();
  CheckpointWriter writer(group, folder / "a.h5", sample.content);
  sample.write_all(writer);
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) std::filesystem::remove(file);
  CHECK(contains(error_of([&] { writer.finish(); }), "a.h5.part-"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("ranks that write together fail together, in the words of the first") {
  WriterGroup group = WriterGroup::self();
  CHECK(error_of([&] { group.agree([] { fail(ExitCode::io_error, "disk on fire"); }); }) == "74: disk on fire");
  CHECK(error_of([&] { group.agree([] {}); }) == "");
  CHECK(error_of([&] { group.agree([] { throw std::bad_alloc(); }); }).starts_with("72: "));
}

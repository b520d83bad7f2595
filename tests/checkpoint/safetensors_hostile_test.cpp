#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "testkit/cpu_time.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/safetensors_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct Hostile {
  std::string what, file, word;  // a word that the message must have
};

// One entry of a header; `offsets` as it stands in the file.
std::string entry(const std::string& name, const std::string& type, const std::string& shape,
                  const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, type, shape, offsets);
}
std::string file_of(const std::string& entries, size_t bytes = 8) {
  return safetensors_file("{" + entries + "}", std::string(bytes, 'x'));
}
std::string of_length(uint64_t length, const std::string& rest) { return bytes_of(length) + rest; }

std::vector<Hostile> headers() {
  const std::string good = entry("a", "F32", "[2]", "[0,8]");
  std::vector<Hostile> all = {
      {"no bytes", "", "0 bytes"},
      {"nine bytes", std::string(9, 'x'), "9 bytes"},
      {"header longer than the file", of_length(1000, "{}"), "1000"},
      {"header of 100 MB and a byte", of_length(100'000'001, "{}"), "100000000 are possible"},
      {"header of 2^63", of_length(uint64_t{1} << 63, "{}"), "9223372036854775808"},
      {"header of 2^64 - 1", of_length(UINT64_MAX, "{}"), "18446744073709551615"},
      {"a header of no bytes", of_length(0, "{}"), "byte 8"},
      {"a header that is a list", safetensors_file("[1]", ""), "byte 8"},
      {"a header with a space first", safetensors_file(" {}", ""), "byte 8"},
      {"a header cut off", safetensors_file("{\"a\":", ""), "no JSON"},
      {"bytes after the header's object", safetensors_file("{} {}", ""), "no JSON"},
      {"a header that is not UTF-8", file_of("\"\xff\":{}"), "no JSON"},
      {"a name of two lines", file_of(entry("a\\nb", "F32", "[2]", "[0,8]")), "\"a\\nb\", with a control character"},
      {"a name twice", file_of(good + "," + good), "\"a\" twice"},
      {"__metadata__ twice", file_of(R"("__metadata__":{},"__metadata__":{},)" + good), "twice"},
      {"__metadata__ with a list", file_of(R"("__metadata__":{"x":[]},)" + good), "list"},
      {"__metadata__ with an object", file_of(R"("__metadata__":{"x":{}},)" + good), "object"},
      {"__metadata__ that is a text", file_of(R"("__metadata__":"x",)" + good), "text"},
      {"a tensor that is a number", file_of("\"a\":5"), "number"},
      {"a tensor that is null", file_of("\"a\":null"), "null"},
      {"a tensor without dtype", file_of(R"("a":{"shape":[2],"data_offsets":[0,8]})"), "no dtype"},
      {"a tensor without shape", file_of(R"("a":{"dtype":"F32","data_offsets":[0,8]})"), "no shape"},
      {"a tensor without data_offsets", file_of(R"("a":{"dtype":"F32","shape":[2]})"), "no data_offsets"},
      {"a field of its own", file_of(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"), "field \"x\""},
      {"a field twice", file_of(R"("a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]})"),
       "dtype twice"},
      {"an unknown dtype", file_of(entry("a", "F31", "[2]", "[0,8]")), "F31"},
      {"a dtype in lower case", file_of(entry("a", "f32", "[2]", "[0,8]")), "f32"},
      {"a dtype that is a number", file_of(R"("a":{"dtype":32,"shape":[2],"data_offsets":[0,8]})"), "number"},
      {"a shape of texts", file_of(entry("a", "F32", "[\"2\"]", "[0,8]")), "text"},
      {"a shape of shapes", file_of(entry("a", "F32", "[[2]]", "[0,8]")), "list"},
      {"a negative side", file_of(entry("a", "F32", "[-2]", "[0,8]")), "negative"},
      {"a broken side", file_of(entry("a", "F32", "[2.0]", "[0,8]")), "2.0"},
      {"a side of 2^63", file_of(entry("a", "F32", "[9223372036854775808]", "[0,8]")), "2^63"},
      {"17 dimensions", file_of(entry("a", "F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,8]")), "dimensions"},
      {"a shape whose product overflows", file_of(entry("a", "F32", "[4294967296,4294967296,2]", "[0,8]")), "2^64"},
      {"bits whose product overflows", file_of(entry("a", "F32", "[1152921504606846976]", "[0,8]")), "2^64"},
      {"a product that wraps to the span", file_of(entry("a", "F32", "[4611686018427387906]", "[0,8]")), "2^64"},
      {"a shape larger than its span", file_of(entry("a", "F32", "[3]", "[0,8]")), "span 8"},
      {"a shape smaller than its span", file_of(entry("a", "F16", "[2]", "[0,8]")), "span 8"},
      {"half a byte", file_of(entry("a", "F4", "[15]", "[0,8]")), "span 8"},
      {"one offset", file_of(entry("a", "F32", "[2]", "[0]")), "no two data_offsets"},
      {"three offsets", file_of(entry("a", "F32", "[2]", "[0,8,9]")), "more than two"},
      {"a negative offset", file_of(entry("a", "F32", "[2]", "[-8,0]")), "negative"},
      {"end before begin", file_of(entry("a", "F32", "[2]", "[8,0]")), "before its begin"},
      {"offsets past the file", file_of(entry("a", "F32", "[2]", "[0,8]"), 7), "cut off"},
      {"offsets at 2^62", file_of(entry("a", "F32", "[2]", "[4611686018427387904,4611686018427387912]")), "hole"},
      {"a hole before the first tensor", file_of(entry("a", "F32", "[2]", "[4,12]"), 12), "hole"},
      {"a hole between", file_of(good + "," + entry("b", "F32", "[1]", "[12,16]"), 16), "hole"},
      {"an overlap", file_of(good + "," + entry("b", "F32", "[2]", "[4,12]"), 12), "inside another"},
      {"the same bytes twice", file_of(good + "," + entry("b", "F32", "[2]", "[0,8]")), "inside another"},
      {"bytes after the last tensor", file_of(good, 9), "end at byte"},
      {"bytes and no tensor", file_of("", 1), "end at byte"},
      {"a name of 10 MB", file_of(entry(std::string(10'000'000, 'n'), "F32", "[2]", "[0,8]")), "10000000 bytes"}};
  std::string deep = R"("__metadata__":)";
  for (int i = 0; i < 100'000; i++) deep += R"({"x":)";
  all.push_back({"100,000 objects in __metadata__", file_of(deep), "object"});
  all.push_back({"a shape 100,000 lists deep", file_of("\"a\":{\"shape\":" + std::string(100'000, '[')), "list"});
  std::string many;
  for (int i = 0; i < 1'000'000; i++)
    many += fmt::format("{}{}", i ? "," : "", entry(fmt::format("{}", i), "U8", "[0]", "[0,0]"));
  all.push_back({"1,000,000 tensors", file_of(many, 0), "131072"});
  return all;
}

std::string opened(const std::string& path) {
  return error_of([&] { Safetensors file(path); });
}

}  // namespace

TEST_CASE("a safetensors file that lies is refused, rule by rule, in little time and memory") {
  TempFolder folder;
  for (const Hostile& hostile : headers()) {
    CAPTURE(hostile.what);
    write_file(folder / "h.safetensors", hostile.file);
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const double start = cpu_seconds();
    const std::string text = opened(folder / "h.safetensors");
    CHECK(cpu_seconds() - start < kNotQuadratic);
    getrusage(RUSAGE_SELF, &after);
    CHECK(after.ru_maxrss - before.ru_maxrss < 200 * 1024);  // KiB
    CAPTURE(text);
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, "h.safetensors"));
    CHECK(contains(text, hostile.word));
    CHECK(text.size() < 1000);
  }
}

TEST_CASE("what the format allows is read") {
  TempFolder folder;
  SafetensorsWriter w;
  w.tensor("last", "F32", {2, 3}, std::string(24, 'a'))
      .tensor("empty", "F16", {0, 5}, "")
      .tensor("one", "I64", {}, std::string(8, 'b'))
      .tensor("first", "F8_E4M3", {2, 2, 2}, std::string(8, 'c'))
      .tensor("nibbles", "F4", {6}, std::string(3, 'd'));
  write_file(folder / "a.safetensors", w.build());
  const Safetensors file(folder / "a.safetensors");
  REQUIRE(file.tensors().size() == 5);
  const SafetensorsTensor& one = file.tensors()[2];
  CHECK(one.name == "one");
  CHECK(one.shape.empty());
  CHECK(one.bytes == 8);
  std::byte first{};
  file.file().read(one.offset, {&first, 1}, "value");
  CHECK(first == std::byte{'b'});
  write_file(folder / "b.safetensors", safetensors_file("{}      ", ""));  // padded with spaces, no tensors
  CHECK(Safetensors(folder / "b.safetensors").tensors().empty());
  write_file(
      folder / "c.safetensors",  // names in another order than bytes
      safetensors_file("{" + entry("b", "U8", "[2]", "[3,5]") + "," + entry("a", "U8", "[3]", "[0,3]") + "}", "aaabb"));
  CHECK(Safetensors(folder / "c.safetensors").tensors()[0].name == "a");
}

TEST_CASE("a safetensors file cut at any byte, or damaged at random, ends in a message") {
  TempFolder folder;
  SafetensorsWriter w;
  w.tensor("a", "F32", {4}, std::string(16, 'a')).tensor("b", "BF16", {2, 2}, std::string(8, 'b'));
  const std::string valid = w.build();
  for (size_t cut = 0; cut < valid.size(); cut++) {
    write_file(folder / "a.safetensors", valid.substr(0, cut));
    CHECK(opened(folder / "a.safetensors").starts_with("65: "));
  }
  uint64_t state = 12345;
  auto random = [&state](uint64_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % below;
  };
  for (int round = 0; round < 2000; round++) {
    std::string file = valid;
    for (uint64_t i = 0, flips = 1 + random(3); i < flips; i++)
      file[random(valid.size() - 24)] = static_cast<char>(random(256));
    write_file(folder / "a.safetensors", file);
    const std::string text = opened(folder / "a.safetensors");
    CHECK((text.empty() || text.starts_with("65: ")));
  }
}

TEST_CASE("a file that shrinks while it is open ends in a message") {
  TempFolder folder;
  write_file(folder / "a.safetensors", SafetensorsWriter().tensor("a", "F32", {4}, std::string(16, 'a')).build());
  const Safetensors file(folder / "a.safetensors");
  REQUIRE(truncate((folder / "a.safetensors").c_str(), static_cast<off_t>(file.tensors()[0].offset) + 5) == 0);
  std::byte values[16];
  const std::string text = error_of([&] { file.file().read(file.tensors()[0].offset, values, "a"); });
  CHECK(contains(text, fmt::format("ends at byte {}", file.tensors()[0].offset + 5)));
}

namespace {

// A folder of two shards and its index, whose text a test may change.
struct Sharded {
  TempFolder folder;
  const std::string one = "model-00001-of-00002.safetensors", two = "model-00002-of-00002.safetensors";
  Sharded() {
    folder.put(one, SafetensorsWriter().tensor("a", "U8", {1}, "a").tensor("b", "U8", {1}, "b").build());
    folder.put(two, SafetensorsWriter().tensor("c", "U8", {1}, "c").build());
    index(map({{"a", one}, {"b", one}, {"c", two}}));
  }
  void index(const std::string& text) { folder.put("model.safetensors.index.json", text); }
  static std::string map(const std::vector<std::pair<std::string, std::string>>& entries) {
    std::string text;
    for (auto& [name, file] : entries) text += fmt::format(R"({}"{}":"{}")", text.empty() ? "" : ",", name, file);
    return R"({"metadata":{"total_size":3},"weight_map":{)" + text + "}}";
  }
  std::string opened(bool follow_links = false) {
    return error_of([&] { open_safetensors(folder.path().string(), follow_links); });
  }
};

}  // namespace

TEST_CASE("an index is held against its shards, rule by rule") {
  Sharded s;
  CHECK(s.opened() == "");
  struct Case {
    const char* what;
    std::string index;
    const char* word;
  };
  const std::vector<Case> cases = {
      {"no JSON", "{", "no JSON"},
      {"NaN", R"({"weight_map":NaN})", "no JSON"},
      {"a list", "[]", "expected an object"},
      {"no weight_map", "{}", "weight_map"},
      {"a weight_map that is a list", R"({"weight_map":[]})", "weight_map"},
      {"an empty weight_map", R"({"weight_map":{}})", "weight_map"},
      {"nested 100,000 deep", std::string(100'000, '['), "nested"},
      {"a path above", s.map({{"a", "../../etc/passwd"}}), "expected a name"},
      {"a path above a shard", s.map({{"a", "../model.safetensors"}}), "expected a name"},
      {"an absolute path", s.map({{"a", "/etc/model.safetensors"}}), "expected a name"},
      {"a path below", s.map({{"a", "x/model.safetensors"}}), "expected a name"},
      {"a NUL in a name", s.map({{"a", "x\\u0000.safetensors"}}), "expected a name"},
      {"a hidden file", s.map({{"a", ".safetensors"}}), "expected a name"},
      {"another kind of file", s.map({{"a", "config.json"}}), "expected a name"},
      {"a shard that is a number", R"({"weight_map":{"a":1}})", "expected a name"},
      {"a shard that is not there", s.map({{"a", s.one}, {"b", s.one}, {"c", "model-00003-of-00002.safetensors"}}),
       "00003"},
      {"a tensor in another shard", s.map({{"a", s.one}, {"b", s.two}, {"c", s.two}}), "gives to"},
      {"a tensor in no shard", s.map({{"a", s.one}, {"b", s.one}, {"c", s.two}, {"d", s.two}}),
       "tensor \"d\" is not in it"},
      {"a tensor that the index does not list", s.map({{"a", s.one}, {"c", s.two}}), "does not list"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    s.index(c.index);
    const std::string text = s.opened();
    CAPTURE(text);
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, c.word));
  }
  s.index(s.map({{"a", s.one}, {"b", s.one}, {"c", s.two}}));
  s.folder.put(s.two, SafetensorsWriter().tensor("c", "U8", {1}, "c").tensor("a", "U8", {1}, "a").build());
  CHECK(contains(s.opened(), "has the tensor \"a\", which"));  // in two shards
}

TEST_CASE("an index of a million entries is refused at once") {
  Sharded s;
  std::vector<std::pair<std::string, std::string>> entries;
  for (int i = 0; i < 1'000'000; i++) entries.push_back({fmt::format("t{}", i), s.one});
  s.index(s.map(entries));
  const double start = cpu_seconds();
  CHECK(s.opened().starts_with("65: "));
  CHECK(cpu_seconds() - start < kNotQuadratic);
}

TEST_CASE("links lead to the folder or to the blobs of a cache, pipes and devices nowhere") {
  namespace fs = std::filesystem;
  Sharded s;
  TempFolder outside;
  fs::rename(s.folder / s.two, outside / "moved.safetensors");
  fs::create_symlink(outside / "moved.safetensors", s.folder / s.two);
  CHECK(contains(s.opened(), "outside its folder"));
  CHECK(s.opened(true) == "");
  fs::remove(s.folder / s.two);
  fs::create_symlink(s.two, s.folder / s.two);
  CHECK(contains(s.opened(), "leads nowhere"));  // to itself
  fs::remove(s.folder / s.two);
  fs::copy(outside / "moved.safetensors", s.folder / "real.safetensors");
  fs::create_symlink("real.safetensors", s.folder / s.two);
  CHECK(s.opened() == "");
  fs::remove(s.folder / s.two);
  REQUIRE(mkfifo((s.folder / s.two).c_str(), 0600) == 0);
  CHECK(contains(s.opened(), "regular file"));
  fs::remove(s.folder / s.two);
  fs::create_symlink("/dev/zero", s.folder / s.two);
  CHECK(contains(s.opened(), "outside its folder"));
  CHECK(contains(s.opened(true), "regular file"));

  const std::string snapshot = outside / "models--x/snapshots/0123";
  fs::create_directories(snapshot);
  outside.put("models--x/blobs/abc", SafetensorsWriter().tensor("a", "U8", {1}, "a").build());
  fs::create_symlink("../../blobs/abc", snapshot + "/model.safetensors");
  CHECK(error_of([&] { CHECK(open_safetensors(snapshot, false)[0].tensors().size() == 1); }) == "");
  fs::remove(snapshot + "/model.safetensors");
  fs::create_symlink("../../../moved.safetensors", snapshot + "/model.safetensors");
  CHECK(contains(error_of([&] { open_safetensors(snapshot, false); }), "outside its folder"));
}

TEST_CASE("a folder without safetensors says what to do") {
  TempFolder folder;
  auto text = [&] { return error_of([&] { open_safetensors(folder.path().string(), false); }); };
  CHECK(contains(text(), "neither model.safetensors nor"));
  folder.put("pytorch_model.bin", "PK");
  CHECK(contains(text(), "save_pretrained"));
}

TEST_CASE("a JSON file of a model is read within bounds") {
  TempFolder folder;
  auto read = [&](const std::string& text, const JsonLimits& limits = {}) {
    folder.put("c.json", text);
    return error_of([&] { read_json_file(folder / "c.json", limits); });
  };
  CHECK(read(R"({"a": [1, {"b": 2}]})") == "");
  CHECK(contains(read(R"({"a": 1,})"), "byte 9 is no JSON"));
  CHECK(contains(read(R"({"a": NaN})"), "byte 7 is no JSON"));
  CHECK(contains(read(std::string(100'000, '[')), "nested deeper than 32"));
  CHECK(contains(read("{} ", {2, 32}), "3 bytes"));
  CHECK(contains(read("3"), "expected an object"));
  CHECK(contains(read(R"({"a": 1e999})"), "number overflow"));
  CHECK(read("{\"a\": \"" + std::string(100'000, 'x')).size() < 300);  // what it read is not in the message
  CHECK(contains(error_of([&] { read_json_file(folder / "absent.json"); }), "66: "));
}

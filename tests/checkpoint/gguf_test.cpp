#include "checkpoint/gguf.h"

#include <doctest/doctest.h>

#include <cstring>

#include "testkit/cpu_time.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;
using namespace trireme::testkit;

TEST_CASE("metadata keeps its types") {
  TempFolder folder;
  GgufWriter w;
  w.text("name", "x")
      .u32("count", 7)
      .f32("eps", 1e-5f)
      .boolean("flag", true)
      .texts("words", {"a", "", "ccc"})
      .i32s("ids", {-1, 5});
  w.raw("big", 10, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8)).raw("small", 1, "\xff");
  write_file(folder / "a.gguf", w.build());
  Gguf gguf(folder / "a.gguf");
  CHECK(gguf.version() == 3);
  CHECK(gguf.get<std::string>("name") == "x");
  CHECK(gguf.get<int64_t>("count") == 7);
  CHECK(gguf.get<double>("eps") == 1e-5);  // the shortest decimal, not the FP32 value widened
  CHECK(gguf.get<bool>("flag"));
  CHECK(gguf.get<std::vector<std::string>>("words") == std::vector<std::string>{"a", "", "ccc"});
  CHECK(gguf.get<std::vector<int64_t>>("ids") == std::vector<int64_t>{-1, 5});
  CHECK(gguf.get<int64_t>("big") == INT64_MAX);
  CHECK(gguf.get<int64_t>("small") == -1);
  CHECK(gguf.find<bool>("absent") == nullptr);
  CHECK(contains(error_of([&] { gguf.find<bool>("name"); }), "65: "));
  CHECK(contains(error_of([&] { gguf.get<bool>("absent"); }), "absent is missing"));
}

TEST_CASE("tensors have shapes and places") {
  TempFolder folder;
  GgufWriter w(2);  // version 2 differs from 3 in nothing that we read
  w.tensor("vector", {3}, 0, std::string(12, 'v'))
      .tensor("matrix", {32, 5}, 3, std::string(100, 'm'))
      .tensor("cube", {2, 3, 4}, 1, std::string(48, 'c'));
  write_file(folder / "a.gguf", w.build());
  Gguf gguf(folder / "a.gguf");
  REQUIRE(gguf.tensors().size() == 3);
  const GgufTensor& matrix = *gguf.find_tensor("matrix");
  CHECK(matrix.rows == 5);
  CHECK(matrix.columns == 32);
  CHECK(matrix.row_bytes == 20);
  CHECK(matrix.type->name == "Q4_1");
  std::byte last;
  matrix.file->read(matrix.offset + 99, {&last, 1}, "test");
  CHECK(last == std::byte{'m'});
  CHECK(gguf.find_tensor("cube")->rows == 12);
  CHECK(gguf.find_tensor("other") == nullptr);
}

TEST_CASE("blocks are split without loss") {
  std::byte source[34] = {}, values[32], scales[2], minimums[2];
  auto split = [&](uint32_t id) { find_block_type(id)->split(source, 1, values, scales, minimums); };
  source[0] = std::byte{0x34}, source[1] = std::byte{0x12};

  SUBCASE("Q4_0: low nibbles are columns 0 to 15, high ones 16 to 31; ours pair neighbours") {
    for (int i = 0; i < 16; i++) source[2 + i] = std::byte(i | (15 - i) << 4);
    split(2);
    CHECK(values[0] == std::byte{0x10});  // columns 0, 1: codes 0, 1
    CHECK(values[7] == std::byte{0xfe});  // columns 14, 15
    CHECK(values[8] == std::byte{0xef});  // columns 16, 17: codes 15, 14
    CHECK(values[15] == std::byte{0x01});
  }
  SUBCASE("Q4_1 has a minimum") {
    source[2] = std::byte{0x78}, source[3] = std::byte{0x56}, source[4] = std::byte{0x9a};
    split(3);
    CHECK(minimums[0] == std::byte{0x78});
    CHECK((values[0] & std::byte{15}) == std::byte{0xa});
    CHECK((values[8] & std::byte{15}) == std::byte{0x9});
  }
  SUBCASE("Q8_0: signed bytes become codes 128 higher") {
    source[2] = std::byte{0x80}, source[3] = std::byte{0xff}, source[4] = std::byte{0}, source[33] = std::byte{0x7f};
    split(8);
    CHECK(values[0] == std::byte{0});
    CHECK(values[1] == std::byte{127});
    CHECK(values[2] == std::byte{128});
    CHECK(values[31] == std::byte{255});
  }
  CHECK(scales[0] == std::byte{0x34});
  CHECK(scales[1] == std::byte{0x12});
}

TEST_CASE("a model in several files is one") {
  TempFolder folder;
  auto shard = [](uint32_t number, const std::string& tensor) {
    GgufWriter w;
    w.u32("split.no", number).u32("split.count", 3).u32("split.tensors.count", 3);
    w.tensor(tensor, {4}, 0, std::string(16, tensor[0]));
    return w;
  };
  write_file(folder / "m-00001-of-00003.gguf", shard(0, "a").text("general.name", "x").build());
  write_file(folder / "m-00002-of-00003.gguf", shard(1, "b").build());
  const std::string first = folder / "m-00001-of-00003.gguf", last = folder / "m-00003-of-00003.gguf";
  auto refused = [&](const std::string& path, const std::string& word) {
    std::string text = error_of([&] { Gguf gguf(path); });
    CAPTURE(text);
    CHECK(contains(text, word));
  };
  refused(first, "66: cannot open " + last);
  write_file(last, shard(2, "c").build());
  {
    Gguf gguf(first);
    REQUIRE(gguf.tensors().size() == 3);
    CHECK(gguf.get<std::string>("general.name") == "x");
    CHECK(gguf.files().size() == 3);
    for (const char* name : {"a", "b", "c"}) {
      const GgufTensor& t = *gguf.find_tensor(name);
      char values[16];
      t.file->read(t.offset, std::as_writable_bytes(std::span(values)), name);
      CHECK(std::string(values, 16) == std::string(16, name[0]));
    }
  }
  refused(last, "name the first, which ends in -00001-of-00003.gguf");
  write_file(folder / "alone.gguf", shard(0, "a").build());
  refused(folder / "alone.gguf", "name the first");
  write_file(last, shard(1, "c").build());
  refused(first, "split.no is not 2");
  write_file(last, shard(2, "b").build());
  refused(first, "the tensor b stands twice");
  write_file(last, shard(2, "c").text("general.name", "y").build());
  refused(first, "general.name stands in a file that is not the first");
  write_file(last, shard(2, "c").tensor("d", {1}, 0, "dddd").build());
  refused(first, "split.tensors.count is 3, but its 3 files hold 4 tensors");
}

TEST_CASE("types that cannot be read are refused by name, with those that can") {
  TempFolder folder;
  GgufWriter w;
  w.tensor("blk.0.ffn_down.weight", {256, 1}, 16, std::string(66, 'x'));
  write_file(folder / "a.gguf", w.build());
  std::string text = error_of([&] { Gguf gguf(folder / "a.gguf"); });
  CHECK(contains(text, "blk.0.ffn_down.weight is stored as IQ2_XXS"));
  CHECK(contains(text, "F32, F16, BF16, Q8_0, Q4_0, Q4_1"));
}

TEST_CASE("a vocabulary of 300,000 tokens is read in a moment") {
  TempFolder folder;
  std::vector<std::string> tokens;
  for (int i = 0; i < 300000; i++) tokens.push_back("token" + std::to_string(i));
  write_file(folder / "a.gguf", GgufWriter().texts("tokens", tokens).build());
  const double start = cpu_seconds();
  Gguf gguf(folder / "a.gguf");
  CHECK(gguf.get<std::vector<std::string>>("tokens").size() == 300000);
  CHECK(cpu_seconds() - start < kNotQuadratic);
}

TEST_CASE("files that are not there, not files or not GGUF") {
  TempFolder folder;
  CHECK(contains(error_of([&] { Gguf gguf(folder / "none"); }), "66: "));
  CHECK(contains(error_of([&] { Gguf gguf(folder.path().string()); }), "not a regular file"));
  write_file(folder / "text", "GGML, long ago, in a file far away");
  CHECK(contains(error_of([&] { Gguf gguf(folder / "text"); }), "no GGUF file"));
  CHECK_FALSE(Gguf::is_gguf(folder / "text"));
  CHECK_FALSE(Gguf::is_gguf(folder / "none"));
  write_file(folder / "a.gguf", GgufWriter().build());
  CHECK(Gguf::is_gguf(folder / "a.gguf"));
}

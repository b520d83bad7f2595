#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cstring>
#include <filesystem>

#include "checkpoint/gguf.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"
#include "testkit/tiny_model.h"

using namespace trireme;
using namespace trireme::testkit;

namespace {

struct Hostile {
  std::string what;
  std::string bytes;
};

template <typename T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

TinyModel small() {
  TinyModel m;
  m.layers = 1, m.heads = 2, m.kv_heads = 1, m.head_dim = 4, m.hidden = 8, m.intermediate = 12, m.vocab = 20;
  return m;
}

// Damages a valid file field by field, knowing where each begins: flips at random would die at the magic bytes.
std::vector<Hostile> corpus() {
  GgufWriter writer = small().writer();
  const std::string valid = writer.build();
  std::vector<Hostile> all;
  auto patch = [&](const std::string& mark, size_t skip, const std::string& bytes) {
    for (const GgufWriter::Mark& m : writer.marks()) {
      if (m.what != mark) continue;
      std::string file = valid;
      file.replace(m.begin + skip, bytes.size(), bytes);
      all.push_back(
          {fmt::format("{} + {} = {} bytes, first {}", mark, skip, bytes.size(), static_cast<unsigned char>(bytes[0])),
           file});
      return;
    }
    FAIL("no field " << mark);
  };
  const uint64_t huge[] = {uint64_t{1} << 63, UINT64_MAX, uint64_t{1} << 40, uint64_t{1} << 31, 1000000};
  for (const char* count : {"tensor_count", "key_count"})
    for (uint64_t n : huge) patch(count, 0, bytes_of(n));
  for (uint32_t version : {0u, 1u, 4u, 0x03000000u, UINT32_MAX}) patch("version", 0, bytes_of(version));
  patch("magic", 0, "GGUE");
  for (const char* text : {"key:general.architecture", "value:general.architecture", "value:tokenizer.chat_template",
                           "name:output_norm.weight"})
    for (uint64_t n : {uint64_t{1} << 63, UINT64_MAX, uint64_t{1} << 33}) patch(text, 0, bytes_of(n));
  for (const char* type : {"type:general.architecture", "type:llama.block_count", "type:tokenizer.ggml.tokens"})
    for (uint32_t t : {13u, 255u, UINT32_MAX}) patch(type, 0, bytes_of(t));
  for (const char* array : {"value:tokenizer.ggml.tokens", "value:tokenizer.ggml.token_type"}) {
    for (uint64_t n : huge) patch(array, 4, bytes_of(n));
    for (uint32_t t : {9u, 13u, UINT32_MAX}) patch(array, 0, bytes_of(t));  // arrays of arrays; no such type
  }
  patch("value:tokenizer.ggml.tokens", 12, bytes_of(UINT64_MAX));  // the first token's length
  patch("value:tokenizer.ggml.add_bos_token", 0, "\x02");
  for (uint32_t n : {0u, 5u, UINT32_MAX}) patch("dimensions:blk.0.attn_q.weight", 0, bytes_of(n));
  for (uint64_t n : {uint64_t{0}, uint64_t{1} << 63, UINT64_MAX, uint64_t{1} << 32, uint64_t{1} << 20})
    patch("dimension:blk.0.attn_q.weight", 0, bytes_of(n));
  for (uint32_t t : {4u, 5u, 31u, 77u, 14u, 2u, UINT32_MAX})
    patch("ggml_type:blk.0.attn_q.weight", 0, bytes_of(t));  // 2: 8 columns are no block
  for (uint64_t n : {uint64_t{1}, uint64_t{31}, uint64_t{1} << 40, UINT64_MAX - 31, uint64_t{0}, uint64_t{32}})
    patch("offset:output_norm.weight", 0, bytes_of(n));  // 0 and 32: inside another tensor
  patch("name:output_norm.weight", 8, std::string("\x1b[2J", 4));
  patch("key:general.architecture", 8, std::string(1, '\0'));
  for (size_t cut = 0; cut < valid.size(); cut += valid.size() / 40 + 1)
    all.push_back({fmt::format("cut at byte {}", cut), valid.substr(0, cut)});

  auto made = [&](const std::string& what, GgufWriter w) { all.push_back({what, w.build()}); };
  for (uint32_t alignment : {0u, 1u, 3u, 48u, 1u << 31, 131072u})
    made(fmt::format("alignment {}", alignment), GgufWriter().u32("general.alignment", alignment));
  made("alignment that is text", GgufWriter().text("general.alignment", "32"));
  made("a key twice", GgufWriter().u32("a", 1).u32("a", 2));
  made("an empty key", GgufWriter().u32("", 1));
  made("a long key", GgufWriter().u32(std::string(70000, 'k'), 1));
  made("a tensor twice", GgufWriter().tensor("a", {1}, 0, "1234").tensor("a", {1}, 0, "1234"));
  made("a long name", GgufWriter().tensor(std::string(300, 'n'), {1}, 0, "1234"));
  made("dimensions whose product overflows", GgufWriter().tensor("a", {1u << 31, 1u << 31, 1u << 31}, 0, "1234"));
  made("bytes whose product overflows", GgufWriter().tensor("a", {1u << 31, 1u << 31}, 0, "1234"));
  std::string many(12 + (1 << 21), '\0');  // an array of 2^21 bytes, which take eight times that as integers
  many.replace(0, 12, bytes_of(0u) + bytes_of(uint64_t{1} << 21));
  made("arrays that would take much memory", GgufWriter().raw("a", 9, many).raw("b", 9, many).raw("c", 9, many));
  made("an array longer than any", GgufWriter().raw("a", 9, bytes_of(0u) + bytes_of((uint64_t{1} << 21) + 1) + many));
  for (uint32_t depth : {2u, 1000u}) {  // arrays of arrays
    std::string nested;
    for (uint32_t i = 0; i < depth; i++) nested += bytes_of(9u) + bytes_of(uint64_t{1});
    made(fmt::format("arrays nested {} deep", depth), GgufWriter().raw("a", 9, nested + bytes_of(0u) + bytes_of(0ull)));
  }
  made("43 bytes", GgufWriter().raw("k", 9, bytes_of(8u)).raw("k2", 8, ""));
  made("a boolean of 2", GgufWriter().raw("a", 7, "\x02"));
  made("an array with a boolean of 2", GgufWriter().raw("a", 9, bytes_of(7u) + bytes_of(uint64_t{1}) + "\x02"));
  made("a tensor without dimensions", GgufWriter().tensor("a", {}, 0, "1234"));
  made("a dimension of 0", GgufWriter().tensor("a", {0, 4}, 0, "1234"));
  made("a super-block cut short", GgufWriter().tensor("a", {128, 2}, 14, std::string(210, 'q')));
  made("a super-block of one row and a half", GgufWriter().tensor("a", {384}, 12, std::string(216, 'q')));
  made("tensors that overlap", [] {
    GgufWriter w;
    w.tensor("a", {64}, 0, std::string(32, 'a')).tensor("b", {8}, 0, std::string(256, 'b'));
    return w;
  }());
  for (const char* key : {"split.count", "split.no", "split.tensors.count"})
    made(fmt::format("{} that is text", key), GgufWriter()
                                                  .u32(key == std::string("split.count") ? "x" : "split.count", 2)
                                                  .text(key, "2")
                                                  .u32(key == std::string("split.no") ? "y" : "split.no", 0));
  made("one of many files", GgufWriter().u32("split.count", 2).u32("split.no", 1));
  made("more files than any model has", GgufWriter().u32("split.count", 5000).u32("split.no", 0));
  made("a number above 2^63", GgufWriter().raw("a", 10, std::string(8, '\xff')));
  return all;
}

}  // namespace

TEST_CASE("hostile GGUF files end in a message, in little memory") {
  TempFolder folder;
  struct rusage before {
  }, after{};
  getrusage(RUSAGE_SELF, &before);
  std::vector<Hostile> files = corpus();
  CHECK(files.size() >= 150);
  for (const Hostile& hostile : files) {
    CAPTURE(hostile.what);
    write_file(folder / "h.gguf", hostile.bytes);
    std::string text = error_of([&] { Gguf gguf(folder / "h.gguf"); });
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, "h.gguf"));
    CHECK(text.size() < 1000);
  }
  getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 200 * 1024);  // KiB
  MESSAGE(files.size() << " hostile files refused");
}

TEST_CASE("keys of another type than expected are refused where they are read") {
  TempFolder folder;
  write_file(folder / "a.gguf",
             GgufWriter().text("text", "x").u32("count", 1).f32("real", 1).i32s("list", {1}).build());
  Gguf gguf(folder / "a.gguf");
  auto refused = [](const std::string& text) {
    CHECK(contains(text, "65: "));
    CHECK(contains(text, "unexpected type"));
  };
  for (const char* key : {"text", "real", "list"}) refused(error_of([&] { gguf.get<int64_t>(key); }));
  for (const char* key : {"count", "real", "list"}) refused(error_of([&] { gguf.get<std::string>(key); }));
  for (const char* key : {"count", "text", "real"}) refused(error_of([&] { gguf.get<std::vector<int64_t>>(key); }));
  refused(error_of([&] { gguf.get<std::vector<std::string>>("list"); }));
}

TEST_CASE("a file that shrinks after it was opened is an error, no crash") {
  TempFolder folder;
  write_file(folder / "a.gguf", GgufWriter().tensor("a", {1024}, 0, std::string(4096, 'a')).build());
  Gguf gguf(folder / "a.gguf");
  std::filesystem::resize_file(folder / "a.gguf", 200);
  std::vector<std::byte> values(4096);
  std::string text = error_of([&] { gguf.tensors()[0].file->read(gguf.tensors()[0].offset, values, "a"); });
  CHECK(text.starts_with("65: "));
  CHECK(contains(text, "ends at byte 200"));
}

// What random damage does not make unreadable, it may change; it never crashes and never asks for much memory.
TEST_CASE("random damage never crashes the reader") {
  TempFolder folder;
  GgufWriter writer = small().writer();
  const std::string valid = writer.build();
  size_t header = writer.marks().back().end;
  uint64_t state = 12345;
  auto random = [&state](uint64_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % below;
  };
  for (int round = 0; round < 400; round++) {
    std::string file = valid;
    for (uint64_t i = 0, flips = 1 + random(4); i < flips; i++) file[random(header)] = static_cast<char>(random(256));
    write_file(folder / "r.gguf", file);
    std::string text = error_of([&] { Gguf gguf(folder / "r.gguf"); });
    CHECK((text.empty() || text.starts_with("65: ")));
  }
}

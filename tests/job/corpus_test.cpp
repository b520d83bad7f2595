#include "job/corpus.h"

#include <doctest/doctest.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <vector>

#include "base/error.h"
#include "job/status.h"
#include "testkit/temp_folder.h"

using namespace trireme;

namespace {

std::vector<Row> read_all(const std::string& path) {
  std::vector<Row> rows;
  auto corpus = Corpus::open(path);
  while (auto row = corpus->next()) {
    CHECK(row->number == rows.size());
    rows.push_back(std::move(*row));
  }
  CHECK(survey_input(path).rows == rows.size());
  return rows;
}

std::string gzip(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::vector<std::string> texts(const std::vector<Row>& rows) {
  std::vector<std::string> texts;
  for (const Row& row : rows) texts.push_back(row.text);
  return texts;
}

std::string many_lines(int count) {
  std::string text;
  for (int i = 0; i < count; i++) text += "line " + std::to_string(i * 7919 % 10007) + "\n";
  return text;
}

}  // namespace

TEST_CASE("lines come with their number and byte; blank ones yield nothing") {
  testkit::TempFolder folder;
  auto rows = read_all(folder.put("a.jsonl", "one\n\n  \t\r\ntwo\r\nthree"));
  REQUIRE(rows.size() == 3);
  CHECK(texts(rows) == std::vector<std::string>{"one", "two\r", "three"});
  CHECK(rows[1].line == 4);
  CHECK(rows[1].byte == 10);
  CHECK(rows[2].line == 5);
  CHECK(rows[2].byte == 15);
}

TEST_CASE("odd ends and starts") {
  testkit::TempFolder folder;
  CHECK(read_all(folder.put("empty", "")).empty());
  CHECK(read_all(folder.put("newlines", "\n\n\n")).empty());
  CHECK(texts(read_all(folder.put("no_end", "a"))) == std::vector<std::string>{"a"});
  auto marked = read_all(folder.put("bom",
                                    "\xef\xbb\xbf"
                                    "a\n"));
  REQUIRE(marked.size() == 1);
  CHECK(marked[0].text == "a");
  CHECK(marked[0].byte == 3);
  CHECK(read_all(folder.put("only_bom", "\xef\xbb\xbf")).empty());
  CHECK(read_all(folder.put("bom_blank", "\xef\xbb\xbf \n")).empty());
  CHECK(read_all(folder.put("torn_bom", "\xef\xbb")).size() == 1);
  CHECK(read_all(folder.put("bom_later", "a\n\xef\xbb\xbf\n")).size() == 2);
}

TEST_CASE("a line of 16 MiB is read, a longer one is an error row and is not held") {
  testkit::TempFolder folder;
  std::string text = std::string(kMaxRowBytes, 'x') + "\n" + std::string(kMaxRowBytes + 1, 'y') + "\nlast\n";
  auto rows = read_all(folder.put("long.jsonl", text));
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].text.size() == kMaxRowBytes);
  CHECK(rows[1].error_code == "too_long_line");
  CHECK(rows[1].text.capacity() < 100);
  CHECK(rows[2].text == "last");
  CHECK(rows[2].line == 3);
  CHECK(rows[2].byte == static_cast<int64_t>(2 * kMaxRowBytes + 3));
}

TEST_CASE("an input that is no JSONL is known by its first content") {
  testkit::TempFolder folder;
  for (const char* text : {"{\"prompt\":\"a\"}\n", "\xEF\xBB\xBF \n\t{}", "", "{torn"})
    CHECK(survey_input(folder.put("jsonl", text)).begins_with_object);
  for (const char* text : {"Once upon a time.\n{}\n", "[{}]", "GGUF\3", "\xEF\xBB\xBF\n1"})
    CHECK(!survey_input(folder.put("other", text)).begins_with_object);
  std::filesystem::create_directory(folder / "texts");
  folder.put("texts/a.txt", "Once upon a time.");
  CHECK(survey_input(folder / "texts").begins_with_object);
}

TEST_CASE("gzip and Zstandard by their magic bytes, several members and frames too") {
  testkit::TempFolder folder;
  std::string text = many_lines(50000), more = many_lines(3);
  auto plain = texts(read_all(folder.put("plain", text + more)));
  CHECK(texts(read_all(folder.put("one.gz", gzip(text + more)))) == plain);
  CHECK(texts(read_all(folder.put("two.gz", gzip(text) + gzip("") + gzip(more)))) == plain);
  CHECK(texts(read_all(folder.put("one.zst", zstd(text + more)))) == plain);
  CHECK(texts(read_all(folder.put("two.zst", zstd(text) + zstd(more)))) == plain);
  CHECK(survey_input(folder / "two.gz").digest == survey_input(folder / "plain").digest);
  CHECK(survey_input(folder / "one.zst").bytes == text.size() + more.size());
}

TEST_CASE("a cut or damaged compressed file: the rows before, then one error row that names file and byte") {
  testkit::TempFolder folder;
  std::string text = many_lines(200000);  // several blocks of each format
  auto plain = texts(read_all(folder.put("plain", text)));
  for (std::string whole : {gzip(text), zstd(text)}) {
    for (size_t keep : {whole.size() / 2, whole.size() - 1, whole.size() - 5, size_t{5}, size_t{10}}) {
      CAPTURE(keep);
      auto rows = read_all(folder.put("cut", whole.substr(0, keep)));
      REQUIRE(!rows.empty());
      CHECK(rows.back().error_code == "damaged_input");
      CHECK(rows.back().error_message.find("cut: ") != std::string::npos);
      CHECK(rows.back().error_message.find("at byte " + std::to_string(keep)) != std::string::npos);
      for (size_t i = 0; i + 1 < rows.size(); i++) CHECK(rows[i].text == plain[i]);
    }
    whole[whole.size() / 2] = static_cast<char>(whole[whole.size() / 2] ^ 0x55);
    CHECK(read_all(folder.put("flip", whole)).back().error_code == "damaged_input");
  }
  CHECK(read_all(folder.put("tail", gzip("a\n") + "garbage")).back().error_code == "damaged_input");
}

TEST_CASE("a bomb of one line costs no memory") {
  testkit::TempFolder folder;
  std::string path = folder.put("bomb.gz", gzip(std::string(256 << 20, 'x')) + gzip("\nafter\n"));
  int64_t before = peak_memory_bytes();
  auto rows = read_all(path);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].error_code == "too_long_line");
  CHECK(rows[1].text == "after");
  CHECK(peak_memory_bytes() - before < (100 << 20));
}

TEST_CASE("a folder: .txt and .md, no hidden ones, in bytewise order of the relative path") {
  testkit::TempFolder folder;
  for (const char* name : {"b.txt", "a/z.txt", "a.txt", "a/y/1.md", "a-b.md", ".hidden.txt", ".git/c.txt", "no.pdf",
                           "A.txt", "\xc3\xa9.txt", "a/.x/h.txt"})
    folder.put(std::string("root/") + name, std::string("content of ") + name);
  std::filesystem::create_directory_symlink(folder / "root", folder / "root/ring");
  std::filesystem::create_symlink(folder / "root/b.txt", folder / "root/c.txt");
  std::vector<std::string> paths;
  for (const Row& row : read_all(folder / "root")) {
    CHECK(row.is_file);
    paths.push_back(row.path);
  }
  CHECK(paths ==
        std::vector<std::string>{"A.txt", "a-b.md", "a.txt", "a/y/1.md", "a/z.txt", "b.txt", "c.txt", "\xc3\xa9.txt"});
  CHECK(read_all(folder / "root")[1].text == "content of a-b.md");
}

TEST_CASE("a folder is another input when a file has another content, even of the same length, or another name") {
  testkit::TempFolder folder;
  auto digest_of = [&](const std::string& name, std::vector<std::pair<std::string, std::string>> files) {
    for (const auto& [path, text] : files) folder.put(name + "/" + path, text);
    return survey_input(folder / name).digest;
  };
  const uint64_t digest = digest_of("one", {{"a.txt", "six"}, {"b.txt", "ten"}});
  CHECK(digest_of("same", {{"a.txt", "six"}, {"b.txt", "ten"}}) == digest);
  CHECK(digest_of("edited", {{"a.txt", "six"}, {"b.txt", "two"}}) != digest);
  CHECK(digest_of("renamed", {{"a.txt", "six"}, {"c.txt", "ten"}}) != digest);
  CHECK(digest_of("shifted", {{"a.txt", "sixt"}, {"b.txt", "en"}}) != digest);
  CHECK(digest_of("marked", {{"a.txt", "six"}, {"b.txt", "\xef\xbb\xbften"}}) != digest);
}

TEST_CASE("files of a folder that cannot be read are error rows") {
  testkit::TempFolder folder;
  folder.put("root/long.txt", std::string(kMaxRowBytes + 1, 'x'));
  folder.put("root/ok.txt", "ok");
  std::filesystem::create_symlink("nowhere", folder / "root/broken.txt");
  auto rows = read_all(folder / "root");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].error_code == "unreadable");
  CHECK(rows[1].error_code == "too_long_line");
  CHECK(rows[2].text == "ok");
}

TEST_CASE("no input is exit code 66, with the path") {
  for (const char* path : {"/nowhere/at/all", "/dev/null"}) {
    try {
      Corpus::open(path);
      FAIL("must throw");
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::no_input);
      CHECK(std::string(error.what()).find(path) != std::string::npos);
    }
  }
}

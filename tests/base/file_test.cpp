#include "base/file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>

#include "testkit/temp_folder.h"

using namespace trireme;
namespace fs = std::filesystem;

TEST_CASE("a file is replaced whole, and no other stays behind") {
  const testkit::TempFolder folder;
  const std::string path = folder / "a";
  replace_file(path, "first, and longer");
  replace_file(path, "second");
  CHECK(read_whole_file(path) == "second");
  CHECK(std::distance(fs::directory_iterator(fs::path(folder / "a").parent_path()), {}) == 1);
}

TEST_CASE("of a link the target is replaced") {
  const testkit::TempFolder folder;
  const std::string target = folder / "target", link = folder / "link", dangling = folder / "dangling";
  replace_file(target, "first");
  fs::create_symlink("target", link);
  replace_file(link, "second");
  CHECK(fs::is_symlink(link));
  CHECK(read_whole_file(target) == "second");
  fs::create_symlink("not yet", dangling);
  replace_file(dangling, "third");
  CHECK(read_whole_file(folder / "not yet") == "third");
}

TEST_CASE("what is no file is written to and stays what it is") {
  const testkit::TempFolder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  auto text = std::async(std::launch::async, [&] { return read_whole_file(pipe); });
  replace_file(pipe, "through it");
  CHECK(text.get() == "through it");
  CHECK(fs::is_fifo(pipe));
}

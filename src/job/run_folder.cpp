#include "job/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

namespace trireme {

namespace {

constexpr auto kStatusInterval = std::chrono::seconds(1);

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) return;
  fail(ExitCode::cannot_create, "cannot create folder {}: {} (errno {}); the folder above must exist and be writable",
       path, errno_text(), errno);
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return;
  fail(ExitCode::io_error, "cannot remove {}: {} (errno {}); check its permissions", path, errno_text(), errno);
}

std::string this_holder() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  return fmt::format("process {} on host {}", ::getpid(), host);
}

// The lock goes with the process that holds it, however that ends. Where a file system has no locks, there is none.
File take_lock(const std::string& path) {
  File lock = File::open_or_create(path);
  if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      fail(ExitCode::cannot_create, "{} is held by {}; wait for that run, or write to another output", path,
           read_whole_file(path));
    if (errno != ENOLCK && errno != ENOSYS && errno != EOPNOTSUPP)
      fail(ExitCode::io_error, "cannot lock {}: {} (errno {}); check the file system", path, errno_text(), errno);
  }
  lock.truncate();
  lock.write(this_holder());
  return lock;
}

// A damaged file is an empty object: it says nothing of what it should.
std::optional<nlohmann::json> read_object(const std::string& path) {
  if (!exists(path)) return std::nullopt;
  auto json = nlohmann::json::parse(read_whole_file(path), nullptr, false);
  return json.is_object() ? json : nlohmann::json::object();
}

// Names of files and hosts may be any bytes: what is no UTF-8 is replaced.
template <typename Json>
std::string text_of(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string manifest_differences(const nlohmann::json& before, const nlohmann::json& now) {
  auto old_values = before.flatten(), new_values = now.flatten();
  std::set<std::string> keys;
  for (auto& [key, value] : old_values.items()) keys.insert(key);
  for (auto& [key, value] : new_values.items()) keys.insert(key);
  std::string differences;
  keys.erase("");  // how flatten() spells an empty object
  for (const std::string& key : keys) {
    auto show = [&](const nlohmann::json& values) { return values.contains(key) ? text_of(values[key]) : "absent"; };
    std::string old_text = show(old_values), new_text = show(new_values);
    if (old_text == new_text) continue;
    std::string name = key.substr(1);  // "/model/digest" is JSON pointer's way to say it
    std::replace(name.begin(), name.end(), '/', '.');
    differences += fmt::format("{}  {}: {} before, {} now", differences.empty() ? "" : "\n", name, old_text, new_text);
  }
  return differences;
}

RunFolder::RunFolder(const std::string& out_path) : out_path_(out_path), folder_(out_path + ".run") {
  if (out_path.empty() || out_path == "-")
    fail(ExitCode::usage, "the output must be a file, not \"{}\": its run folder stands beside it; try -o OUT.jsonl",
         out_path);
  if (exists(out_path) && !exists(path("manifest.json")))
    fail(ExitCode::cannot_create,
         "{} exists, and no run folder {} says that it is ours; move it away or choose another output", out_path,
         folder_);
  make_folder(folder_);
  lock_ = take_lock(path("lock"));
  make_folder(path("parts"));
  make_folder(path("timings"));
}

// Complete: it said so last, and its output is there.
bool RunFolder::complete() const {
  auto last = status();
  return last && last->value("state", "") == "done" && exists(out_path_);
}

nlohmann::json RunFolder::identity() const {
  const std::optional<nlohmann::json> manifest = read_object(path("manifest.json"));
  if (!manifest) return {};
  const nlohmann::json found = manifest->value("identity", nlohmann::json::object());
  return found.is_null() ? nlohmann::json::object() : found;
}

RunFolder::Start RunFolder::begin(const Manifest& manifest, bool restart) {
  const nlohmann::json before = identity();
  std::string differences = before.is_null() ? "" : manifest_differences(before, manifest.identity);
  if (!differences.empty() && !restart) {
    remove_file(path("stdin.new"));
    fail(ExitCode::configuration,
         "{} holds another run:\n{}\nrepeat that run's command, choose another output, or drop it with --restart",
         folder_, differences);
  }
  if (!before.is_null() && !restart && complete()) {
    remove_file(path("stdin.new"));
    return Start::already_complete;
  }

  clear_results();
  nlohmann::ordered_json json{{"identity", manifest.identity}, {"about", manifest.about}};
  replace_file(path("manifest.json"), text_of(json, 2) + "\n");
  return before.is_null() || restart ? Start::fresh : Start::started_over;
}

// OUT itself stays until the new one replaces it.
void RunFolder::clear_results() {
  remove_file(path("status.json"));
  remove_file(fault_path(out_path_));
  remove_file(part_path());
  if (spooled_) {
    if (::rename(path("stdin.new").c_str(), path_of_stdin().c_str()) != 0)
      fail(ExitCode::io_error, "cannot rename {}: {} (errno {})", path("stdin.new"), errno_text(), errno);
  } else {
    remove_file(path("stdin.new"));  // of a job that was killed
    remove_file(path_of_stdin());
  }
}

std::string RunFolder::spool_stdin(int fd) {
  File spool = File::create(path("stdin.new"));
  std::string piece(1 << 20, '\0');
  for (;;) {
    ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got == 0) break;
    if (got > 0)
      spool.write({piece.data(), static_cast<size_t>(got)});
    else if (errno != EINTR)
      fail(ExitCode::no_input, "cannot read standard input: {} (errno {})", errno_text(), errno);
  }
  spool.sync();
  spooled_ = true;
  return spool.path();
}

bool RunFolder::status_due() const {
  return !status_written_ || std::chrono::steady_clock::now() - *status_written_ >= kStatusInterval;
}

void RunFolder::write_status(const nlohmann::ordered_json& status, Durable durable) {
  replace_file(path("status.json"), text_of(status, 2) + "\n", durable);
  status_written_ = std::chrono::steady_clock::now();
}

std::optional<nlohmann::json> RunFolder::status() const { return read_object(path("status.json")); }

}  // namespace trireme

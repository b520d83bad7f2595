#include "launch/fault_note.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/bounded_call.h"
#include "job/progress.h"
#include "job/run_folder.h"

namespace trireme {

namespace {

constexpr std::chrono::seconds kWriteLimit{2};  // a file system that hangs must not keep the job from ending

// Only the first: later ones are mostly its consequences.
void write_new(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (::close(fd) != 0 || !written) ::unlink(path.c_str());
}

}  // namespace

FaultNote::FaultNote(const std::string& output, const Environment& environment)
    : path_(RunFolder::fault_path(output)), host_(environment.host), rank_(environment.rank) {}

void FaultNote::leave(const Fault& fault) const noexcept {
  if (!begun_) return;
  try {
    const nlohmann::ordered_json note = {{"rank", rank_},
                                         {"host", host_},
                                         {"exit_code", static_cast<int>(fault.code)},
                                         {"message", fault.text},
                                         {"time", utc_time(static_cast<int64_t>(time(nullptr)))}};
    const std::string text = note.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    came_back(kWriteLimit, [path = path_, text] { write_new(path, text); });
  } catch (const std::exception&) {
    // The fault itself is on its way to the terminal.
  }
}

}  // namespace trireme

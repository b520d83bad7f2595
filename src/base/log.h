#pragma once

#include <fmt/core.h>

#include <memory>
#include <string_view>

namespace spdlog {
class logger;
}

namespace trireme {

enum class LogLevel : int { debug, info, warn, error };

// Lines for people on stderr: "2026-01-02T03:04:05.678 r03/n1 W scheduler ..." is local time, rank and host, level,
// text in lower case. What a job says once is said by rank 0: the others begin at warnings. Never used in the hot path.
class Log {
 public:
  // level: "debug", "info", "warn" or "error".
  Log(std::string_view level, int rank);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool shows(LogLevel level) const;
  void write(LogLevel level, std::string_view text);

  template <typename... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) {
    if (shows(LogLevel::info)) write(LogLevel::info, fmt::format(text, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> text, Args&&... args) {
    if (shows(LogLevel::warn)) write(LogLevel::warn, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  std::unique_ptr<spdlog::logger> logger_;
};

}  // namespace trireme

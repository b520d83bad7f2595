#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"

namespace trireme {

namespace {

constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};
constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                 spdlog::level::err};

spdlog::level::level_enum level_of(LogLevel level) { return kLevels[static_cast<size_t>(level)]; }

}  // namespace

// A logger of our own: spdlog's registry would be a hidden global.
Log::Log(std::string_view level, int rank)
    : logger_(std::make_unique<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  const auto* name = std::find(std::begin(kNames), std::end(kNames), level);
  must(name != std::end(kNames), "a log level is one of its names");
  const auto wanted = static_cast<LogLevel>(name - std::begin(kNames));
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  logger_->set_level(level_of(rank == 0 ? wanted : std::max(wanted, LogLevel::warn)));
  logger_->set_pattern(fmt::format("%Y-%m-%dT%H:%M:%S.%e r{:02}/{} %L %v", rank, host));
  logger_->flush_on(spdlog::level::debug);
}

Log::~Log() = default;

bool Log::shows(LogLevel level) const { return logger_->should_log(level_of(level)); }

void Log::write(LogLevel level, std::string_view text) {
  logger_->log(level_of(level), spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace trireme

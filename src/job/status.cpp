#include "job/status.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

namespace trireme {

nlohmann::ordered_json Status::to_json(int64_t unix_seconds) const {
  nlohmann::ordered_json json;
  json["state"] = state;
  json["exit_code"] = exit_code < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(exit_code);
  json["message"] = message;
  json["documents_done"] = tally.rows_done;
  json["documents_total"] = tally.rows_total;
  json["errors"] = tally.rows_failed;
  json["prompt_tokens"] = tally.prompt_tokens;
  json["completion_tokens"] = tally.completion_tokens;
  json["tokens_so_far"] = tokens_so_far(tally);
  json["seconds"] = seconds;
  json["tokens_per_second"] = tokens_per_second(tally, seconds);
  double left = seconds_left(tally, seconds);
  bool known = state == "running" && left >= 0;
  json["predicted_end"] = known ? nlohmann::ordered_json(utc_time(unix_seconds + static_cast<int64_t>(std::ceil(left))))
                                : nlohmann::ordered_json();
  json["updated"] = utc_time(unix_seconds);
  json["phase_seconds"] = {{"prefill", phases.prefill},
                           {"decode", phases.decode},
                           {"communication", phases.communication},
                           {"waiting", phases.waiting}};
  const int64_t memory = memory_bytes();
  json["memory_bytes"] = memory;
  json["peak_memory_bytes"] = std::max(memory, peak_memory_bytes());  // the kernel counts them by different clocks
  if (!ranks.is_null()) json["ranks"] = ranks;
  return json;
}

int64_t memory_bytes() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> statm(std::fopen("/proc/self/statm", "r"), std::fclose);
  long total_pages = 0, resident_pages = 0;
  if (!statm || std::fscanf(statm.get(), "%ld %ld", &total_pages, &resident_pages) != 2) return 0;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

int64_t peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;  // ru_maxrss is in KiB on Linux
}

}  // namespace trireme

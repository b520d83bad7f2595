#include "job/progress.h"

#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace trireme {

namespace {

constexpr double kRedrawSeconds = 0.2;  // a terminal: often enough to look alive

uint64_t tenth(const Tally& tally) { return tally.rows_total ? tally.rows_done * 10 / tally.rows_total : 0; }

std::string duration(double seconds) {
  auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string plural(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace

std::string utc_time(int64_t unix_seconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(unix_seconds)));
}

int64_t tokens_so_far(const Tally& tally) {
  return std::max(tally.positions, tally.prompt_tokens + tally.completion_tokens);
}

double tokens_per_second(const Tally& tally, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens_so_far(tally)) / seconds : 0;
}

double seconds_left(const Tally& tally, double seconds) {
  if (tally.rows_done == 0) return -1;
  const auto rows_total = static_cast<double>(tally.rows_total), rows_done = static_cast<double>(tally.rows_done);
  const auto so_far = static_cast<double>(tokens_so_far(tally));
  if (so_far == 0) return seconds * (rows_total / rows_done - 1);  // errors alone
  const double of_finished = static_cast<double>(tally.prompt_tokens + tally.completion_tokens) / rows_done;
  const double of_begun = so_far / std::max(rows_done, static_cast<double>(tally.rows_started));
  return seconds * (rows_total * std::max(of_finished, of_begun) / so_far - 1);
}

std::string progress_text(const Tally& tally, double seconds) {
  uint64_t percent = tally.rows_total ? tally.rows_done * 100 / tally.rows_total : 100;
  std::string text = fmt::format("{}/{} documents ({} %)", tally.rows_done, tally.rows_total, percent);
  if (tally.rows_failed) text += ", " + plural(tally.rows_failed, "error");
  text += fmt::format(", {} tokens, {:.0f} tok/s", tokens_so_far(tally), tokens_per_second(tally, seconds));
  double left = seconds_left(tally, seconds);
  if (left > 0) text += fmt::format(", {} left", duration(left));
  return text;
}

std::string summary_text(const Tally& tally, const PhaseSeconds& s, const StepSpeeds& speeds) {
  std::string text = fmt::format(
      "documents   {} in {}, {}\n"
      "tokens      {} in, {} out, {:.1f} tok/s ({:.1f} out)\n"
      "seconds     {:.1f} prefill, {:.1f} decode, {:.1f} communication, {:.1f} waiting\n",
      tally.rows_done, duration(s.total), plural(tally.rows_failed, "error"), tally.prompt_tokens,
      tally.completion_tokens, tokens_per_second(tally, s.total),
      s.total > 0 ? static_cast<double>(tally.completion_tokens) / s.total : 0, s.prefill, s.decode, s.communication,
      s.waiting);
  const auto planned = [&](double planned, double measured, const std::string& text) {
    if (planned <= 0) return std::string();
    return fmt::format(", {} {} ({:+.0f} %)", speeds.guessed ? "guessed" : "planned", text,
                       100 * (planned / measured - 1));
  };
  if (speeds.decode_ms > 0)
    text += fmt::format(
        "decode      {:.3g} ms a token of {:.1f} sequences at position {:.0f}{}\n", speeds.decode_ms, speeds.sequences,
        speeds.position,
        planned(speeds.planned_decode_ms, speeds.decode_ms, fmt::format("{:.3g} ms", speeds.planned_decode_ms)));
  if (speeds.prefill_rate > 0)
    text += fmt::format("prefill     {:.0f} tok/s{}\n", speeds.prefill_rate,
                        planned(speeds.planned_prefill_rate, speeds.prefill_rate,
                                fmt::format("{:.0f} tok/s", speeds.planned_prefill_rate)));
  return text;
}

Progress::Progress(Write write, bool terminal, double interval_seconds)
    : write_(std::move(write)), terminal_(terminal), interval_seconds_(interval_seconds) {}

Progress Progress::to_stderr(Log& log, double interval_seconds) {
  auto draw = [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); };
  if (::isatty(STDERR_FILENO)) return Progress(draw, true, interval_seconds);
  auto write_lines = [&log](std::string_view text) {
    for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1))
      log.write(LogLevel::info, text.substr(0, end));
  };
  return Progress(write_lines, false, interval_seconds);
}

bool Progress::due(const Tally& tally, double seconds) {
  double interval = terminal_ ? std::min(kRedrawSeconds, interval_seconds_) : interval_seconds_;
  bool first = last_seconds_<0, next_tenth = tenth(tally)> last_tenth_;
  if (!first && !next_tenth && seconds - last_seconds_ < interval) return false;
  last_seconds_ = seconds;
  last_tenth_ = tenth(tally);
  return true;
}

void Progress::update(const Tally& tally, double seconds) {
  if (!due(tally, seconds)) return;
  if (terminal_)
    write_(fmt::format("\r\x1b[K{}", progress_text(tally, seconds)));
  else
    write_(progress_text(tally, seconds) + "\n");
  drawn_ = terminal_;
}

void Progress::clear() {
  if (drawn_) write_("\r\x1b[K");
  drawn_ = false;
}

void Progress::finish(const std::string& summary) {
  clear();
  write_(summary);
}

}  // namespace trireme

#include "launch/bench.h"

#include "base/error.h"
#include "launch/commands.h"
#include "launch/nearest.h"
#include "launch/probe_limits.h"

namespace trireme {

void bench_limits(const Options& options, Communicator& world) {
  if (world.rank() != 0) return;
  auto cpus = allowed_cpus();
  int threads = options.threads > 0 ? static_cast<int>(options.threads) : static_cast<int>(cpus.size());
  ThreadPool pool(threads,
                  threads <= static_cast<int>(cpus.size()) ? std::span<const int>(cpus) : std::span<const int>());
  Limits limits = probe_limits(pool);
  nlohmann::ordered_json about = {{"threads", threads}};
  print_figure({"read", "GB/s", {limits.read_gbps}, 0, 0, "", about}, options);
  print_figure({"fma", "GFLOP/s", {limits.fma_gflops}, 0, 0, "", about}, options);
  print_figure({"bf16", "GFLOP/s", {limits.bf16_gflops}, 0, 0, "", about}, options);
  print_figure({"int8", "GOP/s", {limits.int8_gops}, 0, 0, "", about}, options);
}

int bench_command(const Options& options, const Environment&) {
  Waiter waiter{std::chrono::milliseconds(static_cast<int64_t>(options.deadline_s * 1000))};
  Communicator world = Communicator::world(waiter);
  if (options.input == "limits")
    bench_limits(options, world);
  else if (options.input == "load")
    bench_load(options, world);
  else if (options.input == "collective")
    bench_collective(options, world);
  else if (options.input == "decode")
    bench_decode(options, world);
  else if (options.input == "prefill")
    bench_prefill(options, world);
  else {
    std::vector<std::string> kinds{"limits", "load", "collective", "decode", "prefill"};
    fail(ExitCode::usage, "there is no benchmark '{}'{}; see trireme bench --help", options.input,
         did_you_mean(options.input, kinds));
  }
  world.barrier();
  return 0;
}

}  // namespace trireme

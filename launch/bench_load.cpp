#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/buffer.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "launch/bench.h"
#include "launch/model_file.h"
#include "model/units.h"

namespace trireme {

namespace {

constexpr int64_t kRawRead = int64_t{8} << 20;  // bytes of one pread of the yardstick: dd bs=8M

void drop_from_cache(const File& file) {
  fdatasync(file.fd());
  posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
}

// Sequential reads of [begin, end).
void read_plainly(const File& file, int64_t begin, int64_t end) {
  Buffer buffer(kRawRead, "the read probe");
  for (int64_t at = begin; at < end; at += kRawRead)
    file.read_at(static_cast<uint64_t>(at),
                 buffer.span<char>().first(static_cast<size_t>(std::min(kRawRead, end - at))));
}

// This rank's share of every tensor, as a tensor-parallel group of all ranks would read it.
std::vector<Checkpoint::Request> share_of(const Checkpoint& checkpoint, int rank, int size) {
  std::vector<Checkpoint::Request> requests;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    UnitRange units = tensor.axis == UnitAxis::none ? UnitRange{0, tensor.units} : units_of(tensor.units, size, rank);
    if (units.size() > 0) requests.push_back({&tensor, units, [](auto...) {}});
  }
  return requests;
}

}  // namespace

void bench_load(const Options& options, Communicator& world) {
  Log log(options.log_level, world.rank());
  const std::unique_ptr<Checkpoint> opened = open_checkpoint(checkpoint_of(options.model, world, log), world);
  Checkpoint& checkpoint = *opened;
  const File raw = File::open_to_read(checkpoint.path());
  auto file_bytes = static_cast<int64_t>(checkpoint.file_bytes());
  Range mine = part_of(file_bytes, world.rank(), world.size());
  std::vector<double> rates, limits;
  int64_t bytes = 0;
  for (int64_t sample = 0; sample < options.repeats; sample++) {
    for (bool yardstick : {sample % 2 == 0, sample % 2 != 0}) {  // neither always first: disks drift
      drop_from_cache(raw);
      world.barrier();
      auto start = std::chrono::steady_clock::now();
      int64_t read = yardstick ? mine.end - mine.begin : 0;
      if (yardstick)
        read_plainly(raw, mine.begin, mine.end);
      else
        read = static_cast<int64_t>(checkpoint.read(share_of(checkpoint, world.rank(), world.size())).bytes);
      world.barrier();
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      bytes = world.all_sum(read);
      (yardstick ? limits : rates).push_back(static_cast<double>(bytes) / seconds / 1e9);
    }
  }
  if (world.rank() != 0) return;
  print_figure({"load",
                "GB/s",
                rates,
                median(rates),
                median(limits),
                "GB/s",
                {{"bytes", bytes},
                 {"ranks", world.size()},
                 {"cache", "dropped before each sample"},
                 {"limit", "plain sequential reads of the same file"}},
                limits},
               options);
}

}  // namespace trireme

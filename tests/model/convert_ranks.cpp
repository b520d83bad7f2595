// convert_ranks SRC DST.h5 [DTYPE]: converts on every rank of MPI_COMM_WORLD, for tests that compare numbers of ranks.
// convert_ranks --load FILE.h5 PART PARTS UNITS: reads the units of one part of all tensors, UNITS a request, and says
// how fast; with the peak memory of the process.
#include <mpi.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/buffer.h"
#include "base/error.h"
#include "model/import.h"
#include "model/units.h"

using namespace trireme;

namespace {

void load(const char* path, int part, int parts, int units_a_request) {
  Checkpoint checkpoint(path);
  std::vector<Checkpoint::Request> requests;
  Buffer shard(checkpoint.file_bytes(), "shard");
  size_t used = 0;
  for (const TensorInfo& t : checkpoint.tensors()) {
    UnitRange mine = t.axis == UnitAxis::none ? UnitRange{0, t.units} : units_of(t.units, parts, part);
    for (int unit = mine.begin; unit < mine.end; unit += units_a_request)
      requests.push_back(
          {&t, {unit, std::min(unit + units_a_request, mine.end)}, [&](auto, auto values, auto scales, auto minimums) {
             for (auto piece : {values, scales, minimums}) {
               std::copy(piece.begin(), piece.end(), shard.data() + used);
               used += piece.size();
             }
           }});
  }
  auto stats = checkpoint.read(std::move(requests));
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%.1f MB in %.3f s: %.0f MB/s; peak memory %.1f MB\n", static_cast<double>(stats.bytes) / 1e6,
              stats.seconds, static_cast<double>(stats.bytes) / 1e6 / stats.seconds,
              static_cast<double>(usage.ru_maxrss) * 1024 / 1e6);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 6 && std::string_view(argv[1]) == "--load") {
    load(argv[2], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]));
    return 0;
  }
  if (argc != 3 && argc != 4) return 64;
  int level = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  int code = 0;
  try {
    convert_model(argv[1], argv[2], WriterGroup::world(), {.weights = weight_choice(argc == 4 ? argv[3] : "keep")});
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    code = static_cast<int>(e.code());
  }
  MPI_Finalize();
  return code;
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return static_cast<int>(e.code());
}

#include "topology/launch_check.h"

#include <fmt/core.h>

#include <charconv>

namespace trireme {

std::string launch_mistake(int world_size, const std::function<std::string(const std::string&)>& variable) {
  if (world_size != 1) return "";
  auto count = [&](const char* name) {
    std::string text = variable(name);
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  if (int ranks = count("OMPI_COMM_WORLD_SIZE"); ranks > 0)
    return ranks == 1 ? ""
                      : fmt::format(
                            "mpirun started {} processes, but each is a world of one rank: that mpirun is not of the "
                            "Open MPI this program was built with; use the mpirun of the same installation",
                            ranks);
  if (int ranks = count("SLURM_STEP_NUM_TASKS"); ranks > 1)
    return fmt::format(
        "srun started {} tasks, but each is a world of one rank: use srun --mpi=pmix (srun --mpi=list shows what there "
        "is), or mpirun inside the job",
        ranks);
  if (int ranks = count("PMI_SIZE"); ranks > 1)
    return fmt::format(
        "a launcher started {} processes (PMI), but each is a world of one rank: use the mpirun of Open MPI, or srun "
        "--mpi=pmix",
        ranks);
  if (int ranks = count("SLURM_NTASKS"); ranks > 1 && variable("SLURM_STEP_NUM_TASKS").empty())
    return fmt::format(
        "this job has {} tasks, but one process was started: use srun --mpi=pmix or mpirun (mpirun -n 1 if one rank is "
        "meant)",
        ranks);
  return "";
}

}  // namespace trireme

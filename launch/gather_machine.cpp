#include "launch/gather_machine.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "topology/machine_json.h"

namespace trireme {

Machine gather_machine(Communicator& world, RankProbe probe) {
  const std::string mine =
      machine_to_json(Machine::of({std::move(probe)})).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::vector<RankProbe> probes;
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine)))) {
    const char* text = reinterpret_cast<const char*>(bytes.data());
    Machine of_rank = machine_from_json(nlohmann::json::parse(text, text + bytes.size()),
                                        fmt::format("the probe of rank {}", probes.size()));
    probes.push_back({std::move(of_rank.hosts.front()), std::move(of_rank.ranks.front())});
  }
  return Machine::of(std::move(probes));
}

}  // namespace trireme

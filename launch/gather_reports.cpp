#include "launch/gather_reports.h"

#include <nlohmann/json.hpp>

#include "comm/communicator.h"

namespace trireme {

using nlohmann::ordered_json;

std::vector<ordered_json> gather_reports(const ordered_json& mine, const Environment& environment) {
  if (environment.launcher.empty()) return {mine};
  Waiter waiter{std::chrono::seconds(60)};  // machines that answer at all answer in far less
  Communicator world = Communicator::world(waiter);
  std::string text = mine.dump();
  auto all = world.all_gather(std::as_bytes(std::span(text)));
  std::vector<ordered_json> reports;
  if (world.rank() != 0) return reports;
  for (size_t rank = 0; rank < all.size(); rank++) {
    const auto* begin = reinterpret_cast<const char*>(all[rank].data());
    reports.push_back(ordered_json::parse(begin, begin + all[rank].size()));
    reports.back()["rank"] = rank;  // MPI has the last word
  }
  return reports;
}

}  // namespace trireme

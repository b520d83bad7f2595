#include "launch/machine_file.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/json_file.h"
#include "topology/machine_cluster.h"
#include "topology/machine_json.h"
#include "topology/nccl_xml.h"

namespace trireme {

namespace {

constexpr JsonLimits kLimits = {.bytes = uint64_t{256} << 20, .depth = 8};  // thousands of hosts that differ

}  // namespace

Machine read_machine_file(const std::string& path) {
  InputFile file(path);
  const std::string text = read_text_file(file, kLimits.bytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || text[first] != '<')
    return machine_from_json(parse_json_object(text, path, kLimits.depth), path);
  Machine machine;
  machine.hosts.push_back(host_from_nccl_xml(text, path));
  return machine;
}

Cluster read_cluster_file(const std::string& path) {
  const nlohmann::json json = read_json_file(path, kLimits);
  return is_machine_json(json) ? cluster_of(machine_from_json(json, path)) : Cluster::from_json(json, path);
}

void write_machine_file(const Machine& machine, const std::string& path) {
  const auto replaced = nlohmann::json::error_handler_t::replace;  // a host's names may be any bytes
  replace_file(path, machine_to_json(machine).dump(1, ' ', false, replaced) + "\n");
}

}  // namespace trireme

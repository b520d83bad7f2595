#include "launch/machine_file.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/json_file.h"
#include "topology/machine_cluster.h"
#include "topology/machine_json.h"
#include "topology/nccl_xml.h"

namespace trireme {

namespace {

constexpr JsonLimits kLimits = {.bytes = uint64_t{256} << 20, .depth = 8};  // thousands of hosts that differ

std::string read_description(const std::string& path) {
  InputFile file(path);
  return read_text_file(file, kLimits.bytes);
}

bool is_xml(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && text[first] == '<';
}

Machine machine_of_xml(const std::string& text, const std::string& path) {
  Machine machine;
  machine.hosts.push_back(host_from_nccl_xml(text, path));
  return machine;
}

Cluster cluster_in_file(const Machine& machine, const std::string& path) {
  Cluster cluster = cluster_of(machine);
  if (cluster.device.memory_bytes <= 0)  // NCCL's XML of CPUs
    fail(ExitCode::configuration,
         "{} does not tell how much memory its hosts have; take what topology --dump writes there", path);
  return cluster;
}

}  // namespace

Machine read_machine_file(const std::string& path) {
  const std::string text = read_description(path);
  if (is_xml(text)) return machine_of_xml(text, path);
  return machine_from_json(parse_json_object(text, path, kLimits.depth, JsonNames::once), path);
}

Cluster read_cluster_file(const std::string& path) {
  const std::string text = read_description(path);
  if (is_xml(text)) return cluster_in_file(machine_of_xml(text, path), path);
  const nlohmann::json json = parse_json_object(text, path, kLimits.depth, JsonNames::once);
  return is_machine_json(json) ? cluster_in_file(machine_from_json(json, path), path) : Cluster::from_json(json, path);
}

void write_machine_file(const Machine& machine, const std::string& path) {
  const auto replaced = nlohmann::json::error_handler_t::replace;  // a host's names may be any bytes
  replace_file(path, machine_to_json(machine).dump(1, ' ', false, replaced) + "\n");
}

}  // namespace trireme

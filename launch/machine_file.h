#pragma once

#include <string>

#include "topology/cluster.h"
#include "topology/machine.h"

namespace trireme {

// A machine out of a file: JSON as `topology --dump` writes it, or NCCL's topology XML, which tells of one host. Throws
// Error(no_input), and Error(bad_data) naming the file and the field.
Machine read_machine_file(const std::string& path);
// What a plan is made for: the cluster of such a machine (topology/machine_cluster.h), or what Cluster::from_json
// takes. Throws as these do, and Error(configuration) where the file does not tell what a plan must know.
Cluster read_cluster_file(const std::string& path);
// As JSON, whole or not at all.
void write_machine_file(const Machine& machine, const std::string& path);

}  // namespace trireme

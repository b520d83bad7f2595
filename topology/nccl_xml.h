#pragma once

#include <string>
#include <string_view>

#include "topology/host.h"

namespace trireme {

// A host as NCCL describes it (NCCL_TOPO_FILE reads it, NCCL_TOPO_DUMP_FILE writes it): system > cpu, one for each NUMA
// node > pci, bridges and devices > gpu > nvlink; nic > net. Element and attribute names are those of NCCL's
// src/graph/xml.cc. What we do not know is left out: NCCL fills it in on the host itself.
// root: of the sysfs that has the devices' classes and link speeds; "": there is none, as of an invented host.
std::string nccl_xml(const Host& host, const std::string& root);

// The reverse: CPUs by NUMA node, GPUs and their NVLinks, adapters. Names of GPUs, their memory and packages are not in
// it (each NUMA node counts as one). Throws Error(bad_data) naming `source` and the element, whatever stands there.
Host host_from_nccl_xml(std::string_view xml, const std::string& source);

}  // namespace trireme

#pragma once

#include <string>
#include <string_view>

#include "topology/host.h"

namespace trireme {

// A host as NCCL describes it (NCCL_TOPO_FILE reads it, NCCL_TOPO_DUMP_FILE writes it): system > cpu, one for each NUMA
// node > pci, bridges and devices > gpu > nvlink; nic > net. Element and attribute names are those of NCCL's
// src/graph/xml.cc. What we do not know is left out: NCCL fills it in on the host itself.
// root: of the sysfs that has the devices' classes and link speeds; "": it is another machine's host, or an invented
// one.
std::string nccl_xml(const Host& host, const std::string& root);

// The reverse: CPUs by NUMA node, GPUs and their NVLinks, adapters. Memory and packages are not in it (each NUMA node
// counts as one); GPUs have PCI numbers there, and the name of a data sheet here where one is known by its number. What
// a Host has no member for (link speeds, GUIDs, NVLink-C2C) is not kept.
// Throws Error(bad_data) naming `source` and the element, whatever stands there.
Host host_from_nccl_xml(std::string_view xml, const std::string& source);

}  // namespace trireme

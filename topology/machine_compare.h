#pragma once

#include <string>
#include <vector>

#include "topology/machine.h"

namespace trireme {

// In what one machine differs from another: every field of a dump (topology/machine_json.h), a line each, equal lines
// of several hosts, GPUs or ranks as one: "hosts 0-1 gpus 0-3 numa: 1 and 0". Empty: they are alike. What does not
// count: names of hosts, boots and UUIDs, for another node of the same kind is alike; what is free at the moment; what
// only one of them has measured; what varies by less than a fault would (kTolerances in machine_compare.cpp).
std::vector<std::string> differences(const Machine& a, const Machine& b);
// The same of two hosts: "gpus 0-3 numa: 1 and 0".
std::vector<std::string> differences(const Host& a, const Host& b);

// Hosts that are alike, by their indices, in the order of the first of each. Where there are many kinds of hosts, those
// of later ones stand alone.
std::vector<std::vector<int>> alike_hosts(const Machine& machine);

}  // namespace trireme

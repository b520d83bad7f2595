#pragma once

#include <functional>
#include <string>

namespace trireme {

// The classic launch mistake: a launcher started several processes, and each became a world of one rank. Says what is
// wrong and how to start instead; "" when nothing is. variable: the value of an environment variable, "" when unset.
std::string launch_mistake(int world_size, const std::function<std::string(const std::string&)>& variable);

}  // namespace trireme

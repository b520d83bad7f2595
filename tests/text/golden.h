#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace trireme {

inline std::string read_golden(const std::string& name) {
  const char* folder = std::getenv("TRIREME_TEXT_GOLDEN");
  std::ifstream file(std::string(folder ? folder : "tests/text/golden") + "/" + name, std::ios::binary);
  REQUIRE_MESSAGE(file, name);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Calls check(row) for each line of a file of JSON lines; returns their number.
template <typename Check>
int each_golden(const std::string& name, const Check& check) {
  const std::string all = read_golden(name);
  int count = 0;
  for (size_t begin = 0; begin < all.size(); ++count) {
    const size_t end = all.find('\n', begin);
    check(nlohmann::ordered_json::parse(all.substr(begin, end - begin)));
    begin = end + 1;
  }
  return count;
}

}  // namespace trireme

#include "testkit/cuda/emulated_settings.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

namespace trireme::testkit {

int setting(const char* name, int otherwise) {
  const char *text = std::getenv(name), *rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* at = text ? std::strchr(text, '@') : nullptr;
  const bool mine = text && (!at || std::strcmp(at + 1, rank ? rank : "0") == 0);
  return mine ? std::atoi(text) : otherwise;
}

std::vector<Visible> visible_devices() {
  const auto gpus = static_cast<unsigned>(setting("TRIREME_EMULATED_GPUS", 1));
  const char* text = std::getenv("CUDA_VISIBLE_DEVICES");
  std::vector<Visible> visible;
  for (unsigned chip = 0; !text && chip < gpus; chip++) visible.push_back({chip});
  std::istringstream words(text ? text : "");
  for (std::string word; std::getline(words, word, ',');) {
    unsigned number = 0;
    if (std::sscanf(word.c_str(), "MIG-abc%5x", &number) == 1) return {{number & 0xffff, number >> 16}};
    if (std::sscanf(word.c_str(), "%u", &number) != 1 || number >= gpus) break;
    visible.push_back({number});
  }
  return visible;
}

}  // namespace trireme::testkit

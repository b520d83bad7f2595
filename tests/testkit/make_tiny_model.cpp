// make_tiny_model OUT.gguf [--layers N] [--heads N] [--kv-heads N] [--head-dim N] [--hidden N] [--intermediate N]
//   [--experts N] [--experts-used N] [--vocab N] [--context N] [--type f32|f16|bf16|q8_0|q4_0|q4_1|q4_k|q6_k|q4_k_m]
//   [--tied] [--seed N]
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include "testkit/tiny_model.h"

using namespace trireme::testkit;

int main(int argc, char** argv) try {
  TinyModel model;
  std::map<std::string, int*> numbers = {{"--layers", &model.layers},     {"--heads", &model.heads},
                                         {"--kv-heads", &model.kv_heads}, {"--head-dim", &model.head_dim},
                                         {"--hidden", &model.hidden},     {"--intermediate", &model.intermediate},
                                         {"--experts", &model.experts},   {"--experts-used", &model.experts_used},
                                         {"--vocab", &model.vocab},       {"--context", &model.context}};
  if (argc < 2 || argv[1][0] == '-') throw std::invalid_argument("usage: make_tiny_model OUT.gguf [options]");
  for (int i = 2; i < argc; i++) {
    std::string option = argv[i];
    if (option == "--tied") {
      model.tied = true;
      continue;
    }
    if (++i == argc) throw std::invalid_argument(option + " needs a value");
    if (option == "--type")
      model.type = argv[i];
    else if (option == "--seed")
      model.seed = std::stoull(argv[i]);
    else if (auto number = numbers.find(option); number != numbers.end())
      *number->second = std::stoi(argv[i]);
    else
      throw std::invalid_argument("unknown option " + option);
  }
  write_file(argv[1], model.writer().build());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "make_tiny_model: %s\n", e.what());
  return 64;
}

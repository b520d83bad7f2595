#include "launch/model_file.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/writer_group.h"
#include "launch/converted_from.h"
#include "launch/environment.h"
#include "launch/together.h"
#include "model/import.h"

namespace trireme {

namespace fs = std::filesystem;

namespace {

struct Choice {
  std::string path;
  bool convert = false;
  uint64_t weight_bytes = 0;    // of the source
  nlohmann::json source_state;  // before it is converted
};

// Beside a GGUF file, inside a folder; where that cannot be written, in the cache.
fs::path place_for(const fs::path& source) {
  const bool inside = fs::is_directory(source);
  fs::path folder = inside ? source : source.has_parent_path() ? source.parent_path() : ".";
  // Not model.h5, which may be another file of the user's.
  std::string name = inside ? "trireme.h5" : source.filename().string() + ".h5";
  if (access(folder.c_str(), W_OK) == 0) return folder / name;
  const std::string cache = Environment::read().cache_folder;
  if (cache.empty())
    fail(ExitCode::cannot_create,
         "cannot write beside '{}', and there is no cache folder (HOME is not set); run trireme convert first",
         source.string());
  std::error_code error;
  fs::create_directories(cache, error);
  if (error) fail(ExitCode::cannot_create, "cannot create the cache folder {} ({})", cache, error.message());
  // Models of one name in different folders stay apart.
  const fs::path absolute = fs::weakly_canonical(source, error);
  if (inside) name = absolute.filename().string() + ".h5";
  return fs::path(cache) / (hex16(xxh3(absolute.string())) + "-" + name);
}

Choice choose(const std::string& model) {
  if (model.empty()) fail(ExitCode::usage, "no model was given; add -m MODEL");
  std::error_code error;
  const fs::file_status status = fs::status(model, error);
  if (!fs::exists(status))
    fail(ExitCode::no_input, "there is no model '{}' ({}); check -m", model, error ? error.message() : "no such file");
  if (!is_model_source(model)) return {model};
  const ModelSource source = ModelSource::open(model);
  const std::string place = place_for(model).string();
  const nlohmann::json state = state_of_source(source.files);
  return {place, !is_current(place, state), source.weight_bytes(), state};
}

}  // namespace

std::string checkpoint_of(const std::string& model, Communicator& world, Log& log) {
  Choice choice;  // rank 0's, for all
  together(world, [&] {
    if (world.rank() == 0) choice = choose(model);
  });
  std::vector<std::byte> message(1 + choice.path.size());
  message[0] = std::byte{choice.convert};
  std::memcpy(message.data() + 1, choice.path.data(), choice.path.size());
  world.broadcast(message, 0);
  choice.convert = message[0] != std::byte{0};
  choice.path.assign(reinterpret_cast<const char*>(message.data()) + 1, message.size() - 1);

  if (!choice.convert) return choice.path;
  if (world.rank() == 0)
    log.info("converting {} ({:.0f} MB) to {}, once", model, static_cast<double>(choice.weight_bytes) / 1e6,
             choice.path);
  convert_model(model, choice.path, WriterGroup::world());
  together(world, [&] {
    if (world.rank() == 0) note_source(choice.path, choice.source_state);
  });
  return choice.path;
}

}  // namespace trireme

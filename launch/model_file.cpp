#include "launch/model_file.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"
#include "checkpoint/writer_group.h"
#include "launch/environment.h"
#include "launch/together.h"
#include "model/import_gguf.h"

namespace trireme {

namespace fs = std::filesystem;

namespace {

struct Choice {
  std::string path;
  bool convert = false;
};

bool is_current(const fs::path& converted, const fs::path& source) {
  std::error_code error;
  const auto converted_time = fs::last_write_time(converted, error);
  if (error || converted_time < fs::last_write_time(source, error) || error) return false;
  try {
    Checkpoint checkpoint(converted.string());
    return true;
  } catch (const Error&) {
    return false;  // of an older format, or damaged: made anew
  }
}

fs::path place_for(const fs::path& source) {
  fs::path folder = source.has_parent_path() ? source.parent_path() : ".";
  std::string name = source.filename().string() + ".h5";  // not model.h5, which may be another file of the user's
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
  return fs::path(cache) / (hex16(xxh3(absolute.string())) + "-" + name);
}

Choice choose(const std::string& model) {
  if (model.empty()) fail(ExitCode::usage, "no model was given; add -m MODEL");
  std::error_code error;
  const fs::file_status status = fs::status(model, error);
  if (!fs::exists(status))
    fail(ExitCode::no_input, "there is no model '{}' ({}); check -m", model, error ? error.message() : "no such file");
  if (fs::is_directory(status))
    fail(ExitCode::bad_data,
         "'{}' is a folder; this version reads checkpoints (.h5) and GGUF files, folders come with a later one", model);
  if (!Gguf::is_gguf(model)) return {model, false};
  fs::path place = place_for(model);
  return {place.string(), !is_current(place, model)};
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
    log.info("converting {} ({:.0f} MB) to {}, once", model, static_cast<double>(fs::file_size(model)) / 1e6,
             choice.path);
  convert_gguf(model, choice.path, WriterGroup::world());
  return choice.path;
}

}  // namespace trireme

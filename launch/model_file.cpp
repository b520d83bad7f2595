#include "launch/model_file.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "checkpoint/writer_group.h"
#include "comm/shared_window.h"
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

// What rank 0 has chosen may be its own host's alone, as a cache folder in a home that no network has. file: what must
// be there.
void check_seen(const std::string& file, const std::string& model, const std::string& path, const Communicator& world) {
  together(world, [&] {
    try {
      File::open_to_read(file);
    } catch (const Error& error) {
      if (world.rank() == 0) throw;
      const std::string here = fmt::format("rank {} on {}", world.rank(), Environment::read().host);
      if (path == model) fail(error.code(), "{}: {}", here, error.what());
      fail(error.code(),
           "{} is converted on rank 0's host to {}, which {} does not see; convert it once to a folder that all hosts "
           "see, by trireme convert {} -o MODEL.h5, and give that to -m",
           model, path, here, model);
    }
  });
}

// Before all ranks write there together.
void check_place(const std::string& model, const std::string& path, const Communicator& world) {
  const int64_t token = world.all_max(world.rank() == 0 ? static_cast<int64_t>(random_u64() >> 1) : 0);
  const std::string probe = fmt::format("{}.seen-{:016x}", path, token);
  together(world, [&] {
    if (world.rank() == 0) File::create(probe);
  });
  const auto remove = [&] {
    if (world.rank() == 0) unlink(probe.c_str());
  };
  try {
    check_seen(probe, model, path, world);
  } catch (const Error&) {
    remove();
    throw;
  }
  remove();
}

void convert_to(const Choice& choice, const std::string& model, const Communicator& world, Log& log) {
  if (world.size() > 1) check_place(model, choice.path, world);
  if (world.rank() == 0)
    log.info("converting {} ({:.0f} MB) to {}, once", model, static_cast<double>(choice.weight_bytes) / 1e6,
             choice.path);
  convert_model(model, choice.path, WriterGroup::world(world.waiter().deadline()));
  together(world, [&] {
    if (world.rank() == 0) note_source(choice.path, choice.source_state);
  });
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

  if (choice.convert) convert_to(choice, model, world, log);
  check_seen(choice.path, model, choice.path, world);
  return choice.path;
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const Communicator& world) {
  std::unique_ptr<Checkpoint> checkpoint;
  together(world, [&] { checkpoint = std::make_unique<Checkpoint>(path); });
  return checkpoint;
}

}  // namespace trireme

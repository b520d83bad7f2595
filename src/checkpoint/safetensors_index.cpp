#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"

namespace trireme {

namespace fs = std::filesystem;

namespace {

constexpr JsonLimits kIndexLimits{uint64_t{32} << 20, 8};  // the largest published ones have 10 MB
constexpr size_t kMaxShards = 10000;

// A shard is a plain file name: the index may not lead anywhere else.
std::string shard_name(const nlohmann::json& value, const std::string& tensor, const std::string& index) {
  std::string name = value.is_string() ? value.get<std::string>() : "";
  bool plain = !name.empty() && name.size() <= 255 && name.ends_with(".safetensors") && name[0] != '.' &&
               name.find_first_of(std::string("/\\\0", 3)) == name.npos;
  if (!plain)
    fail(ExitCode::bad_data, "{}: weight_map gives the tensor {} the file {}; expected a name of a .safetensors file",
         index, shown_name(tensor), value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 80));
  return name;
}

// Every tensor in the shard that the index names, none missing, none besides.
void check_shard(const Safetensors& shard, const std::string& name,
                 const std::unordered_map<std::string, std::string>& shard_of, const std::string& index) {
  for (const SafetensorsTensor& t : shard.tensors()) {
    auto found = shard_of.find(t.name);
    if (found == shard_of.end())
      fail(ExitCode::bad_data, "{}: has the tensor {}, which {} does not list; copy the model again", shard.path(),
           shown_name(t.name), index);
    if (found->second != name)
      fail(ExitCode::bad_data, "{}: has the tensor {}, which {} gives to {}; copy the model again", shard.path(),
           shown_name(t.name), index, found->second);
  }
}

std::vector<Safetensors> open_shards(const std::string& folder, const std::string& index, bool follow_links) {
  const nlohmann::json file = read_json_file(check_link(index, follow_links), kIndexLimits);
  auto map = file.find("weight_map");
  if (map == file.end() || !map->is_object() || map->empty())
    fail(ExitCode::bad_data, "{}: weight_map is missing or no object; copy the model again", index);
  std::unordered_map<std::string, std::string> shard_of;
  std::map<std::string, size_t> listed;  // tensors of each shard
  for (const auto& [tensor, value] : map->items()) listed[shard_of[tensor] = shard_name(value, tensor, index)]++;
  if (listed.size() > kMaxShards)
    fail(ExitCode::bad_data, "{}: names {} shards; {} are possible", index, listed.size(), kMaxShards);
  std::vector<Safetensors> shards;
  for (const auto& [name, count] : listed) {
    const std::string path = (fs::path(folder) / name).string();
    if (!is_there(path))
      fail(ExitCode::bad_data, "{}: the shard {} is not in the folder; copy the model again", index, name);
    shards.emplace_back(check_link(path, follow_links));
    check_shard(shards.back(), name, shard_of, index);
    if (shards.back().tensors().size() == count) continue;
    std::unordered_map<std::string_view, bool> held;
    for (const SafetensorsTensor& t : shards.back().tensors()) held[t.name] = true;
    for (const auto& [tensor, shard] : shard_of)
      if (shard == name && !held.contains(tensor))
        fail(ExitCode::bad_data, "{}: the tensor {} is not in it, as {} says; copy the model again", path,
             shown_name(tensor), index);
  }
  return shards;
}

}  // namespace

bool is_there(const std::string& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

std::string check_link(const std::string& path, bool follow_links) {
  std::error_code error;
  if (follow_links || !fs::is_symlink(fs::symlink_status(path, error))) return path;
  const fs::path target = fs::canonical(path, error);
  if (error)
    fail(ExitCode::bad_data, "{} is a link that leads nowhere ({}); copy the file itself", path, error.message());
  const fs::path folder = fs::canonical(fs::path(path).parent_path(), error);
  // A Hugging Face cache: MODEL/snapshots/REVISION/config.json -> ../../blobs/DIGEST.
  const fs::path blobs = folder.parent_path().parent_path() / "blobs";
  const bool in_cache = folder.parent_path().filename() == "snapshots" && target.parent_path() == blobs;
  if (error || (target.parent_path() != folder && !in_cache))
    fail(ExitCode::bad_data,
         "{} is a link to {}, outside its folder; copy the file, or let trireme convert --follow-links take it", path,
         target.string());
  return path;
}

std::vector<Safetensors> open_safetensors(const std::string& folder, bool follow_links) {
  auto in_folder = [&](const char* name) { return (fs::path(folder) / name).string(); };
  std::vector<Safetensors> files;
  const std::string single = in_folder("model.safetensors"), index = in_folder("model.safetensors.index.json");
  if (is_there(single)) {  // as transformers: before an index
    files.emplace_back(check_link(single, follow_links));
    return files;
  }
  if (is_there(index)) return open_shards(folder, index, follow_links);
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (is_there(in_folder(name)))
      fail(ExitCode::bad_data,
           "{} has its weights in {}, a pickle, which is never read; save them as safetensors, in Python: "
           "transformers.AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)",
           folder, name);
  fail(ExitCode::bad_data, "{} has neither model.safetensors nor model.safetensors.index.json; is it a whole model?",
       folder);
}

}  // namespace trireme

#include "checkpoint/gguf.h"

#include <cstring>

#include "base/error.h"
#include "checkpoint/gguf_header.h"

namespace trireme {

namespace {

constexpr int64_t kMaxShards = 1024;

}  // namespace

Gguf::Gguf(const std::string& path) {
  files_.emplace_back(path);
  GgufHeader header = read_gguf_header(files_.back());
  version_ = header.version;
  metadata_ = std::move(header.metadata);
  take(std::move(header.tensors));
  const int64_t* count = find<int64_t>("split.count");
  if (count && *count != 1 && *count != 0) read_shards(*count);
}

void Gguf::take(std::vector<GgufTensor> tensors) {
  for (GgufTensor& t : tensors) {
    if (!by_name_.emplace(t.name, tensors_.size()).second)
      fail(ExitCode::bad_data, "{}: the tensor {} stands twice", t.file->path(), t.name);
    tensors_.push_back(std::move(t));
  }
}

// The first of N files holds the metadata; of the others the tensors belong to it, and nothing else.
void Gguf::read_shards(int64_t count) {
  auto name = [count](int64_t shard) { return fmt::format("-{:05}-of-{:05}.gguf", shard + 1, count); };
  if (count < 0 || count > kMaxShards)
    fail(ExitCode::bad_data, "{}: split.count is {}; at most {} files make a model", path(), count, kMaxShards);
  if (get<int64_t>("split.no") != 0 || !path().ends_with(name(0)))
    fail(ExitCode::bad_data, "{}: split.count is {}: this is one of several files; name the first, which ends in {}",
         path(), count, name(0));
  const std::string stem = path().substr(0, path().size() - name(0).size());
  for (int64_t shard = 1; shard < count; shard++) {
    files_.emplace_back(stem + name(shard));
    GgufHeader header = read_gguf_header(files_.back());
    const std::string& where = files_.back().path();
    for (auto [key, expected] : {std::pair("split.no", shard), std::pair("split.count", count)})
      if (auto found = header.metadata.find(key);
          found == header.metadata.end() || found->second != GgufValue(expected))
        fail(ExitCode::bad_data, "{}: {} is not {}; the file does not belong to {}", where, key, expected, path());
    for (const auto& [key, value] : header.metadata)
      if (!key.starts_with("split.") && key != "general.alignment")
        fail(ExitCode::bad_data, "{}: the metadata key {} stands in a file that is not the first", where, key);
    take(std::move(header.tensors));
  }
  int64_t tensors = get<int64_t>("split.tensors.count");
  if (tensors != static_cast<int64_t>(tensors_.size()))
    fail(ExitCode::bad_data, "{}: split.tensors.count is {}, but its {} files hold {} tensors", path(), tensors, count,
         tensors_.size());
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

bool Gguf::is_gguf(const std::string& path) try {
  InputFile file(path);
  char magic[4];
  if (file.bytes() < 4) return false;
  file.read(0, std::as_writable_bytes(std::span(magic)), "magic bytes");
  return std::memcmp(magic, "GGUF", 4) == 0;
} catch (const Error&) {
  return false;
}

void Gguf::wrong_type(std::string_view key) const {
  fail(ExitCode::bad_data,
       "{}: the metadata key {} has a value of an unexpected type; the file is damaged or of another make", path(),
       key);
}
void Gguf::missing(std::string_view key) const {
  fail(ExitCode::bad_data, "{}: the metadata key {} is missing; convert the model to GGUF again", path(), key);
}

}  // namespace trireme

#include "checkpoint/checkpoint.h"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/index.h"
#include "checkpoint/input_file.h"
#include "checkpoint/shard_reader.h"

namespace trireme {

struct Checkpoint::State {
  explicit State(const std::string& path) : file(path), index(read_index(file, &digest)) {
    for (const TensorInfo& t : index.tensors) by_name.emplace(t.name, &t);
  }

  InputFile file;
  std::string digest;
  Index index;
  std::map<std::string_view, const TensorInfo*> by_name;
};

Checkpoint::Checkpoint(const std::string& path) : state_(std::make_unique<State>(path)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

const std::string& Checkpoint::path() const { return state_->file.path(); }
uint64_t Checkpoint::file_bytes() const { return state_->file.bytes(); }
const std::string& Checkpoint::digest() const { return state_->digest; }
const nlohmann::json& Checkpoint::config() const { return state_->index.config; }
int Checkpoint::unit_formula() const { return state_->index.unit_formula; }
int Checkpoint::unit_group() const { return state_->index.unit_group; }
std::span<const TensorInfo> Checkpoint::tensors() const { return state_->index.tensors; }

std::string Checkpoint::read_blob(std::string_view name) const {
  for (const Index::Blob& blob : state_->index.blobs) {
    if (blob.name != name) continue;
    std::string text(blob.bytes, '\0');
    state_->file.read(blob.offset, std::as_writable_bytes(std::span(text)), blob.name.c_str());
    if (uint64_t sum = xxh3(text); sum != blob.checksum)
      fail(ExitCode::bad_data,
           "{}: {} (bytes {} to {}) has checksum {}, expected {}; the file is damaged, convert the model again", path(),
           blob.name, blob.offset, blob.offset + blob.bytes, hex16(sum), hex16(blob.checksum));
    return text;
  }
  return "";
}

const TensorInfo* Checkpoint::find_tensor(std::string_view name) const {
  auto found = state_->by_name.find(name);
  return found == state_->by_name.end() ? nullptr : found->second;
}

Checkpoint::ReadStats Checkpoint::read(std::vector<Request> requests) const {
  auto start = std::chrono::steady_clock::now();
  ShardReader reader(state_->file, std::move(requests));
  reader.consume_all();
  return {reader.bytes(), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

}  // namespace trireme

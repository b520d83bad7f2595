#include "model/import_gguf.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/thread_pool.h"
#include "model/gguf_tokenizer.h"
#include "model/gguf_units.h"

namespace trireme {

namespace {

constexpr std::string_view kPrefix = "llama.";

// Typed reads of the keys "llama.*", and what was not read in the end.
class Keys {
 public:
  explicit Keys(const Gguf& gguf) : gguf_(gguf) {}

  std::optional<int64_t> find_integer(const char* key) { return copy(gguf_.find<int64_t>(full(key))); }
  std::optional<double> find_real(const char* key) { return copy(gguf_.find<double>(full(key))); }
  int64_t integer(const char* key) { return gguf_.get<int64_t>(full(key)); }
  double real(const char* key) { return gguf_.get<double>(full(key)); }
  int count(const char* key) { return static_cast<int>(std::clamp<int64_t>(integer(key), -1, int64_t{1} << 30)); }

  // A feature that exists elsewhere and not here: absent, or with the one value that asks for nothing.
  void only(const char* key, const GgufValue& neutral) {
    auto found = gguf_.metadata().find(full(key));
    if (found != gguf_.metadata().end() && found->second != neutral)
      fail(ExitCode::bad_data, "{}: the metadata key {} asks for a feature that this version does not support",
           gguf_.path(), full(key));
  }
  void check_rest() const {
    for (const auto& [key, value] : gguf_.metadata())
      if (key.starts_with(kPrefix) && !known_.contains(key))
        fail(ExitCode::bad_data,
             "{}: the metadata key {} is not known to this version, and ignoring it could change the results",
             gguf_.path(), key);
  }

 private:
  template <typename T>
  static std::optional<T> copy(const T* value) {
    return value ? std::optional<T>(*value) : std::nullopt;
  }
  std::string full(const char* key) { return *known_.insert(std::string(kPrefix) + key).first; }

  const Gguf& gguf_;
  std::set<std::string> known_;
};

void add_special_tokens(const Gguf& gguf, ModelConfig* c) {
  auto token = [&](const char* key) -> int32_t {
    const int64_t* id = gguf.find<int64_t>(key);
    if (!id) return -1;
    if (*id < 0 || *id >= c->vocab_size)
      fail(ExitCode::bad_data, "{}: {} is {}, outside the vocabulary of {}", gguf.path(), key, *id, c->vocab_size);
    return static_cast<int32_t>(*id);
  };
  c->bos_token_id = token("tokenizer.ggml.bos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (int32_t id = token(key);
        id >= 0 && std::find(c->eos_token_ids.begin(), c->eos_token_ids.end(), id) == c->eos_token_ids.end())
      c->eos_token_ids.push_back(id);
  c->add_bos = gguf_adds_bos(gguf);
}

ModelConfig read_config(const Gguf& gguf) {
  const std::string& architecture = gguf.get<std::string>("general.architecture");
  if (architecture != "llama")
    fail(ExitCode::bad_data, "{}: general.architecture is {}; this version runs: llama", gguf.path(), architecture);
  Keys keys(gguf);
  ModelConfig c;
  c.hidden_size = keys.integer("embedding_length");
  c.intermediate_size = keys.integer("feed_forward_length");
  c.num_layers = keys.count("block_count");
  c.num_heads = keys.count("attention.head_count");
  c.num_kv_heads = static_cast<int>(
      std::clamp<int64_t>(keys.find_integer("attention.head_count_kv").value_or(c.num_heads), -1, int64_t{1} << 30));
  int64_t head_dim =
      keys.find_integer("attention.key_length").value_or(c.num_heads > 0 ? c.hidden_size / c.num_heads : 0);
  c.head_dim = static_cast<int>(std::clamp<int64_t>(head_dim, -1, int64_t{1} << 30));
  c.max_positions = keys.integer("context_length");
  c.rope_theta = keys.find_real("rope.freq_base").value_or(10000);
  c.rms_norm_eps = keys.real("attention.layer_norm_rms_epsilon");
  const GgufTensor* embedding = gguf.find_tensor("token_embd.weight");
  if (!embedding) fail(ExitCode::bad_data, "{}: the tensor token_embd.weight is missing", gguf.path());
  c.vocab_size = embedding->rows;
  c.tie_word_embeddings = gguf.find_tensor("output.weight") == nullptr;
  keys.only("vocab_size", c.vocab_size);
  keys.only("attention.value_length", head_dim);
  keys.only("rope.dimension_count", head_dim);  // less: partial rotary embeddings
  keys.only("rope.scaling.type", std::string("none"));
  keys.only("rope.scaling.factor", 1.0);
  keys.only("rope.scaling.attn_factor", 1.0);
  keys.only("rope.scale_linear", 1.0);
  keys.only("expert_count", int64_t{0});
  keys.only("expert_used_count", int64_t{0});
  keys.only("attention.sliding_window", int64_t{0});
  keys.check_rest();
  if (gguf.find_tensor("rope_freqs.weight"))
    fail(ExitCode::bad_data,
         "{}: the tensor rope_freqs.weight (scaled rotary embeddings) is not supported by this version", gguf.path());
  add_special_tokens(gguf, &c);
  c.check(gguf.path());
  return c;
}

const GgufTensor* source_of(const Gguf& gguf, const TensorSlot& slot) {
  const GgufTensor* t = gguf.find_tensor(slot.gguf_name);
  if (!t) fail(ExitCode::bad_data, "{}: the tensor {} is missing", gguf.path(), slot.gguf_name);
  if (t->rows != slot.rows || t->columns != slot.columns || t->dimensions > 2)
    fail(ExitCode::bad_data, "{}: the tensor {} is [{}, {}], expected [{}, {}] from the metadata", gguf.path(), t->name,
         t->rows, t->columns, slot.rows, slot.columns);
  if (slot.axis == UnitAxis::none && t->type->format != WeightFormat{})
    fail(ExitCode::bad_data, "{}: the tensor {} is stored as {}; norms are read as F32", gguf.path(), t->name,
         t->type->name);
  return t;
}

CheckpointContent content_of(const Gguf& gguf, const GgufModel& model) {
  CheckpointContent content;
  content.unit_formula = kUnitFormulaVersion;
  content.unit_group = model.unit_group;
  content.config = model.config.to_json();
  content.blobs.emplace_back("tokenizer.json", gguf_tokenizer_json(gguf));
  if (const std::string* text = gguf.find<std::string>("tokenizer.chat_template"))
    content.blobs.emplace_back("chat_template.jinja", *text);
  for (size_t i = 0; i < model.slots.size(); i++)
    content.tensors.push_back(tensor_info(model.slots[i], model.sources[i]->type->format));
  return content;
}

// This rank's part of every tensor.
void write_share(const GgufModel& model, const CheckpointContent& content, const WriterGroup& group,
                 CheckpointWriter& writer, const ConvertProgress& progress) {
  uint64_t done = 0, total = 0;
  auto share = [&](const TensorInfo& t) {
    Range r = part_of(t.units, group.rank(), group.size());
    return UnitRange{static_cast<int>(r.begin), static_cast<int>(r.end)};
  };
  for (const TensorInfo& t : content.tensors) total += stored_bytes(t, share(t).size());
  for (size_t i = 0; i < content.tensors.size(); i++) {
    const TensorInfo& t = content.tensors[i];
    GgufUnits units(*model.sources[i]->file, *model.sources[i], t, model.slots[i].rope_heads);
    UnitRange mine = share(t);
    for (int begin = mine.begin; begin < mine.end; begin += units.batch()) {
      UnitRange batch{begin, std::min(begin + units.batch(), mine.end)};
      const StoredUnits& stored = units.read(batch);
      writer.write(i, batch, stored.parts[0], stored.parts[1], stored.parts[2]);
      done += stored_bytes(t, batch.size());
      if (progress) progress(done, total);
    }
  }
}

}  // namespace

GgufModel::GgufModel(const Gguf& gguf) : config(read_config(gguf)) {
  // Which groups the row-parallel weights have decides the units, so look at them first; a name is enough for that.
  for (const GgufTensor& t : gguf.tensors())
    if (t.name.ends_with(".attn_output.weight") || t.name.ends_with(".ffn_down.weight"))
      unit_group = std::lcm(unit_group, t.type->format.group);
  units = UnitTable::of(config, unit_group);
  slots = tensor_slots(config, units);
  std::set<std::string_view> expected;
  for (const TensorSlot& slot : slots) {
    sources.push_back(source_of(gguf, slot));
    expected.insert(slot.gguf_name);
  }
  for (const GgufTensor& t : gguf.tensors())
    if (!expected.contains(t.name))
      fail(ExitCode::bad_data,
           "{}: the tensor {} has no place in this architecture, and ignoring it could change the results", gguf.path(),
           t.name);
}

void convert_gguf(const std::string& source, const std::string& destination, const WriterGroup& group,
                  const ConvertProgress& progress) {
  std::optional<Gguf> gguf;
  std::optional<GgufModel> model;
  CheckpointContent content;
  group.agree([&] {
    gguf.emplace(source);
    model.emplace(*gguf);
    content = content_of(*gguf, *model);
  });
  CheckpointWriter writer(group, destination, content);
  group.agree([&] { write_share(*model, content, group, writer, progress); });
  writer.finish();
}

}  // namespace trireme

#include "model/tiny_folder.h"

#include <fmt/core.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/dtype.h"
#include "checkpoint/gguf.h"
#include "model/gguf_tokenizer.h"
#include "testkit/gguf_writer.h"
#include "testkit/safetensors_writer.h"
#include "testkit/tiny_model.h"

namespace trireme::testkit {

namespace {

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

TinyFolder::TinyFolder(const std::vector<std::string>& types, int64_t hidden, int64_t intermediate) {
  const int64_t vocab = 259, heads = 9, kv_heads = 3, head_dim = 16, layers = 2;
  config = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_size", hidden},
            {"intermediate_size", intermediate},
            {"num_hidden_layers", layers},
            {"num_attention_heads", heads},
            {"num_key_value_heads", kv_heads},
            {"head_dim", head_dim},
            {"vocab_size", vocab},
            {"max_position_embeddings", 2048},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"hidden_act", "silu"},
            {"tie_word_embeddings", false},
            {"bos_token_id", 1},
            {"eos_token_id", 2},
            {"torch_dtype", "bfloat16"}};
  TempFolder folder;
  write_file(folder / "t.gguf", TinyModel{}.writer().build());
  tokenizer_json = gguf_tokenizer_json(Gguf(folder / "t.gguf"));
  size_t count = 0;
  auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    put(name + ".weight", types[count++ % types.size()], shape);
  };
  add("model.embed_tokens", {vocab, hidden});
  for (int64_t i = 0; i < layers; i++) {
    const std::string at = fmt::format("model.layers.{}.", i);
    add(at + "input_layernorm", {hidden});
    add(at + "self_attn.q_proj", {heads * head_dim, hidden});
    add(at + "self_attn.k_proj", {kv_heads * head_dim, hidden});
    add(at + "self_attn.v_proj", {kv_heads * head_dim, hidden});
    add(at + "self_attn.o_proj", {hidden, heads * head_dim});
    add(at + "post_attention_layernorm", {hidden});
    add(at + "mlp.gate_proj", {intermediate, hidden});
    add(at + "mlp.up_proj", {intermediate, hidden});
    add(at + "mlp.down_proj", {hidden, intermediate});
  }
  add("model.norm", {hidden});
  add("lm_head", {vocab, hidden});
}

void TinyFolder::put(const std::string& name, const std::string& type, const std::vector<int64_t>& shape) {
  std::mt19937 random(static_cast<uint32_t>(tensors.size() * 7919 + name.size()));
  std::normal_distribution<float> normal(0, 0.1f);
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  Tensor t{type, shape, ""};
  for (int64_t i = 0; i < count; i++) {
    if (type == "F32")
      append(t.bytes, normal(random));
    else if (type == "BF16")
      append(t.bytes, to_bf16(normal(random)));
    else if (type == "F16")
      append(t.bytes, static_cast<uint16_t>((random() & 0x8000u) | (random() % 0x3c00u)));
    else
      t.bytes += static_cast<char>(random());
  }
  tensors[name] = t;
}

std::vector<float> TinyFolder::Tensor::values() const {
  std::vector<float> all;
  for (size_t at = 0; at < bytes.size(); at += type == "F32" ? 4 : 2) {
    uint16_t half = 0;
    float single = 0;
    std::memcpy(&half, bytes.data() + at, sizeof half);
    if (type == "F32") std::memcpy(&single, bytes.data() + at, sizeof single);
    all.push_back(type == "F32" ? single : type == "F16" ? to_float(F16{half}) : to_float(BF16{half}));
  }
  return all;
}

void TinyFolder::write(const TempFolder& folder, int shards, unsigned shuffle) const {
  auto put_json = [&](const char* name, const nlohmann::json& value) {
    if (!value.is_null()) folder.put(name, value.dump());
  };
  put_json("config.json", config);
  put_json("generation_config.json", generation);
  put_json("tokenizer_config.json", tokenizer_config);
  folder.put("tokenizer.json", tokenizer_json);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  std::shuffle(names.begin(), names.end(), std::mt19937(shuffle));
  std::vector<SafetensorsWriter> files(static_cast<size_t>(shards));
  nlohmann::json map;
  for (size_t i = 0; i < names.size(); i++) {
    const Tensor& t = tensors.at(names[i]);
    const size_t shard = i % files.size();
    files[shard].tensor(names[i], t.type, t.shape, t.bytes);
    map[names[i]] = fmt::format("model-{}.safetensors", shard);
  }
  if (shards == 1) return void(folder.put("model.safetensors", files[0].build()));
  for (size_t shard = 0; shard < files.size(); shard++)
    folder.put(fmt::format("model-{}.safetensors", shard), files[shard].build());
  put_json("model.safetensors.index.json", {{"weight_map", map}});
}

}  // namespace trireme::testkit

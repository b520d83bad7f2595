#include "model/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "base/thread_pool.h"
#include "model/transformers_config.h"

namespace trireme {

namespace {

constexpr std::string_view kChoices[] = {"keep", "bf16", "fp32", "int8", "int4", "fp8"};  // as WeightChoice

bool is_vector(const TensorSlot& slot) { return slot.rows == 1 || slot.columns == 1; }

const std::vector<SourceSlice>& slices_of(const ModelSource& source, const TensorSlot& slot) {
  return source.kind == ModelSource::Kind::gguf ? slot.gguf : slot.hf;
}

const SourceTensor* source_of(const ModelSource& source, const TensorSlot& slot, const SourceSlice& slice) {
  const SourceTensor* t = source.find(slice.name);
  if (!t) fail(ExitCode::bad_data, "{}: the tensor {} is missing", source.path, slice.name);
  const bool by_unit = slices_of(source, slot).size() > 1;
  const int64_t rows = slice.of_rows, columns = by_unit && slot.axis == UnitAxis::columns ? slot.unit : slot.columns;
  const bool turned = slot.columns == 1 && t->rows == 1 && t->columns == rows;
  if (!turned && (t->rows != rows || t->columns != columns))
    fail(ExitCode::bad_data, "{}: the tensor {} is [{}, {}], expected [{}, {}] from the config", source.path, t->name,
         t->rows, t->columns, rows, columns);
  if (!t->type || (is_vector(slot) && t->type->format.quantized()))
    fail(ExitCode::bad_data, "{}: the tensor {} is stored as {}; possible are {}", t->file->path(), t->name,
         t->type_name,
         is_vector(slot) || source.kind == ModelSource::Kind::folder ? "F32, F16, BF16" : supported_block_types());
  return t;
}

// A vector that is cut by rows stands in the source as one row.
const SourceTensor* as_column(const SourceTensor* t, const TensorSlot& slot, std::deque<SourceTensor>& turned) {
  if (slot.columns != 1 || t->rows != 1) return t;
  SourceTensor column = *t;
  std::swap(column.rows, column.columns);
  column.row_bytes = t->row_bytes / static_cast<uint64_t>(column.rows);
  return &turned.emplace_back(column);
}

WeightFormat format_of(const ModelSource& source, const TensorSlot& slot, const SourceTensor& t, WeightChoice choice) {
  const bool quantizes = choice == WeightChoice::int8 || choice == WeightChoice::int4 || choice == WeightChoice::fp8;
  if (quantizes && t.type->format.quantized() && slot.axis != UnitAxis::none)
    fail(ExitCode::bad_data,
         "{}: the tensor {} is {} already; quantizing it twice only loses: use --dtype keep, or bf16 or fp32 of it",
         source.path, t.name, t.type_name);
  return stored_format(slot, t.type->format, choice);
}

// The one format of a slot whose units may have sources of their own.
WeightFormat format_of(const ModelSource& source, const TensorSlot& slot, WeightChoice choice) {
  std::optional<WeightFormat> format;
  for (const SourceSlice& slice : slices_of(source, slot)) {
    const SourceTensor& t = *source_of(source, slot, slice);
    const WeightFormat found = format_of(source, slot, t, choice);
    if (format && *format != found)
      fail(ExitCode::bad_data, "{}: the tensor {} is {}, but others of {} are {}; convert with --dtype bf16 or fp32",
           source.path, t.name, t.type_name, slot.name, format_name(*format));
    format = found;
  }
  must(format.has_value(), "every slot has a source");
  return *format;
}

TensorPlan plan_of(const ModelSource& source, TensorSlot slot, WeightChoice choice, std::deque<SourceTensor>& turned) {
  TensorPlan plan;
  plan.info = tensor_info(slot, format_of(source, slot, choice));
  if (plan.info.unit_columns % plan.info.format.group != 0)
    fail(ExitCode::bad_data, "{}: units of {} have {} columns, no whole groups of {}; convert with --dtype keep",
         source.path, slot.name, plan.info.unit_columns, plan.info.format.group);
  const std::vector<SourceSlice>& slices = slices_of(source, slot);
  must(slices.size() == 1 || std::ssize(slices) == plan.info.units, "a slot has one source, or one for each unit");
  for (const SourceSlice& slice : slices) {
    const SourceTensor* t = as_column(source_of(source, slot, slice), slot, turned);
    const int64_t rows = slices.size() == 1 ? slot.rows : slot.axis == UnitAxis::columns ? slot.rows : slot.unit;
    must(slice.first_row >= 0 && slice.first_row + rows <= slice.of_rows, "a slice lies inside its tensor");
    plan.slices.push_back({t, slice.first_row});
    plan.keep = plan.keep && t->type->format == plan.info.format;
  }
  if (source.kind == ModelSource::Kind::gguf) plan.rope_heads = slot.gguf_rope_heads;
  if (source.kind == ModelSource::Kind::folder) plan.offset = slot.hf_offset;
  plan.keep = plan.keep && plan.offset == 0;
  plan.slot = std::move(slot);
  return plan;
}

// Whether two tensors hold the same bytes, a piece at a time.
bool equal_bytes(const SourceTensor& a, const SourceTensor& b) {
  constexpr uint64_t kPiece = uint64_t{4} << 20;
  const uint64_t bytes = a.row_bytes * static_cast<uint64_t>(a.rows);
  if (a.type_name != b.type_name || a.rows != b.rows || a.columns != b.columns) return false;
  Buffer left(kPiece, "tensors to compare"), right(kPiece, "tensors to compare");
  for (uint64_t at = 0; at < bytes; at += kPiece) {
    const uint64_t piece = std::min(kPiece, bytes - at);
    a.file->read(a.offset + at, {left.data(), piece}, a.name.c_str());
    b.file->read(b.offset + at, {right.data(), piece}, b.name.c_str());
    if (std::memcmp(left.data(), right.data(), piece) != 0) return false;
  }
  return true;
}

// Nothing may be ignored in silence. A head beside a tied embedding is known: some programs store both.
void check_rest(const ModelSource& source, const std::vector<TensorPlan>& plans, const ModelConfig& config) {
  std::set<std::string_view> used;
  for (const TensorPlan& plan : plans)
    for (const TensorPlan::Slice& slice : plan.slices) used.insert(slice.tensor->name);
  for (const SourceTensor& t : source.tensors) {
    if (used.contains(t.name) || source.without_effect(t)) continue;
    const bool head = t.name == "lm_head.weight" && config.tie_word_embeddings;
    if (head && equal_bytes(t, *plans.front().slices.front().tensor)) continue;
    if (head)
      fail(ExitCode::bad_data,
           "{}: lm_head.weight differs from the embedding that tie_word_embeddings puts in its place; say false there "
           "to use it",
           source.path);
    fail(ExitCode::bad_data,
         "{}: the tensor {} has no place in this architecture, and ignoring it could change the results", source.path,
         t.name);
  }
}

CheckpointContent content_of(const ModelSource& source, const ModelImport& model) {
  CheckpointContent content;
  content.unit_formula = kUnitFormulaVersion;
  content.unit_group = model.unit_group;
  content.config = model.config.to_json();
  content.blobs.emplace_back("tokenizer.json", source.tokenizer_json);
  content.blobs.emplace_back("chat_template.jinja", source.chat_template);
  if (!source.generation.empty())
    content.blobs.emplace_back("generation_config.json", source.generation.dump(2) + "\n");
  for (const TensorPlan& plan : model.plans) content.tensors.push_back(plan.info);
  return content;
}

// This rank's part of every tensor. errors: [tensors][units].
void write_share(const std::vector<TensorPlan>& plans, const WriterGroup& group, CheckpointWriter& writer,
                 std::vector<std::vector<EncodingError>>& errors, const ConvertProgress& progress) {
  uint64_t done = 0, total = 0;
  auto share = [&](const TensorInfo& t) {
    Range r = part_of(t.units, group.rank(), group.size());
    return UnitRange{static_cast<int>(r.begin), static_cast<int>(r.end)};
  };
  for (const TensorPlan& plan : plans) total += stored_bytes(plan.info, share(plan.info).size());
  for (size_t i = 0; i < plans.size(); i++) {
    const TensorInfo& t = plans[i].info;
    UnitRange mine = share(t);
    if (mine.size() == 0) continue;
    SourceUnits units(plans[i]);
    for (int begin = mine.begin; begin < mine.end; begin += units.batch()) {
      UnitRange batch{begin, std::min(begin + units.batch(), mine.end)};
      const StoredUnits& stored = units.read(batch, errors[i]);
      writer.write(i, batch, stored.parts[0], stored.parts[1], stored.parts[2]);
      done += stored_bytes(t, batch.size());
      if (progress) progress(done, total);
    }
  }
}

// Every unit was one rank's: their words together are all units'; sums in the order of units are the same everywhere.
ConvertReport report_of(const std::vector<TensorPlan>& plans, const WriterGroup& group,
                        const std::vector<std::vector<EncodingError>>& errors) {
  std::vector<uint64_t> words;
  for (const auto& units : errors)
    for (const EncodingError& e : units) {
      words.push_back(std::bit_cast<uint64_t>(e.squares));
      words.push_back(std::bit_cast<uint64_t>(e.signal));
    }
  group.combine(words);
  ConvertReport report;
  auto next = words.begin();
  for (size_t i = 0; i < plans.size(); i++) {
    EncodingError sum;
    for (size_t u = 0; u < errors[i].size(); u++) {
      sum.squares += std::bit_cast<double>(*next++);
      sum.signal += std::bit_cast<double>(*next++);
    }
    if (plans[i].keep || plans[i].info.format == WeightFormat{}) continue;
    const std::string& name = plans[i].info.name;
    report.tensors.push_back({name, sum});
    const std::string kind = name.substr(name.rfind('.') + 1);
    auto found = std::find_if(report.classes.begin(), report.classes.end(), [&](auto& c) { return c.name == kind; });
    if (found == report.classes.end()) found = report.classes.insert(found, {kind, {}});
    found->error.squares += sum.squares, found->error.signal += sum.signal;
  }
  std::stable_sort(report.tensors.begin(), report.tensors.end(),
                   [](auto& a, auto& b) { return a.relative_rms() > b.relative_rms(); });
  return report;
}

}  // namespace

WeightChoice weight_choice(std::string_view name) {
  for (size_t i = 0; i < std::size(kChoices); i++)
    if (kChoices[i] == name) return static_cast<WeightChoice>(i);
  fail(ExitCode::usage, "--dtype {}: possible are {}", name, fmt::join(kChoices, ", "));
}

WeightFormat stored_format(const TensorSlot& slot, const WeightFormat& kept, WeightChoice choice) {
  if (is_vector(slot) || (choice == WeightChoice::fp32 && slot.axis != UnitAxis::none)) return WeightFormat{};
  if (choice == WeightChoice::keep || slot.axis == UnitAxis::none) return kept;
  if (choice == WeightChoice::bf16) return {.type = DType::bf16};
  if (choice == WeightChoice::fp8) return fp8_of_unit(slot.axis == UnitAxis::columns ? slot.unit : slot.columns);
  if (slot.columns % kEncodedGroup != 0) return kept;
  const bool whole_vocabulary = slot.name == "embedding" || slot.name == "head";
  return choice == WeightChoice::int4 && !whole_vocabulary ? kInt4 : kInt8;
}

double ConvertReport::Entry::relative_rms() const {
  return error.signal > 0 ? std::sqrt(error.squares / error.signal) : 0;
}

ModelImport::ModelImport(const ModelSource& source, WeightChoice choice)
    : config(config_from_transformers(source.config, source.path)) {
  // Which groups the row-parallel weights have decides the units, so look at them first: formats do not depend on
  // units.
  for (const TensorSlot& slot : tensor_slots(config, UnitTable::of(config, 1))) {
    if (slot.axis != UnitAxis::columns || is_vector(slot)) continue;
    const SourceTensor* t = source.find(slices_of(source, slot).front().name);
    if (t && t->type) unit_group = std::lcm(unit_group, format_of(source, slot, *t, choice).unit_group());
  }
  units = UnitTable::of(config, unit_group);
  for (TensorSlot& slot : tensor_slots(config, units))
    plans.push_back(plan_of(source, std::move(slot), choice, turned));
  check_rest(source, plans, config);
}

namespace {

// Of what a rank is about to convert: from where to what, and of each file its size and how it begins and ends.
uint64_t digest_of(const ModelSource& source, WeightChoice choice) {
  constexpr uint64_t kPart = 64 << 10;
  StreamHash hash;
  const auto add = [&](std::string_view text) { hash.update(std::as_bytes(std::span(text))); };
  add(fmt::format("{} {}", source.path, static_cast<int>(choice)));
  for (const std::string& path : source.files) {
    const InputFile file(path);
    add(fmt::format("{} {}", path, file.bytes()));
    std::vector<std::byte> part(std::min(kPart, file.bytes()));
    for (const uint64_t at : {uint64_t{0}, file.bytes() - part.size()}) {
      file.read(at, part, "the ends of a model's file");
      hash.update(part);
    }
  }
  return hash.digest();
}

}  // namespace

ConvertReport convert_model(const std::string& path, const std::string& destination, const WriterGroup& group,
                            const ConvertOptions& options) {
  std::optional<ModelSource> source;
  std::optional<ModelImport> model;
  CheckpointContent content;
  std::vector<std::vector<EncodingError>> errors;
  uint64_t digest = 0;
  group.agree([&] {
    source.emplace(ModelSource::open(path, ModelSource::Weights::yes, options.follow_links));
    model.emplace(*source, options.weights);
    content = content_of(*source, *model);
    for (const TensorInfo& t : content.tensors) errors.emplace_back(static_cast<size_t>(t.units));
    digest = digest_of(*source, options.weights);
  });
  if (!group.has_alike(digest))
    fail(ExitCode::configuration,
         "{}: the ranks have different models there, or convert to different types; give all the same source and "
         "--dtype",
         path);
  CheckpointWriter writer(group, destination, content);
  group.agree([&] { write_share(model->plans, group, writer, errors, options.progress); });
  writer.finish();
  return report_of(model->plans, group, errors);
}

}  // namespace trireme

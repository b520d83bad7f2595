#include "job/document_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/json_writer.h"
#include "job/batch_request.h"
#include "job/json_check.h"
#include "job/row_fields.h"

namespace trireme {

namespace ondemand = simdjson::ondemand;

namespace {

// simdjson keeps about six bytes for each byte of the longest row it has seen; after a longer one they are given back.
constexpr size_t kKeptRowBytes = 1 << 20;

// What one line held, gathered field by field: the first fault counts, and later fields are still read, so that an
// error row has the id and the input of its row.
struct LineFields {
  Document document;
  std::string input;
  JsonWriter input_writer{input};
  std::optional<RowFault> fault;
  int contents = 0;
  bool has_id = false;
  bool has_custom_id = false, has_method = false, has_url = false, has_body = false, body_is_object = false;

  // Of the batch-request format. A document of our own may have a url or a body among its fields.
  bool is_batch_request() const {
    const int keys = has_custom_id + has_method + has_url + has_body;
    return (has_custom_id && body_is_object) || (contents == 0 && keys >= 2 && (has_custom_id || has_method));
  }
};

// Text must be UTF-8 without NUL, which no tokenizer or reader of the output can be trusted with.
// The fault, with its byte in the text.
std::optional<std::pair<RowFault, size_t>> find_bad_text(std::string_view text) {
  if (size_t at = text.find('\0'); at != text.npos) return {{{"nul_byte", "a NUL byte; is this a binary file?"}, at}};
  if (simdjson::validate_utf8(text.data(), text.size())) return std::nullopt;
  size_t at = 0;
  while (size_t length = utf8_length_at(text, at)) at += length;
  unsigned byte = at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
  return {{{"bad_utf8", fmt::format("byte 0x{:02x} is not UTF-8 here; convert the file to UTF-8", byte)}, at}};
}

// A file of a folder is a document as it stands.
DocumentOrError parse_file(Row row, RowHeader header) {
  header.id = {false, std::move(row.path)};
  if (auto bad = find_bad_text(header.id.text))
    return RowError{std::move(header), bad->first.code, "the file's name: " + bad->first.message};
  if (auto bad = find_bad_text(row.text)) {
    auto& [fault, at] = *bad;
    header.byte += static_cast<int64_t>(at);
    header.line += std::count(row.text.begin(), row.text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    return RowError{std::move(header), std::move(fault.code), std::move(fault.message), true};
  }
  Document document;
  document.header = std::move(header);
  document.content = std::move(row.text);
  return document;
}

void read_own_field(ondemand::value value, std::string_view key, LineFields& line) {
  line.has_custom_id |= key == "custom_id";
  line.has_method |= key == "method";
  line.has_url |= key == "url";
  line.has_body |= key == "body";
  line.body_is_object |= key == "body" && value.type() == ondemand::json_type::object;
  line.input_writer.key(key).raw(compact_json(raw_json(value)));
}

void read_field(ondemand::value value, std::string_view key, LineFields& line) {
  const RowField* field = find_row_field(key);
  if (!field) return read_own_field(value, key, line);
  line.contents += field->is_content;
  try {
    field->read(value, key, line.document);
    line.has_id |= key == "id";
  } catch (RowFault& fault) {
    if (!line.fault) line.fault = std::move(fault);
  }
}

}  // namespace

struct DocumentParser::State {
  ondemand::parser parser;

  void read_line(std::string& text, LineFields& line, int64_t& fault_byte);
};

// Two passes over the line: is all of it JSON, then what does it say. fault_byte: where the first pass stopped.
void DocumentParser::State::read_line(std::string& text, LineFields& line, int64_t& fault_byte) {
  text.reserve(text.size() + simdjson::SIMDJSON_PADDING);
  ondemand::document json = parser.iterate(text.data(), text.size(), text.capacity());
  try {
    if (json.type() != ondemand::json_type::object) throw RowFault{"bad_json", "a row must be a JSON object"};
    check_json(json.get_object());
    // simdjson has no place to name once everything is read.
    if (json.current_location().error() != simdjson::OUT_OF_BOUNDS)
      throw RowFault{"bad_json", "more text follows the JSON object"};
  } catch (...) {
    const char* location = nullptr;
    if (json.current_location().get(location) == simdjson::SUCCESS && location >= text.data() &&
        location <= text.data() + text.size())
      fault_byte = location - text.data();
    throw;
  }
  json.rewind();
  line.input_writer.begin_object();
  for (auto result : json.get_object()) {
    ondemand::field field = std::move(result);
    std::string_view key = field.unescaped_key();
    read_field(field.value(), key, line);
  }
  line.input_writer.end_object();
  if (line.is_batch_request()) {
    const RowHeader& header = line.document.header;
    line.document = {.header = {header.row, header.line, header.byte, {true, fmt::to_string(header.line)}, ""}};
    line.input.clear();
    line.fault = read_batch_request(json, line.document, line.has_id);
  } else if (!line.fault && line.contents != 1) {
    line.fault =
        RowFault{"bad_field",
                 fmt::format("a row has exactly one of text, prompt, messages and token_ids, not {}", line.contents)};
  }
}

DocumentParser::DocumentParser() : state_(std::make_unique<State>()) {}
DocumentParser::~DocumentParser() = default;

DocumentOrError DocumentParser::parse(Row row) {
  RowHeader header{row.number, row.line, row.byte, {true, fmt::to_string(row.line)}, ""};
  if (!row.error_code.empty()) {
    if (row.is_file) header.id = {false, row.path};
    return RowError{std::move(header), std::move(row.error_code), std::move(row.error_message), row.is_file};
  }
  if (row.is_file) return parse_file(std::move(row), std::move(header));
  if (auto bad = find_bad_text(row.text)) {
    header.byte += static_cast<int64_t>(bad->second);
    return RowError{std::move(header), std::move(bad->first.code), std::move(bad->first.message)};
  }

  LineFields line;
  line.document.header = header;
  int64_t fault_byte = 0;
  try {
    state_->read_line(row.text, line, fault_byte);
  } catch (RowFault& fault) {
    line.fault = std::move(fault);
  } catch (const simdjson::simdjson_error& error) {
    if (error.error() == simdjson::MEMALLOC) throw std::bad_alloc();
    line.fault = RowFault{"bad_json", error.what()};
  }
  if (row.text.size() > kKeptRowBytes) state_->parser = ondemand::parser();
  if (line.input.size() > 2 && line.input.ends_with('}')) line.document.header.input = std::move(line.input);
  if (!line.fault) return std::move(line.document);
  line.document.header.byte += fault_byte;
  return RowError{std::move(line.document.header), std::move(line.fault->code), std::move(line.fault->message),
                  line.has_id, std::move(line.fault->param)};
}

std::optional<DocumentOrError> DocumentReader::next() {
  std::optional<Row> row = corpus_->next();
  if (!row) return std::nullopt;
  DocumentOrError result = parser_.parse(std::move(*row));
  auto* error = std::get_if<RowError>(&result);
  RowHeader& header = error ? error->header : std::get<Document>(result).header;
  if (header.form != RowForm::own)
    header.request_key = xxh3(fmt::format("{} {} {}", hex16(run_digest_), header.row, header.id.text));
  if (error && !error->has_own_id) return result;
  if (ids_.insert(header.id.key())) return result;
  std::string message =
      fmt::format("id {} was in an earlier row already; ids must differ", header.id.text.substr(0, 80));
  const char* param = header.form == RowForm::own ? "" : "custom_id";
  return RowError{std::move(header), "duplicate_id", std::move(message), true, param};
}

}  // namespace trireme

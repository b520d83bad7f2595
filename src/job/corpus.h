#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace trireme {

inline constexpr size_t kMaxRowBytes = size_t{16} << 20;  // of a line, or of a text file

// One row of the input, unread: a non-blank line, or a file of a folder. Every row yields exactly one result.
struct Row {
  uint64_t number = 0;  // from 0, in input order: where its result stands
  int64_t line = 1;     // from 1; 1 for a file of a folder
  int64_t byte = 0;     // where the row starts in the decompressed stream, or in its file
  std::string text;     // the line without its end, or the file's content
  bool is_file = false;
  std::string path;                       // of a file, relative to the folder: its id
  std::string error_code, error_message;  // set when the row could not be read; text is empty then
};

// Reads an input from its start to its end, holding one row at a time (and the names in one folder at a time).
class Corpus {
 public:
  // A JSONL file (plain, gzip or Zstandard by its magic bytes) or a folder of .txt and .md files.
  // Throws Error(no_input) when there is none, Error(io_error) when reading fails.
  static std::unique_ptr<Corpus> open(const std::string& path);
  virtual ~Corpus() = default;
  virtual std::optional<Row> next() = 0;  // nothing: the end
  virtual uint64_t digest() const = 0;    // of what was read so far; at the end InputSummary's
};

// What a run must know of its input before it starts, from one pass over it.
struct InputSummary {
  std::string kind;                // "jsonl" or "folder"
  uint64_t bytes = 0;              // of the decompressed stream, or of all texts
  uint64_t rows = 0;               // exactly as many as a Corpus will yield
  uint64_t digest = 0;             // XXH3 of the decompressed stream, or of all relative paths and what the files hold
  bool begins_with_object = true;  // jsonl: its first content, if any, is a {, as JSONL's is
};
InputSummary survey_input(const std::string& path);

}  // namespace trireme

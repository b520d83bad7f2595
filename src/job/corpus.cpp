#include "job/corpus.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "job/byte_source.h"
#include "job/folder_walk.h"

namespace trireme {

namespace {

constexpr size_t kBufferBytes = 1 << 20;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlank = " \t\r\f\v";

bool is_blank(std::string_view text) { return text.find_first_not_of(kBlank) == text.npos; }

void set_too_long(Row& row, const char* what) {
  std::string().swap(row.text);  // an assignment would keep the memory
  row.error_code = "too_long_line";
  row.error_message = fmt::format("the {} is longer than 16 MiB; split the document", what);
}

void drop_byte_order_mark(Row& row) {
  if (!row.text.starts_with(kByteOrderMark)) return;
  row.text.erase(0, kByteOrderMark.size());
  row.byte += static_cast<int64_t>(kByteOrderMark.size());
}

class JsonlCorpus : public Corpus {
 public:
  explicit JsonlCorpus(const std::string& path) : source_(ByteSource::open(path)), buffer_(kBufferBytes) {}

  std::optional<Row> next() override {
    while (!ended_) {
      Row row;
      row.line = ++line_;
      row.byte = static_cast<int64_t>(position_);
      bool found = read_line(row);
      if (line_ == 1) drop_byte_order_mark(row);
      if (!found || (row.error_code.empty() && is_blank(row.text))) continue;
      row.number = rows_++;
      return row;
    }
    return std::nullopt;
  }
  uint64_t digest() const override { return hash_.digest(); }

 private:
  // False when the input had ended before this line.
  bool read_line(Row& row) {
    for (bool some = false;; some = true) {
      if (used_ == filled_ && !fill(row)) return some || !row.error_code.empty();
      const char* begin = buffer_.data() + used_;
      auto* newline = static_cast<const char*>(std::memchr(begin, '\n', filled_ - used_));
      size_t length = newline ? static_cast<size_t>(newline - begin) : filled_ - used_;
      if (row.error_code.empty() && row.text.size() + length > kMaxRowBytes) set_too_long(row, "line");
      if (row.error_code.empty()) row.text.append(begin, length);
      used_ += length + (newline ? 1 : 0);
      position_ += length + (newline ? 1 : 0);
      if (newline) return true;
    }
  }

  // Damaged compression ends the input: the line it cut, or the one that would have come, becomes an error row.
  bool fill(Row& row) {
    used_ = filled_ = 0;
    try {
      filled_ = source_->read(buffer_);
    } catch (const Error& error) {
      if (error.code() != ExitCode::bad_data) throw;
      std::string().swap(row.text);
      row.error_code = "damaged_input";
      row.error_message = error.what();
    }
    hash_.update(std::as_bytes(std::span(buffer_).first(filled_)));
    ended_ = filled_ == 0;
    return !ended_;
  }

  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  StreamHash hash_;
  size_t used_ = 0, filled_ = 0;
  bool ended_ = false;
  uint64_t rows_ = 0, position_ = 0;
  int64_t line_ = 0;
};

class FolderCorpus : public Corpus {
 public:
  explicit FolderCorpus(const std::string& path) : root_(path), walk_(path) {}

  std::optional<Row> next() override {
    auto entry = walk_.next();
    if (!entry) return std::nullopt;
    Row row;
    row.number = rows_++;
    row.is_file = true;
    row.path = std::move(entry->path);
    if (entry->bytes > kMaxRowBytes)
      set_too_long(row, "file");
    else
      read_file(row, entry->bytes);
    add_to_digest(row);
    drop_byte_order_mark(row);
    return row;
  }
  uint64_t digest() const override { return hash_.digest(); }

 private:
  void add_to_digest(const Row& row) {
    constexpr char kEnd = 0;  // which no path has
    const std::string head = fmt::format("{}{}{}{}{}{}", row.path, kEnd, row.error_code, kEnd, row.text.size(), kEnd);
    hash_.update(std::as_bytes(std::span(head)));
    hash_.update(std::as_bytes(std::span(row.text)));
  }

  // listed_bytes: what the file had when it was listed; it may have grown since.
  void read_file(Row& row, size_t listed_bytes) const {
    try {
      File file = File::open_to_read(root_ + "/" + row.path);
      for (size_t room = listed_bytes + 1; row.text.size() < room; room = std::min(2 * room, kMaxRowBytes + 1)) {
        row.text.resize(room);
        row.text.resize(file.read_at(0, row.text));
        if (row.text.size() < room || room > kMaxRowBytes) break;
      }
    } catch (const Error& error) {
      std::string().swap(row.text);
      row.error_code = "unreadable";
      row.error_message = error.what();
      return;
    }
    if (row.text.size() > kMaxRowBytes) set_too_long(row, "file");
  }

  std::string root_;
  FolderWalk walk_;
  StreamHash hash_;
  uint64_t rows_ = 0;
};

bool is_folder(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    fail(ExitCode::no_input,
         "no input {}: {} (errno {}); give a JSONL file, a folder of .txt and .md files, or - for standard input", path,
         errno_text(), errno);
  if (S_ISDIR(info.st_mode)) return true;
  if (!S_ISREG(info.st_mode))
    fail(ExitCode::no_input, "input {} is neither a file nor a folder; pipe it in and give - as the input", path);
  return false;
}

InputSummary survey_folder(const std::string& path) {
  InputSummary summary{.kind = "folder"};
  FolderCorpus files(path);
  while (auto row = files.next()) {
    summary.bytes += row->text.size();
    summary.rows++;
  }
  if (summary.rows == 0)
    fail(ExitCode::no_input, "there is no .txt or .md file in the folder {} (hidden ones are left out); check the path",
         path);
  summary.digest = files.digest();
  return summary;
}

// Counts the rows that JsonlCorpus will yield, without holding a line.
class RowCounter {
 public:
  void add(std::string_view data) {
    for (size_t at = 0; at < data.size();) {
      size_t newline = std::min(data.find('\n', at), data.size());
      if (!seen_) look(data.substr(at, newline - at));
      if (newline < data.size()) end_line();
      at = newline + 1;
    }
  }
  uint64_t finish(bool damaged) {
    if (damaged) seen_ = true;
    end_line();
    return rows_;
  }
  char first_content() const { return first_content_; }  // 0: there was none

 private:
  void look(std::string_view part) {
    for (char c : part) {
      // A mark at the very start may come in pieces, and is no content.
      bool mark = first_line_ && mark_ < kByteOrderMark.size() && column_ == mark_ && c == kByteOrderMark[mark_];
      column_++;
      mark_ += mark;
      if (mark || kBlank.find(c) != kBlank.npos) continue;
      seen_ = true;
      if (first_content_ == 0) first_content_ = c;
      return;
    }
    // An incomplete mark is content; a whole one, or none, is not.
  }
  void end_line() {
    bool torn_mark = first_line_ && mark_ > 0 && mark_ < kByteOrderMark.size();
    rows_ += seen_ || torn_mark || column_ > kMaxRowBytes;
    seen_ = first_line_ = false;
    column_ = 0;
  }

  uint64_t rows_ = 0, column_ = 0;
  size_t mark_ = 0;
  char first_content_ = 0;
  bool seen_ = false, first_line_ = true;
};

InputSummary survey_jsonl(const std::string& path) {
  InputSummary summary{.kind = "jsonl"};
  auto source = ByteSource::open(path);
  std::vector<char> buffer(kBufferBytes);
  StreamHash hash;
  RowCounter counter;
  bool damaged = false;
  try {
    while (size_t got = source->read(buffer)) {
      hash.update(std::as_bytes(std::span(buffer).first(got)));
      counter.add({buffer.data(), got});
      summary.bytes += got;
    }
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_data) throw;
    damaged = true;
  }
  summary.rows = counter.finish(damaged);
  summary.digest = hash.digest();
  const char first = counter.first_content();
  summary.begins_with_object = first == 0 || first == '{';  // 0: empty, or damaged before it
  return summary;
}

}  // namespace

std::unique_ptr<Corpus> Corpus::open(const std::string& path) {
  if (is_folder(path)) return std::make_unique<FolderCorpus>(path);
  return std::make_unique<JsonlCorpus>(path);
}

InputSummary survey_input(const std::string& path) {
  return is_folder(path) ? survey_folder(path) : survey_jsonl(path);
}

}  // namespace trireme

#include "job/byte_source.h"

#include <zlib.h>
#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace trireme {

namespace {

constexpr size_t kRawBytes = 256 << 10;  // one read of the file

// The file's own bytes, a buffer at a time, with the position for error messages.
class RawInput {
 public:
  explicit RawInput(const std::string& path) : file_(File::open_to_read(path)), buffer_(kRawBytes) { fill(); }

  std::span<char> available() { return {buffer_.data() + used_, filled_ - used_}; }
  void consume(size_t bytes) { used_ += bytes; }
  // False at the end of the file.
  bool refill() { return used_ < filled_ || fill(); }
  const std::string& path() const { return file_.path(); }
  uint64_t position() const { return before_ + used_; }

 private:
  bool fill() {
    before_ += filled_;
    used_ = 0;
    filled_ = file_.read(buffer_);
    return filled_ != 0;
  }

  File file_;
  std::vector<char> buffer_;
  size_t used_ = 0, filled_ = 0;
  uint64_t before_ = 0;
};

[[noreturn]] void fail_damaged(const RawInput& raw, const char* format, std::string_view reason) {
  fail(ExitCode::bad_data, "{}: {} data damaged at byte {} of the file: {}; make the file again from its source",
       raw.path(), format, raw.position(), reason);
}

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(RawInput raw) : raw_(std::move(raw)) {}
  size_t read(std::span<char> into) override {
    if (!raw_.refill()) return 0;
    size_t bytes = std::min(into.size(), raw_.available().size());
    std::memcpy(into.data(), raw_.available().data(), bytes);
    raw_.consume(bytes);
    return bytes;
  }

 private:
  RawInput raw_;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(RawInput raw) : raw_(std::move(raw)) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  size_t read(std::span<char> into) override {
    stream_.next_out = reinterpret_cast<Bytef*>(into.data());
    stream_.avail_out = static_cast<uInt>(into.size());
    while (stream_.avail_out == into.size()) {
      bool more = raw_.refill();
      if (!more && !inside_member_) return 0;
      int status = step();  // at the file's end too: inflate may still hold output
      bool progressed = stream_.avail_out != into.size();
      if (status == Z_MEM_ERROR) throw std::bad_alloc();
      if (status == Z_STREAM_END || progressed || (status == Z_OK && more)) continue;
      fail_damaged(raw_, "gzip", !more ? "the file ends too early" : stream_.msg ? stream_.msg : "not gzip data");
    }
    return into.size() - stream_.avail_out;
  }

 private:
  int step() {
    auto input = raw_.available();
    stream_.next_in = reinterpret_cast<Bytef*>(input.data());
    stream_.avail_in = static_cast<uInt>(input.size());
    int status = inflate(&stream_, Z_NO_FLUSH);
    raw_.consume(input.size() - stream_.avail_in);
    inside_member_ = status != Z_STREAM_END;
    if (!inside_member_) inflateReset(&stream_);
    return status;
  }

  RawInput raw_;
  z_stream stream_{};
  bool inside_member_ = true;
};

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(RawInput raw) : raw_(std::move(raw)), stream_(ZSTD_createDStream()) {
    if (!stream_) throw std::bad_alloc();
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  size_t read(std::span<char> into) override {
    ZSTD_outBuffer output{into.data(), into.size(), 0};
    while (output.pos == 0) {
      bool more = raw_.refill();
      if (!more && !inside_frame_) return 0;
      auto available = raw_.available();
      ZSTD_inBuffer input{available.data(), available.size(), 0};
      size_t status = ZSTD_decompressStream(stream_, &output, &input);
      raw_.consume(input.pos);
      if (ZSTD_isError(status)) fail_damaged(raw_, "zstd", ZSTD_getErrorName(status));
      inside_frame_ = status != 0;
      // With the file at its end, a call that yields nothing will never yield more.
      if (!more && output.pos == 0 && inside_frame_) fail_damaged(raw_, "zstd", "the file ends too early");
    }
    return output.pos;
  }

 private:
  RawInput raw_;
  ZSTD_DStream* stream_;
  bool inside_frame_ = true;
};

}  // namespace

std::unique_ptr<ByteSource> ByteSource::open(const std::string& path) {
  RawInput raw(path);
  std::string_view start(raw.available().data(), raw.available().size());
  if (start.starts_with("\x1f\x8b")) return std::make_unique<GzipSource>(std::move(raw));
  if (start.starts_with("\x28\xb5\x2f\xfd")) return std::make_unique<ZstdSource>(std::move(raw));
  return std::make_unique<PlainSource>(std::move(raw));
}

}  // namespace trireme

#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>
#include <utility>

#include "base/error.h"

namespace trireme {
namespace {

constexpr uint32_t match_limit = 10'000'000;  // backtracking steps of one match; a megabyte of blanks needs one million
constexpr uint32_t heap_limit_kib = 64 << 10;
constexpr uint32_t nesting_limit = 50;

struct CompileContext {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  CompileContext() {
    if (!context) throw std::bad_alloc();
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, nesting_limit);
  }
  CompileContext(const CompileContext&) = delete;
  ~CompileContext() { pcre2_compile_context_free(context); }
};

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

Regex::Scratch::Scratch() : match_data_(pcre2_match_data_create(1, nullptr)) {
  if (!match_data_) throw std::bad_alloc();
}
Regex::Scratch::~Scratch() { pcre2_match_data_free(static_cast<pcre2_match_data*>(match_data_)); }

Regex::Regex(std::string_view pattern, std::string_view where) : where_(where) {
  const std::string translated = to_pcre(pattern, where);
  const CompileContext compile;
  int code = 0;
  PCRE2_SIZE offset = 0;
  constexpr uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), options,
                                       &code, &offset, compile.context);
  if (!compiled)
    fail(ExitCode::bad_data,
         "tokenizer.json is damaged: field `{}` is no regular expression ({} near byte {}); fetch the model again",
         where_, pcre_message(code), offset);
  code_ = compiled;
  compiled_to_machine_code_ = pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) == 0;
  pcre2_match_context* limits = pcre2_match_context_create(nullptr);
  if (!limits) {
    pcre2_code_free(compiled);
    throw std::bad_alloc();
  }
  pcre2_set_match_limit(limits, match_limit);
  pcre2_set_depth_limit(limits, match_limit);
  pcre2_set_heap_limit(limits, heap_limit_kib);
  limits_ = limits;
}

Regex::Regex(Regex&& other) noexcept
    : where_(std::move(other.where_)),
      code_(std::exchange(other.code_, nullptr)),
      limits_(std::exchange(other.limits_, nullptr)),
      compiled_to_machine_code_(other.compiled_to_machine_code_) {}

Regex::~Regex() {
  pcre2_code_free(static_cast<pcre2_code*>(code_));
  pcre2_match_context_free(static_cast<pcre2_match_context*>(limits_));
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from, Scratch& scratch) const {
  const auto* code = static_cast<const pcre2_code*>(code_);
  auto* data = static_cast<pcre2_match_data*>(scratch.match_data_);
  auto* limits = static_cast<pcre2_match_context*>(limits_);
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  // Machine code first. It has 32 KiB of stack; what needs more goes to the interpreter, which has a heap limit.
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (compiled_to_machine_code_) result = pcre2_jit_match(code, subject, text.size(), from, 0, data, limits);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT)
    result = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, limits);
  if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (result < 0)
    fail(ExitCode::bad_data,
         "the regular expression `{}` of tokenizer.json gave up at byte {} of {} ({}); split the text", where_, from,
         text.size(), pcre_message(result));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data);
  return Match{bounds[0], bounds[1]};
}

}  // namespace trireme

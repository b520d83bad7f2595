#include "text/jinja_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "text/jinja_expression_parser.h"

namespace trireme {
namespace {

using Kind = JinjaStatement::Kind;
using Token = JinjaToken::Kind;

constexpr int max_nesting = 100;  // of blocks

class StatementParser {
 public:
  explicit StatementParser(std::string_view source) : tokens_(lex_jinja(source)) {}

  JinjaStatement::Body parse() {
    JinjaStatement::Body body = parse_body({});
    if (tokens_.peek().kind != Token::end) tokens_.fail_here(fmt::format("'{}' ends nothing", tokens_.peek().text));
    return body;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  static JinjaStatement statement(Kind kind, JinjaPlace place) {
    JinjaStatement made;
    made.kind = kind;
    made.place = place;
    return made;
  }

  // Statements up to a tag that begins with one of `ends`; stands at that name then. Without ends, to the end.
  JinjaStatement::Body parse_body(Names ends) {
    if (++nesting_ > max_nesting) tokens_.fail_here(fmt::format("blocks are more than {} deep", max_nesting));
    JinjaStatement::Body body;
    while (tokens_.peek().kind != Token::end) {
      const JinjaToken token = tokens_.take();
      if (token.kind == Token::data) {
        body.push_back(statement(Kind::text, token.place));
        body.back().constant = make_text(token.text);
      } else if (token.kind == Token::output_begin) {
        body.push_back(statement(Kind::output, token.place));
        body.back().value = tokens_.parse_tuple_or_expression();
        expect_end(Token::output_end);
      } else {
        const JinjaToken& name = tokens_.peek();
        if (name.kind != Token::name) tokens_.fail_here("a statement begins with a name");
        if (std::find(ends.begin(), ends.end(), name.text) != ends.end()) {
          --nesting_;
          return body;
        }
        body.push_back(parse_statement());
        expect_end(Token::block_end);
      }
    }
    if (ends.size()) tokens_.fail_here(fmt::format("'{}' is missing at the end", *(ends.end() - 1)));
    return body;
  }

  void expect_end(Token kind) {
    if (tokens_.peek().kind != kind)
      tokens_.fail_here(fmt::format("the tag should end here, not go on with '{}'", tokens_.peek().text));
    tokens_.take();
  }

  JinjaStatement::Body parse_block(std::string_view end) {
    expect_end(Token::block_end);
    JinjaStatement::Body body = parse_body({end});
    tokens_.take();
    return body;
  }

  JinjaStatement parse_statement() {
    const JinjaToken word = tokens_.take();
    const JinjaPlace place = word.place;
    if (word.text == "if") return parse_if(place);
    if (word.text == "for") return parse_for(place);
    if (word.text == "set") return parse_set(place);
    if (word.text == "macro") return parse_macro(place);
    if (word.text == "with") return parse_with(place);
    if (word.text == "break" || word.text == "continue") {
      if (loops_ == 0) fail_jinja(place, fmt::format("'{}' stands outside a loop", word.text));
      return statement(word.text == "break" ? Kind::break_ : Kind::continue_, place);
    }
    if (word.text == "generation") {  // marks the assistant's words for training; nothing to do here
      JinjaStatement made = statement(Kind::scope, place);
      made.branches.push_back({nullptr, parse_block("endgeneration")});
      return made;
    }
    if (word.text == "filter") {
      JinjaStatement made = statement(Kind::filter, place);
      made.value = parse_block_filters(true);
      const Outside outside(loops_);
      made.branches.push_back({nullptr, parse_block("endfilter")});
      return made;
    }
    fail_jinja(place, fmt::format("the statement '{}' is not supported", word.text));
  }

  // A chain of filters whose first value is the block: "a | b" after `filter`, "| a | b" after `set name`.
  JinjaExpressionPtr parse_block_filters(bool first_without_bar) {
    if (!first_without_bar && !tokens_.is_symbol("|")) return nullptr;
    return first_without_bar ? tokens_.parse_filters_after_bar(nullptr) : tokens_.parse_filters(nullptr);
  }

  JinjaStatement parse_if(JinjaPlace place) {
    JinjaStatement made = statement(Kind::if_, place);
    made.branches.push_back({tokens_.parse_tuple_without_conditional(), {}});
    for (;;) {
      expect_end(Token::block_end);
      const bool after_else = !made.branches.back().condition;
      made.branches.back().body = after_else ? parse_body({"endif"}) : parse_body({"elif", "else", "endif"});
      const std::string word = tokens_.take().text;
      if (word == "endif") return made;
      made.branches.push_back({word == "elif" ? tokens_.parse_tuple_without_conditional() : nullptr, {}});
    }
  }

  std::vector<std::string> parse_names() {
    const bool parentheses = tokens_.skip_symbol("(");
    std::vector<std::string> names{tokens_.expect_name()};
    while (tokens_.skip_symbol(",")) names.push_back(tokens_.expect_name());
    if (parentheses) tokens_.expect_symbol(")");
    return names;
  }

  JinjaStatement parse_for(JinjaPlace place) {
    JinjaStatement made = statement(Kind::for_, place);
    made.names = parse_names();
    if (!tokens_.skip_name("in")) tokens_.fail_here("'in' is expected here");
    made.value = tokens_.parse_tuple_without_conditional();
    if (tokens_.skip_name("if")) made.condition = tokens_.parse_expression();
    if (tokens_.is_name("recursive")) tokens_.fail_here("a recursive loop is not supported");
    expect_end(Token::block_end);
    {
      const Inside loop(loops_);
      made.branches.push_back({nullptr, parse_body({"else", "endfor"})});
    }
    if (tokens_.take().text == "else") made.branches.push_back({nullptr, parse_block("endfor")});
    return made;
  }

  JinjaStatement parse_set(JinjaPlace place) {
    JinjaStatement made = statement(Kind::set, place);
    made.names = parse_names();
    if (made.names.size() == 1 && tokens_.skip_symbol(".")) made.attribute = tokens_.expect_name();
    if (tokens_.skip_symbol("=")) {
      made.value = tokens_.parse_tuple_or_expression();
      return made;
    }
    if (made.names.size() != 1 || !made.attribute.empty())
      tokens_.fail_here("a block can be set to one plain name only");
    made.kind = Kind::set_block;
    made.value = parse_block_filters(false);
    const Outside outside(loops_);
    made.branches.push_back({nullptr, parse_block("endset")});
    return made;
  }

  JinjaStatement parse_macro(JinjaPlace place) {
    JinjaStatement made = statement(Kind::macro, place);
    made.names.push_back(tokens_.expect_name());
    tokens_.expect_symbol("(");
    while (!tokens_.is_symbol(")")) {
      made.names.push_back(tokens_.expect_name());
      made.defaults.push_back(tokens_.skip_symbol("=") ? tokens_.parse_expression() : nullptr);
      if (!tokens_.skip_symbol(",")) break;
    }
    tokens_.expect_symbol(")");
    const Outside outside(loops_);
    made.branches.push_back({nullptr, parse_block("endmacro")});
    return made;
  }

  JinjaStatement parse_with(JinjaPlace place) {
    JinjaStatement made = statement(Kind::scope, place);
    while (tokens_.peek().kind == Token::name) {
      made.names.push_back(tokens_.expect_name());
      tokens_.expect_symbol("=");
      made.defaults.push_back(tokens_.parse_expression());
      if (!tokens_.skip_symbol(",")) break;
    }
    made.branches.push_back({nullptr, parse_block("endwith")});
    return made;
  }

  struct Inside {
    explicit Inside(int& count) : count(++count) {}
    ~Inside() { --count; }
    int& count;
  };
  // break and continue do not reach through a block whose output goes elsewhere.
  struct Outside {
    explicit Outside(int& count) : count(count), old(std::exchange(count, 0)) {}
    ~Outside() { count = old; }
    int& count;
    int old;
  };

  JinjaExpressionParser tokens_;
  int nesting_ = 0;
  int loops_ = 0;  // open for statements, of which break and continue may speak
};

}  // namespace

JinjaStatement::Body parse_jinja(std::string_view source) { return StatementParser(source).parse(); }

}  // namespace trireme

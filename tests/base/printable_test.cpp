#include "base/printable.h"

#include <doctest/doctest.h>

using namespace trireme;

TEST_CASE("what a terminal obeys is replaced, and white space is a blank") {
  CHECK(printable("plain, 8 \u00d7 H100 \u2013 gr\u00fc\u00dfe \U0001F600") ==
        "plain, 8 \u00d7 H100 \u2013 gr\u00fc\u00dfe \U0001F600");
  CHECK(printable("a\x1b[31mb\x07\x7f") == "a?[31mb??");
  CHECK(printable("one\ntwo\tthree\r\n") == "one two three  ");
  CHECK(printable("c1 \u009b31m, line \u2028, order \u202e, \u2067") == "c1 ?31m, line ?, order ?, ?");
  CHECK(printable("latin \xe9, cut \xe2\x80") == "latin ?, cut ??");
  CHECK(printable(std::string_view("nul\0", 4)) == "nul?");
  CHECK(printable("") == "");
}

#include "launch/options.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/nearest.h"
#include "launch/commands.h"
#include "launch/help.h"
#include "launch/option_table.h"

namespace trireme {

namespace {

using Words = std::vector<std::string>;

Options parse(const Words& words, const Words& environment = {}) { return parse_options(words, environment); }
Options parse_run(Words words, const Words& environment = {}) {
  words.insert(words.begin(), {"run", "docs.jsonl"});
  return parse(words, environment);
}

// The text of the refusal, which must be a usage error (or another code) in one line; "" when it was taken.
std::string refusal(const Words& words, const Words& environment = {}, ExitCode code = ExitCode::usage) {
  try {
    parse_options(words, environment);
  } catch (const Error& error) {
    std::string text = error.what();
    CHECK(error.code() == code);
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
  return "";
}
bool says(const std::string& text, std::string_view part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

struct ConfigFile {
  std::string path = "options_test.conf";
  explicit ConfigFile(const std::string& text) { std::ofstream(path) << text; }
  ~ConfigFile() { std::remove(path.c_str()); }
};

}  // namespace

TEST_CASE("a run gets the defaults of the contract") {
  Options options = parse_run({"-m", "model.h5", "-o", "out.jsonl"});
  CHECK(options.command == "run");
  CHECK(options.input == "docs.jsonl");
  CHECK(options.model == "model.h5");
  CHECK(options.output == "out.jsonl");
  CHECK(options.tp == 0);
  CHECK(options.max_seqs == 16);
  CHECK(options.max_step_tokens == 256);
  CHECK(options.numerics == "standard");
  CHECK(options.deadline_s == 120);
  SamplingParams sampling = options.sampling();
  CHECK(sampling.max_tokens == 256);
  CHECK(sampling.temperature == 0);
  CHECK(sampling.top_p == 1);
  CHECK(sampling.top_k == 0);
  CHECK(sampling.logprobs == -1);
  CHECK_FALSE(sampling.digest);
}

TEST_CASE("on GPUs more sequences are in flight and steps are larger, where nobody says how many") {
  Options options = parse_run({"-m", "model.h5", "-o", "out.jsonl", "--device", "cuda", "--max-seqs", "auto"});
  CHECK(options.max_seqs == 256);
  CHECK(options.max_step_tokens == 2048);
  options = parse_run({"-m", "model.h5", "-o", "out.jsonl", "--device", "cuda", "--max-step-tokens", "64"});
  CHECK(options.max_step_tokens == 64);
}

TEST_CASE("help and version are words, too") {
  const std::vector<std::string> none;
  const Options help = parse_options(std::vector<std::string>{"help", "run"}, none);
  CHECK(help.help);
  CHECK(help.command == "run");
  CHECK(parse_options(std::vector<std::string>{"help"}, none).help);
  CHECK(parse_options(std::vector<std::string>{"version"}, none).version);
  CHECK_THROWS(parse_options(std::vector<std::string>{"help", "rum"}, none));
}

TEST_CASE("every kind of value is taken") {
  Options options = parse_run({"--tp=2", "--pp", "auto", "--kv-gib", "1.5", "--digest", "--stop", "a", "--stop", "b c",
                               "--stage-split", "9,9,12", "--logprobs", "0", "--numerics", "exact", "--system", ""});
  CHECK(options.tp == 2);
  CHECK(options.pp == 0);
  CHECK(options.kv_gib == 1.5);
  CHECK(options.digest);
  CHECK(options.stop == Words{"a", "b c"});
  CHECK(options.stage_split == std::vector<int64_t>{9, 9, 12});
  CHECK(options.logprobs == 0);
  CHECK(options.numerics == "exact");
  CHECK(options.given("system"));
  CHECK(parse({"tokenize", "--text", "-5 degrees"}).text == "-5 degrees");
}

TEST_CASE("a switch takes no word after it") {
  Options options = parse({"run", "--digest", "docs.jsonl", "-v", "-m", "model.h5", "--tokens=false", "--ignore-eos"});
  CHECK(options.input == "docs.jsonl");
  CHECK(options.digest);
  CHECK(options.verbose);
  CHECK(!options.tokens);
  CHECK(options.ignore_eos);
  CHECK(parse({"tokenize", "--text=--bos", "-m", "m"}).text == "--bos");
  CHECK(says(refusal({"run", "--digest", "a", "b"}), "'b' follows"));
}

TEST_CASE("command line beats environment beats config file beats default, and each value knows its origin") {
  ConfigFile file("max-seqs = 3\nthreads = 7\nseed = 5  # comment\nspecial = parse\n");
  Words environment{"TRIREME_MAX_SEQS=4", "TRIREME_SEED=6", "PATH=/bin", "TRIREME_TEST_MODEL=x",
                    "TRIREME_CONFIG=" + file.path};
  Options options = parse_run({"--seed", "8"}, environment);
  CHECK(options.threads == 7);
  CHECK(options.max_seqs == 4);
  CHECK(options.seed == 8);
  CHECK(options.origin["threads"] == file.path);
  CHECK(options.origin["max-seqs"] == "TRIREME_MAX_SEQS");
  CHECK(options.origin["seed"] == "command line");
  CHECK(options.origin["top-k"] == "default");
}

TEST_CASE("a variable is of one option: of a name that commands share for different things, the other is only typed") {
  const Words environment{"TRIREME_CONFIG=absent.conf", "TRIREME_BATCH=1,2", "TRIREME_INPUT_LEN=7"};
  const Options options = parse({"plan", "--shape", "llama-3.1-8b"}, environment);
  CHECK(options.model_config.empty());
  CHECK(options.batch == 0);
  CHECK(options.input_len == 7);
  CHECK(parse({"bench", "decode"}, {"TRIREME_BATCH=1,2"}).batches == std::vector<int64_t>{1, 2});
  CHECK(says(refusal({"run", "a"}, environment, ExitCode::no_input), "absent.conf"));
  CHECK(says(command_help(*find_command("plan"), false),
             "\nEvery option but --config and --batch also comes from TRIREME_NAME (--input-len: TRIREME_INPUT_LEN);\n"
             "command line > environment > default.\n"));
  CHECK(says(command_help(*find_command("run"), false),
             ") or from the --config file;\ncommand line > environment > file > default.\n"));
  CHECK(says(command_help(*find_command("bench"), false),
             "\nEvery option also comes from the --config file and, but --synthetic, from TRIREME_NAME (--"));
}

TEST_CASE("a machine that is named by nothing is refused, not probed") {
  CHECK(says(refusal({"topology", "--synthetic", ""}), "option --synthetic is empty; it takes SPEC"));
  CHECK(says(refusal({"topology", "--read", ""}), "option --read is empty; it takes FILE"));
  CHECK(parse({"topology"}, {"TRIREME_READ="}).read_machine.empty());  // as if it were not set
}

TEST_CASE("a stronger source replaces a list instead of adding to it") {
  CHECK(parse_run({"--stop", "x"}, {"TRIREME_STOP=y"}).stop == Words{"x"});
}

TEST_CASE("stop texts are checked as a row's own are") {
  CHECK(parse_run({"--stop", std::string(4096, 'x')}).stop.size() == 1);
  CHECK(says(refusal({"run", "a", "--stop", std::string(4097, 'x')}), "4097 bytes; 1 to 4096 can be"));
  CHECK(says(refusal({"run", "a", "--stop", "ok", "--stop", "a\xff"}), "not UTF-8 at byte 1"));
  Words many{"run", "a"};
  for (int i = 0; i < 65; i++) many.insert(many.end(), {"--stop", "x"});
  CHECK(says(refusal(many), "more than 64 texts"));
}

TEST_CASE("unknown names are refused with the nearest one") {
  CHECK(says(refusal({"run", "a", "--max-seq", "3"}), "did you mean --max-seqs?"));
  CHECK(says(refusal({"run", "a", "--tpp=3"}), "did you mean --tp?"));
  CHECK(says(refusal({"rnu", "a"}), "did you mean run?"));
  CHECK(says(refusal({"tokenise"}), "did you mean tokenize?"));
  CHECK(says(refusal({"run", "a"}, {"TRIREME_MAXSEQS=3"}), "did you mean TRIREME_MAX_SEQS?"));
  CHECK(says(refusal({"tokenize", "--tp", "2"}), "option of other commands"));
  ConfigFile file("max-sequences = 3\n");
  CHECK(says(refusal({"run", "a", "--config", file.path}), file.path));
}

TEST_CASE("a choice that others call otherwise, or in capitals, is named") {
  for (auto [text, choice] : {std::pair{"awq", "int4"},
                              {"GPTQ", "int4"},
                              {"q4_k_m", "int4"},
                              {"w8a8", "int8"},
                              {"nvfp4", "fp4"},
                              {"FP4", "fp4"},
                              {"fp16", "bf16"},
                              {"e4m3", "fp8"},
                              {"int44", "int4"}})
    CHECK(says(refusal({"plan", "--precision", text}),
               fmt::format("'{}' (did you mean {}?); it takes one of auto, bf16", text, choice)));
  CHECK(says(refusal({"plan", "--kv", "fp16"}), "did you mean bf16?"));
  CHECK(says(refusal({"plan", "--kv", "awq"}),
             "'awq'; it takes one of auto, bf16, fp8"));  // what it has not is not named
  CHECK(says(refusal({"plan", "--objective", "Latency"}), "did you mean latency?"));
}
TEST_CASE("a prefix is not guessed") { CHECK(says(refusal({"run", "a", "--max-t", "3"}), "--max-t")); }

TEST_CASE("bad values are refused, naming option, source, what was seen and what is possible") {
  CHECK(says(refusal({"run", "a", "--tp", "two"}),
             "option --tp is 'two'; it takes a whole number from 1 to 16777216, or auto"));
  CHECK(says(refusal({"run", "a"}, {"TRIREME_TP=0"}), "(from TRIREME_TP)"));
  CHECK(says(refusal({"run", "a", "--top-p", "0"}), "above 0 and up to 1"));
  CHECK(says(refusal({"run", "a", "--temperature", "-1"}), "from 0 to 100"));
  CHECK(says(refusal({"run", "a", "--temperature", "nan"}), "'nan'"));
  CHECK(says(refusal({"run", "a", "--numerics", "quick"}), "exact, standard, fast"));
  CHECK(says(refusal({"run", "a", "--stage-split", "9,,9"}), "stage-split"));
  CHECK(says(refusal({"run", "a", "--tp"}), "--tp"));
  CHECK(says(refusal({"run", "a"}, {"TRIREME_DIGEST=perhaps"}), "true or false"));
  CHECK(says(refusal({"run", "a", "--seed", "99999999999999999999"}), "seed"));
}

TEST_CASE("contradictions are refused") {
  CHECK(says(refusal({"run", "a", "--tp", "2", "--tp", "4"}), "given twice"));
  CHECK(says(refusal({"run", "a", "--pp", "2", "--stage-split", "9,9,12"}), "3 stages"));
  CHECK(says(refusal({"run", "a", "b"}), "'b'"));
  CHECK(says(refusal({"run"}), "needs INPUT"));
  CHECK(says(refusal({"doctor", "x"}), "no arguments"));
  CHECK(says(refusal({"tokenize", "f", "--text", "t"}), "--text"));
  CHECK(says(refusal({"run", "a", "--config", "absent.conf"}, {}, ExitCode::no_input), "absent.conf"));
}

TEST_CASE(
    "the table is sound: no letter, and of a command no name, twice; defaults are possible values; every option has "
    "help") {
  std::set<char> letters;
  for (const Command& command : commands()) {
    std::set<std::string_view> names;
    for (const OptionSpec& spec : option_table())
      if (spec.commands & command.bit) CHECK_MESSAGE(names.insert(spec.name).second, command.name << " " << spec.name);
  }
  for (const OptionSpec& spec : option_table()) {
    INFO(spec.name);
    if (spec.letter) CHECK(letters.insert(spec.letter).second);
    CHECK_FALSE(spec.help.empty());
    Options options;
    if (!spec.fallback.empty()) {
      CHECK_NOTHROW(assign(options, spec, spec.fallback, "default"));
      CHECK(values_of(options, spec) == Words{std::string(spec.fallback)});
    }
  }
  for (const Command& command : commands()) CHECK(command.examples.find(command.name) != std::string_view::npos);
}

TEST_CASE("one name, two commands: topology --synthetic takes a machine, bench --synthetic is a switch") {
  CHECK(parse({"topology", "--synthetic", "package:2 core:8"}).synthetic == "package:2 core:8");
  const Options options = parse({"bench", "--synthetic", "decode", "--shape", "llama-3.1-8b"});
  CHECK(options.synthetic_weights);
  CHECK(options.input == "decode");
  const std::string printed = printed_config(options);
  CHECK(printed.find("synthetic = true  # command line") != std::string::npos);
  CHECK(printed.find("synthetic is not set") == std::string::npos);
  ConfigFile file("synthetic = true\n");
  CHECK(parse({"bench", "decode", "--config", file.path}).synthetic_weights);
  CHECK(parse({"run", "in", "--config", file.path}).input == "in");
}

TEST_CASE("text options read files") {
  ConfigFile file("Summarize.");
  CHECK(text_or_file("@" + file.path, "--instruction") == "Summarize.");
  CHECK(text_or_file("@@home", "--instruction") == "@home");
  CHECK(text_or_file("plain", "--instruction") == "plain");
  CHECK_THROWS_AS(text_or_file("@absent.txt", "--instruction"), Error);
  CHECK_THROWS_AS(text_or_file("@.", "--instruction"), Error);
  const Options read = with_texts(parse_run({"--system", "@@home", "--instruction", "@" + file.path}));
  CHECK(read.system == "@home");
  CHECK(read.instruction == "Summarize.");
}

}  // namespace trireme

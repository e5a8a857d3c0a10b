#include "common/job_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

#include "common/subnet.h"
#include "common/testing/model_shapes.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kMinimal[] =
    "model: models/orchard\n"
    "text: train.txt\n"
    "target: 0.7\n"
    "output: out\n";

JobSpec Minimal() {
  JobSpec spec;
  spec.model = "models/orchard";
  spec.text.path = "train.txt";
  spec.ratio = 0.7;
  spec.output = "out";
  return spec;
}

std::string ParseError(std::string_view yaml) {
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(yaml, "job.yaml");
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(spec.status().message());
}

// Equality by way of the written form, which holds every field.
void ExpectSame(const JobSpec& a, const JobSpec& b) {
  EXPECT_EQ(JobSpecToYaml(a), JobSpecToYaml(b));
}

TEST(JobSpecTest, MinimalFileHasThePapersDefaults) {
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(kMinimal, "job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, "models/orchard");
  EXPECT_EQ(spec->text.path, "train.txt");
  EXPECT_EQ(spec->text.format, TextFormat::kPlain);
  EXPECT_EQ(spec->ratio, 0.7);
  EXPECT_EQ(spec->output, "out");
  EXPECT_EQ(spec->search.population(), 100);
  EXPECT_EQ(spec->search.generations, 50);
  EXPECT_EQ(spec->search.survivors, 10);
  EXPECT_EQ(spec->calibration_sequences, 128);
  EXPECT_TRUE(ValidateJobSpec(*spec).ok());
  ExpectSame(*spec, Minimal());
}

std::string ErrorOf(const std::string& target) {
  const std::string yaml = "model: m\ntext: t\noutput: o\ntarget: {ratio: " + target + "}\n";
  return std::string(ParseJobSpec(yaml, "job.yaml").status().message());
}

TEST(JobSpecTest, SeveralSizesAreAListOfRatios) {
  absl::StatusOr<JobSpec> spec =
      ParseJobSpec("model: m\ntext: t\noutput: o\ntarget: {ratio: [0.9, 0.5, 0.75]}\n", "j");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->ratios(), ElementsAre(0.9, 0.5, 0.75));
  EXPECT_TRUE(ValidateJobSpec(*spec).ok());
  ExpectSame(*ParseJobSpec(JobSpecToYaml(*spec), "again"), *spec);
  const std::vector<JobSpec> targets = TargetSpecs(*spec);
  ASSERT_EQ(targets.size(), 3);
  EXPECT_THAT(targets[1].ratios(), ElementsAre(0.5));
  EXPECT_EQ(RatioName(targets[2].ratio), "0.75");

  // The search space is each size's own; none is fixed for all.
  const absl::StatusOr<JobSpec> resolved = ResolveDefaults(*spec, SmolLm2());
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->search.attention_min_ratio, 0);
  EXPECT_THAT(resolved->ratios(), ElementsAre(0.9, 0.5, 0.75));

  spec->more_ratios = {0.5, 0.9};
  EXPECT_THAT(std::string(ValidateJobSpec(*spec).message()), HasSubstr("has 0.9 twice"));
  spec->more_ratios = {0.5, 1.5};
  EXPECT_THAT(std::string(ValidateJobSpec(*spec).message()), StartsWith("target.ratio is 1.5"));
  spec->more_ratios = {0.5, 0.05};
  EXPECT_THAT(std::string(ResolveDefaults(*spec, SmolLm2()).status().message()),
              StartsWith("target.ratio is 0.05, but the lowest"));

  EXPECT_EQ(ErrorOf("[]"), "job.yaml:4:17: target.ratio: expected at least one number, got a list");
  EXPECT_THAT(ErrorOf("[0.9, 2]"), StartsWith("job.yaml:4:23: target.ratio is 2; it must be"));
  EXPECT_THAT(ErrorOf("[0.9, x]"), StartsWith("job.yaml:4:23: target.ratio: expected a number"));
}

TEST(JobSpecTest, ReadsEveryKey) {
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(R"(
name: demo
model: {path: m, precision: bfloat16}
text: {path: a.raw, format: wikitext}
eval_text:
  path: b.raw
  format: wikitext
  sequences: 20
sequence_length: 512
target:
  ratio: 0.5
  tolerance: 0.01
  cut: mlp
  align: {mlp: 32, head_dim: 4}
seed: 18446744073709551615
output: out
calibration: {sequences: 16, damping: 0.02}
search:
  generations: 3
  mutations: 4
  crossovers: 5
  initial_mutations: 6
  survivors: 7
  sequences: 8
  initial: random
  mutation: {mask: 0.11, ratio: 0.12, depth: 0.13}
  initial_mutation: {mask: 0.21, ratio: 0.22, depth: 0.23}
  mask_overlap: 0.9
  attention_min_ratio: 0.3
  mlp_min_ratio: 0.2
  min_layers: 9
reformation: {method: admm, damping: 1e-2, rho: 2, iterations: 31, progressive_damping: 0.4,
              input_damping: 0.5}
method: paper
fitness: {weights: inherited, measure: kl}
budget_tokens: 123456789012
allocation:
  sequences: 40
  sequence_length: 41
  generations: 42
  offspring: 43
  finalists: 44
  sensitivity_sequences: 45
  offspring_sequences: 46
  finalist_sequences: 47
)",
                                                    "job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "demo");
  EXPECT_EQ(spec->method, SearchMethod::kPaper);
  EXPECT_EQ(spec->allocation.sequences, 40);
  EXPECT_EQ(spec->allocation.sequence_length, 41);
  EXPECT_EQ(spec->allocation.generations, 42);
  EXPECT_EQ(spec->allocation.offspring, 43);
  EXPECT_EQ(spec->allocation.finalists, 44);
  EXPECT_EQ(spec->allocation.sensitivity_sequences, 45);
  EXPECT_EQ(spec->allocation.offspring_sequences, 46);
  EXPECT_EQ(spec->allocation.finalist_sequences, 47);
  EXPECT_EQ(spec->reformation.progressive_damping, 0.4);
  EXPECT_EQ(spec->reformation.input_damping, 0.5);
  EXPECT_EQ(spec->model, "m");
  EXPECT_EQ(spec->precision, Precision::kBFloat16);
  EXPECT_EQ(spec->text.path, "a.raw");
  EXPECT_EQ(spec->text.format, TextFormat::kWikiText);
  EXPECT_EQ(spec->eval_text.path, "b.raw");
  EXPECT_EQ(spec->eval_text.format, TextFormat::kWikiText);
  EXPECT_EQ(spec->eval_sequences, 20);
  EXPECT_EQ(spec->sequence_length, 512);
  EXPECT_EQ(spec->ratio, 0.5);
  EXPECT_EQ(spec->tolerance, 0.01);
  EXPECT_EQ(spec->align_mlp, 32);
  EXPECT_EQ(spec->align_head_dim, 4);
  EXPECT_EQ(spec->seed, 18446744073709551615u);
  EXPECT_EQ(spec->output, "out");
  EXPECT_EQ(spec->calibration_sequences, 16);
  EXPECT_EQ(spec->importance_damping, 0.02);
  EXPECT_EQ(spec->fitness.weights, FitnessWeights::kInherited);
  EXPECT_EQ(spec->fitness.measure, FitnessMeasure::kDivergence);
  EXPECT_EQ(spec->budget_tokens, 123456789012);
  EXPECT_EQ(spec->cut, CutModules::kMlp);
  EXPECT_EQ(spec->search.initial, InitialUnits::kRandom);
  EXPECT_EQ(spec->search.generations, 3);
  EXPECT_EQ(spec->search.mutations, 4);
  EXPECT_EQ(spec->search.crossovers, 5);
  EXPECT_EQ(spec->search.initial_mutations, 6);
  EXPECT_EQ(spec->search.survivors, 7);
  EXPECT_EQ(spec->search.sequences, 8);
  EXPECT_EQ(spec->search.mutation.mask, 0.11);
  EXPECT_EQ(spec->search.mutation.ratio, 0.12);
  EXPECT_EQ(spec->search.mutation.depth, 0.13);
  EXPECT_EQ(spec->search.initial_mutation.mask, 0.21);
  EXPECT_EQ(spec->search.initial_mutation.ratio, 0.22);
  EXPECT_EQ(spec->search.initial_mutation.depth, 0.23);
  EXPECT_EQ(spec->search.mask_overlap, 0.9);
  EXPECT_EQ(spec->search.attention_min_ratio, 0.3);
  EXPECT_EQ(spec->search.mlp_min_ratio, 0.2);
  EXPECT_EQ(spec->search.min_layers, 9);
  EXPECT_EQ(spec->reformation.method, ReformationMethod::kAdmm);
  EXPECT_EQ(spec->reformation.damping, 1e-2);
  EXPECT_EQ(spec->reformation.rho, 2);
  EXPECT_EQ(spec->reformation.iterations, 31);
  ExpectSame(*ParseJobSpec(JobSpecToYaml(*spec), "again.yaml"), *spec);
}

TEST(JobSpecTest, AnchorsAndAliasesWork) {
  const absl::StatusOr<JobSpec> spec = ParseJobSpec(
      "text: &t {path: a, format: wikitext}\nsearch:\n  mutation: &m {mask: 0.5}\n"
      "  initial_mutation: *m\n",
      "job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->search.initial_mutation.mask, 0.5);
  EXPECT_EQ(spec->search.initial_mutation.ratio, 0.3);
}

TEST(JobSpecTest, RoundTripsOddStringsAndExactDoubles) {
  JobSpec spec = Minimal();
  spec.name = std::string(
      "\"q\" \\ 'a' # no: comment, {[*&!%@`\t\r\n\x01\x04\x7F \xC2\x85 \xE2\x80\xA8 \xE2\x80\xA9 "
      "\xEF\xBB\xBF \xF0\x9F\x98\x80 \xC3\xBC ~ null ");
  spec.model = " leading and trailing ";
  spec.text.path = "12";
  spec.eval_text.path = "";
  spec.output = "- a: b";
  spec.ratio = std::nextafter(0.7, 1.0);
  spec.tolerance = 0.1 + 0.2;
  spec.importance_damping = std::numeric_limits<double>::min();
  spec.reformation.rho = 1.0 / 3;
  const absl::StatusOr<JobSpec> again = ParseJobSpec(JobSpecToYaml(spec), "job.yaml");
  ASSERT_TRUE(again.ok()) << again.status() << JobSpecToYaml(spec);
  EXPECT_EQ(again->name, spec.name);
  EXPECT_EQ(again->model, spec.model);
  EXPECT_EQ(again->text.path, "12");
  EXPECT_EQ(again->eval_text.path, "");
  EXPECT_EQ(again->output, spec.output);
  EXPECT_EQ(again->ratio, spec.ratio);
  EXPECT_EQ(again->tolerance, spec.tolerance);
  EXPECT_EQ(again->importance_damping, spec.importance_damping);
  EXPECT_EQ(again->reformation.rho, spec.reformation.rho);
}

TEST(JobSpecTest, AnUnfinishedSpecRoundTrips) {
  ExpectSame(*ParseJobSpec(JobSpecToYaml(JobSpec()), "job.yaml"), JobSpec());
  EXPECT_EQ(ParseJobSpec(JobSpecToYaml(JobSpec()), "job.yaml")->ratio, 0);
}

TEST(JobSpecTest, UnknownKeysAreRefusedWithTheNearestOne) {
  EXPECT_THAT(ParseError("model: a\nouptut: b\n"),
              StartsWith("job.yaml:2:1: unknown key \"ouptut\"; did you mean output? Keys here: "));
  EXPECT_THAT(
      ParseError("target:\n  ratoi: 0.5\n"),
      AllOf(StartsWith("job.yaml:2:3: unknown key \"ratoi\""),
            HasSubstr("did you mean target.ratio? Keys here: ratio, tolerance, cut, align")));
  // A key of another map is found there.
  EXPECT_THAT(ParseError("tolerance: 0.1\n"), HasSubstr("did you mean target.tolerance?"));
  EXPECT_THAT(ParseError("generations: 3\n"),
              HasSubstr("did you mean search.generations or allocation.generations?"));
  EXPECT_THAT(ParseError("search: {<<: {}}\n"), HasSubstr("unknown key \"<<\""));
}

TEST(JobSpecTest, DuplicateKeysAreRefusedAtTheSecond) {
  EXPECT_EQ(ParseError("output: a\nmodel: b\noutput: c\n"),
            "job.yaml:3:1: the key \"output\" is given twice; remove one of them");
  EXPECT_THAT(ParseError("search:\n  survivors: 1\n  survivors: 1\n"),
              StartsWith("job.yaml:3:3: the key \"survivors\" is given twice"));
}

TEST(JobSpecTest, TypeErrorsNameExpectedTypeAndGivenValue) {
  EXPECT_EQ(ParseError("target:\n  ratio: high\n"),
            "job.yaml:2:10: target.ratio: expected a number, got \"high\"");
  EXPECT_EQ(ParseError("target: {ratio: \"0.5\"}\n"),
            "job.yaml:1:17: target.ratio: expected a number, got \"0.5\"");
  EXPECT_EQ(ParseError("search: {generations: 1.5}\n"),
            "job.yaml:1:23: search.generations: expected a whole number, got \"1.5\"");
  EXPECT_EQ(ParseError("search: 5\n"), "job.yaml:1:9: search: expected a map of keys, got \"5\"");
  EXPECT_EQ(ParseError("search: []\n"), "job.yaml:1:9: search: expected a map of keys, got a list");
  EXPECT_EQ(ParseError("output: [a]\n"), "job.yaml:1:9: output: expected a string, got a list");
  EXPECT_EQ(ParseError("output: {a: b}\n"), "job.yaml:1:9: output: expected a string, got a map");
  EXPECT_THAT(ParseError("output:\nmodel: m\n"),
              HasSubstr("output: expected a string, got nothing"));
  EXPECT_EQ(ParseError("model: {precision: float16}\n"),
            "job.yaml:1:20: model.precision: expected one of float32, bfloat16, got \"float16\"");
  EXPECT_EQ(ParseError("text: {format: [x]}\n"),
            "job.yaml:1:16: text.format: expected one of wikitext, plain, got a list");
  EXPECT_THAT(ParseError("seed: -1\n"), HasSubstr("seed: expected a whole number from 0"));
  EXPECT_THAT(ParseError("seed: 18446744073709551616\n"), HasSubstr("seed: expected"));
  EXPECT_THAT(ParseError("{[a]: b}\n"), HasSubstr("expected a key, got a list"));
}

TEST(JobSpecTest, NumbersOutOfRangeAreRefused) {
  EXPECT_EQ(ParseError("target:\n  ratio: 1.5\n"),
            "job.yaml:2:10: target.ratio is 1.5; it must be a number greater than 0 and at most 1");
  for (const char* yaml : {"target: {ratio: 0}",
                           "target: {ratio: -0.1}",
                           "target: {tolerance: 0}",
                           "target: {tolerance: 0.6}",
                           "target: {align: {mlp: -1}}",
                           "sequence_length: 1",
                           "sequence_length: -5",
                           "eval_text: {sequences: -1}",
                           "calibration: {sequences: 0}",
                           "calibration: {damping: 0}",
                           "search: {generations: 0}",
                           "search: {mutations: -1}",
                           "search: {survivors: 0}",
                           "search: {sequences: 0}",
                           "search: {mutation: {mask: 1.01}}",
                           "search: {initial_mutation: {depth: -0.01}}",
                           "search: {mask_overlap: 2}",
                           "search: {attention_min_ratio: 1.1}",
                           "search: {mlp_min_ratio: -1}",
                           "search: {min_layers: -1}",
                           "reformation: {damping: 0}",
                           "reformation: {rho: 0}",
                           "reformation: {iterations: 0}",
                           "search: {generations: 2000000}"}) {
    EXPECT_THAT(ParseError(yaml), HasSubstr("; it must be a ")) << yaml;
  }
  for (const char* number : {"nan", ".nan", "inf", ".inf", "-inf", "NaN", "1e999", "0x1"}) {
    EXPECT_THAT(ParseError(std::string("target: {ratio: ") + number + "}"),
                StartsWith("job.yaml:1:17: target.ratio"))
        << number;
  }
}

TEST(JobSpecTest, WrongDocumentsAreRefused) {
  EXPECT_THAT(ParseError(""), StartsWith("job.yaml:1:1: the job file is empty"));
  EXPECT_THAT(ParseError("- a\n"), HasSubstr("a job file: expected a map of keys, got a list"));
  EXPECT_THAT(ParseError("hello\n"), HasSubstr("expected a map of keys, got \"hello\""));
  EXPECT_THAT(ParseError("# only a comment\n"), StartsWith("job.yaml:1:1: "));
  EXPECT_THAT(ParseError("model: a\n---\nmodel: b\n"),
              StartsWith("job.yaml:2:1: a second YAML document"));
  EXPECT_THAT(ParseError("model: a\n bad: [\n"),
              AllOf(StartsWith("job.yaml:2:"), HasSubstr("not valid YAML")));
  EXPECT_THAT(ParseError("output: *nowhere\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(ParseError("output: a\x04\n"), StartsWith("job.yaml:1:10: control character"));
  EXPECT_THAT(ParseError("model: x\noutput: \xFF\n"), StartsWith("job.yaml:2:9: not UTF-8"));
  EXPECT_THAT(ParseError("output: \"a\\0b\"\n"), HasSubstr("output: contains a NUL"));
  EXPECT_THAT(ParseError(std::string(2 << 20, 'a')), HasSubstr("a job file has at most 1048576"));
  EXPECT_THAT(ParseError(std::string(100'000, '[')), StartsWith("job.yaml:"));
  EXPECT_THAT(ParseError(std::string(100'000, '{')), StartsWith("job.yaml:"));
}

// yaml-cpp finds empty documents without end behind a token that begins none.
TEST(JobSpecTest, DocumentsWithoutEndAreRefused) {
  for (const char* yaml : {"seed: 1\n}\n", ", +\", admm? v : g}\n", "[a]\n]\n", "{}\n,"}) {
    EXPECT_THAT(ParseError(yaml), StartsWith("job.yaml:")) << yaml;
  }
}

TEST(JobSpecTest, TextsMustFitIntoAFileThatIsWritten) {
  const std::string longest(4096, 'a');
  EXPECT_EQ(ParseJobSpec("name: " + longest, "job.yaml")->name, longest);
  EXPECT_THAT(ParseError("seed: 1\nname: a" + longest),
              StartsWith("job.yaml:2:7: name: is 4097 bytes long; at most 4096"));
  // Each of these takes twice as many bytes when it is escaped, and a job file has at most 2^20.
  std::string marks;
  for (int i = 0; i < 300'000; ++i) marks += "\xEF\xBB\xBF";
  EXPECT_THAT(ParseError("name: " + marks), HasSubstr("name: is 900000 bytes long"));
  JobSpec spec = Minimal();
  spec.output = "a" + longest;
  EXPECT_THAT(std::string(ValidateJobSpec(spec).message()),
              StartsWith("output is 4097 bytes long"));
}

// Neither crashes nor hangs on what is nearly a job file.
TEST(JobSpecTest, SurvivesMutilatedFiles) {
  const std::string good = JobSpecToYaml(Minimal());
  std::mt19937 random(1);
  const std::string_view alphabet = "{}[]:,-&*!|>'\"%@`#?\n \t~<=a0.\\";
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string yaml = good;
    for (int edits = 0; edits < 5; ++edits) {
      const size_t at = random() % yaml.size();
      switch (random() % 3) {
        case 0:
          yaml[at] = alphabet[random() % alphabet.size()];
          break;
        case 1:
          yaml.insert(at, 1, alphabet[random() % alphabet.size()]);
          break;
        default:
          yaml.erase(at, random() % 20);
      }
    }
    const absl::StatusOr<JobSpec> spec = ParseJobSpec(yaml, "job.yaml");
    if (spec.ok()) continue;
    ++refused;
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_GT(refused, 1000);
}

TEST(JobSpecTest, ReadsFilesAndKeepsRelativePaths) {
  const std::string file = ::testing::TempDir() + "/espalier_job_spec_test.yaml";
  std::ofstream(file) << kMinimal;
  const absl::StatusOr<JobSpec> spec = ReadJobSpec(file);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, "models/orchard");
  std::ofstream(file) << "modle: x\n";
  EXPECT_THAT(std::string(ReadJobSpec(file).status().message()), StartsWith(file + ":1:1: "));
  EXPECT_EQ(ReadJobSpec("no/such/job.yaml").status().code(), absl::StatusCode::kNotFound);
}

TEST(JobSpecTest, ExamplesAreValid) {
  int examples = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("examples")) {
    if (entry.path().extension() != ".yaml") continue;
    ++examples;
    const absl::StatusOr<JobSpec> spec = ReadJobSpec(entry.path());
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_TRUE(ValidateJobSpec(*spec).ok()) << entry.path() << ValidateJobSpec(*spec);
  }
  EXPECT_GE(examples, 2);
}

// "target.align.mlp" for each line of the written form.
std::vector<std::string> AllKeys() {
  std::vector<std::string> keys;
  std::vector<std::string> path;
  std::istringstream lines(JobSpecToYaml(Minimal()));
  for (std::string line; std::getline(lines, line);) {
    const size_t indent = line.find_first_not_of(' ');
    path.resize(indent / 2);
    path.push_back(line.substr(indent, line.find(':') - indent));
    std::string key;
    for (const std::string& part : path) key += (key.empty() ? "" : ".") + part;
    if (!line.ends_with(':')) keys.push_back(key);
  }
  return keys;
}

TEST(JobSpecTest, DocumentationHasEveryKey) {
  std::ifstream file("docs/job.md");
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::vector<std::string> keys = AllKeys();
  EXPECT_EQ(keys.size(), 55u);
  for (const std::string& key : keys) {
    EXPECT_THAT(page, HasSubstr("\n| `" + key + "` | ")) << key;
  }
}

TEST(ValidateJobSpecTest, NamesWhatIsMissing) {
  const auto message = [](auto change) {
    JobSpec spec = Minimal();
    change(spec);
    return std::string(ValidateJobSpec(spec).message());
  };
  EXPECT_THAT(message([](JobSpec& s) { s.model = ""; }), HasSubstr("--model"));
  EXPECT_THAT(message([](JobSpec& s) { s.text.path = ""; }), HasSubstr("--text"));
  EXPECT_THAT(message([](JobSpec& s) { s.ratio = 0; }), HasSubstr("--ratio"));
  EXPECT_THAT(message([](JobSpec& s) { s.output = ""; }), HasSubstr("--output"));
  EXPECT_THAT(message([](JobSpec& s) { s.ratio = 1.2; }), StartsWith("target.ratio is 1.2; it "));
  EXPECT_THAT(message([](JobSpec& s) { s.ratio = std::nan(""); }), StartsWith("target.ratio is "));
  EXPECT_THAT(message([](JobSpec& s) { s.sequence_length = 1; }), StartsWith("sequence_length is"));
  EXPECT_THAT(message([](JobSpec& s) { s.output = "\xFF"; }), HasSubstr("output is not UTF-8"));
  EXPECT_THAT(message([](JobSpec& s) { s.align_head_dim = 3; }), HasSubstr("must be even"));
  EXPECT_EQ(message([](JobSpec& s) { s.align_head_dim = 1; }), "");
  EXPECT_THAT(message([](JobSpec& s) {
                s.search.mutations = s.search.crossovers = s.search.initial_mutations = 0;
              }),
              HasSubstr("nothing would be searched"));
  EXPECT_THAT(message([](JobSpec& s) { s.search.survivors = 1; }), HasSubstr("two parents"));
}

TEST(ResolveDefaultsTest, ThePapersTableForThePapersModel) {
  JobSpec spec = Minimal();
  spec.output = "results/run-1/";
  absl::StatusOr<JobSpec> resolved = ResolveDefaults(spec, Llama7B());
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->name, "run-1");
  EXPECT_EQ(resolved->sequence_length, 2048);
  EXPECT_EQ(resolved->align_mlp, 64);
  EXPECT_EQ(resolved->align_head_dim, 8);
  EXPECT_EQ(resolved->search.attention_min_ratio, 0.3);
  EXPECT_EQ(resolved->search.mlp_min_ratio, 0.2);
  EXPECT_EQ(resolved->search.min_layers, 30);

  spec.ratio = 0.75;  // halfway: the larger space
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.mlp_min_ratio, 0.2);
  spec.ratio = 0.8;
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.mlp_min_ratio, 0.4);
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.min_layers, 32);
  spec.ratio = 0.97;
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.attention_min_ratio, 0.9);
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.mlp_min_ratio, 0.6);
  spec.ratio = 0.5;
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search.min_layers, 28);
  ModelConfig llama13b = Llama7B();
  llama13b.num_layers = 40;
  EXPECT_EQ(ResolveDefaults(spec, llama13b)->search.min_layers, 32);
}

TEST(ResolveDefaultsTest, GivenValuesStay) {
  JobSpec spec = Minimal();
  spec.name = "n";
  spec.sequence_length = 4096;  // beyond the model's positions: the user's choice
  spec.align_mlp = 1;
  spec.align_head_dim = 1;
  spec.search.attention_min_ratio = 0.123;
  spec.search.mlp_min_ratio = 0.4;
  spec.search.min_layers = 5;
  spec.allocation.sequence_length = 77;
  spec.reformation.method = ReformationMethod::kAdmm;
  ExpectSame(*ResolveDefaults(spec, Llama7B()), spec);
}

TEST(ResolveDefaultsTest, WhatDependsOnTheMethod) {
  JobSpec spec = Minimal();
  EXPECT_EQ(spec.method, SearchMethod::kEspalier);
  spec.method = SearchMethod::kPaper;
  JobSpec resolved = *ResolveDefaults(spec, Llama7B());
  EXPECT_EQ(resolved.reformation.method, ReformationMethod::kClosedForm);
  EXPECT_EQ(resolved.repair().method, ReformationMethod::kNone);
  EXPECT_FALSE(resolved.by_divergence());
  EXPECT_TRUE(resolved.fitness_is_perplexity());
  EXPECT_EQ(resolved.search_sequences(), resolved.search.sequences);
  EXPECT_EQ(resolved.search_sequence_length(), 2048);
  resolved.fitness.weights = FitnessWeights::kReformed;
  EXPECT_EQ(resolved.repair().method, ReformationMethod::kClosedForm);  // as published
  spec.method = SearchMethod::kEspalier;
  resolved = *ResolveDefaults(spec, Llama7B());
  EXPECT_EQ(resolved.reformation.method, ReformationMethod::kProgressive);
  EXPECT_EQ(resolved.repair().method, ReformationMethod::kProjected);
  EXPECT_TRUE(resolved.by_divergence());
  EXPECT_FALSE(resolved.fitness_is_perplexity());
  resolved.fitness = {.weights = FitnessWeights::kInherited,
                      .measure = FitnessMeasure::kPerplexity};
  EXPECT_EQ(resolved.repair().method, ReformationMethod::kNone);
  EXPECT_FALSE(resolved.by_divergence());
  EXPECT_FALSE(resolved.fitness_is_perplexity());  // on windows of the search text
  EXPECT_EQ(resolved.search_sequences(), resolved.allocation.sequences);
  EXPECT_EQ(resolved.search_sequence_length(), 512);
  spec.sequence_length = 128;
  EXPECT_EQ(ResolveDefaults(spec, Llama7B())->search_sequence_length(), 128);
}

TEST(ResolveDefaultsTest, ModulesThatAreNotCutHaveOneSize) {
  JobSpec spec = Minimal();
  spec.ratio = 0.8;
  spec.cut = CutModules::kMlp;
  JobSpec resolved = *ResolveDefaults(spec, Llama7B());
  EXPECT_EQ(resolved.search.attention_min_ratio, 1);
  EXPECT_LT(resolved.search.mlp_min_ratio, 1);
  EXPECT_EQ(resolved.search.min_layers, 32);
  spec.cut = CutModules::kAttention;
  resolved = *ResolveDefaults(spec, Llama7B());
  EXPECT_LT(resolved.search.attention_min_ratio, 1);
  EXPECT_EQ(resolved.search.mlp_min_ratio, 1);
}

TEST(ResolveDefaultsTest, BaselinesInheritWeightsAndOnlyFlapAddsBiases) {
  for (const SearchMethod method : {SearchMethod::kRandom, SearchMethod::kMagnitude,
                                    SearchMethod::kWandaSp, SearchMethod::kFlap}) {
    EXPECT_TRUE(IsBaseline(method));
    EXPECT_EQ(*ParseSearchMethod(SearchMethodName(method)), method);
    JobSpec spec = Minimal();
    spec.method = method;
    const JobSpec resolved = *ResolveDefaults(spec, Llama7B());
    EXPECT_EQ(resolved.reformation.method,
              method == SearchMethod::kFlap ? ReformationMethod::kBias : ReformationMethod::kNone);
    EXPECT_EQ(resolved.repair().method, ReformationMethod::kNone);
    EXPECT_EQ(resolved.search_sequences(), resolved.search.sequences);
    EXPECT_EQ(resolved.search_sequence_length(), 2048);
    ExpectSame(*ParseJobSpec(JobSpecToYaml(resolved), "again"), resolved);
  }
  EXPECT_FALSE(IsBaseline(SearchMethod::kPaper));
  EXPECT_FALSE(IsBaseline(SearchMethod::kEspalier));
}

TEST(ResolveDefaultsTest, BiasesNeedAMethodThatLeavesRoomAndAModelWithout) {
  JobSpec spec = Minimal();
  spec.reformation.method = ReformationMethod::kBias;
  EXPECT_THAT(std::string(ResolveDefaults(spec, Llama7B()).status().message()),
              HasSubstr("reformation.method is bias"));
  spec.method = SearchMethod::kWandaSp;
  EXPECT_TRUE(ResolveDefaults(spec, Llama7B()).ok());
  spec.cut = CutModules::kMlp;
  EXPECT_THAT(std::string(ValidateJobSpec(spec).message()),
              StartsWith("target.cut: method wanda-sp cuts attention and MLP together"));
  spec.cut = CutModules::kBoth;
  ModelConfig config = Llama7B();
  config.mlp_bias = true;
  EXPECT_EQ(ResolveDefaults(spec, config).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(ResolveDefaultsTest, AlignmentIsHalvedForSmallModels) {
  ModelConfig config = SmolLm2();
  EXPECT_EQ(ResolveDefaults(Minimal(), config)->align_mlp, 64);
  config.intermediate_size = 384;
  config.head_dim = 32;
  config.vocab_size = 1000;
  config.max_position_embeddings = 512;
  absl::StatusOr<JobSpec> resolved = ResolveDefaults(Minimal(), config);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->align_mlp, 16);
  EXPECT_EQ(resolved->align_head_dim, 4);
  EXPECT_EQ(resolved->sequence_length, 512);
  config.head_dim = 8;
  config.intermediate_size = 16;
  resolved = ResolveDefaults(Minimal(), config);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->align_mlp, 1);
  EXPECT_EQ(resolved->align_head_dim, 2);
}

TEST(ResolveDefaultsTest, TheSpaceHoldsTheUniformArchitecture) {
  const ModelConfig config = SmolLm2();
  for (double ratio : {0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3}) {
    JobSpec spec = Minimal();
    spec.ratio = ratio;
    const absl::StatusOr<JobSpec> resolved = ResolveDefaults(spec, config);
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    // Embedding + final norm: 49152 · 576 + 576.
    const double fixed = 49152.0 * 576 + 576;
    const double dense = static_cast<double>(DenseParameters(config));
    const double uniform = (ratio * dense - fixed) / (dense - fixed);
    EXPECT_LT(resolved->search.attention_min_ratio, std::max(uniform, 0.126)) << ratio;
    EXPECT_LT(resolved->search.mlp_min_ratio, uniform) << ratio;
    EXPECT_GT(resolved->search.attention_min_ratio, 0);
    EXPECT_GT(resolved->search.mlp_min_ratio, 0);
  }
  JobSpec half = Minimal();
  half.ratio = 0.5;
  // Uniform is 0.367; one step of 8 of 64 dims below it, in hundredths.
  EXPECT_EQ(ResolveDefaults(half, config)->search.attention_min_ratio, 0.24);
  EXPECT_EQ(ResolveDefaults(half, config)->search.mlp_min_ratio, 0.1);
  EXPECT_EQ(ResolveDefaults(half, config)->search.min_layers, 27);  // ⌈30 · 28/32⌉
}

TEST(ResolveDefaultsTest, ATargetBelowWhatIsLeftWholeIsRefused) {
  JobSpec spec = Minimal();
  spec.method = SearchMethod::kEspalier;
  spec.cut = CutModules::kAttention;
  spec.ratio = 0.8;
  // 134,515,008 parameters, of which the attentions are 30 · (884,736 + 576).
  const std::string message(ResolveDefaults(spec, SmolLm2()).status().message());
  EXPECT_THAT(message, AllOf(HasSubstr("lowest possible ratio of this model is 0.8026"),
                             HasSubstr("let target.cut be both")));
  spec.ratio = 0.8026;
  EXPECT_TRUE(ResolveDefaults(spec, SmolLm2()).ok());
  spec.method = SearchMethod::kPaper;  // every layer keeps a part of its attention
  EXPECT_THAT(std::string(ResolveDefaults(spec, SmolLm2()).status().message()),
              HasSubstr("lowest possible ratio of this model is 0.827"));
}

TEST(ResolveDefaultsTest, UnreachableTargetsNameTheLowestRatio) {
  JobSpec spec = Minimal();
  spec.ratio = 0.2;  // SmolLM2's embedding is 21 %
  const std::string message(ResolveDefaults(spec, SmolLm2()).status().message());
  EXPECT_THAT(message, AllOf(HasSubstr("target.ratio is 0.2"),
                             HasSubstr("lowest possible ratio of this model is 0.2108"),
                             HasSubstr("are 0.2105")));
  spec.ratio = 0.2108;
  EXPECT_TRUE(ResolveDefaults(spec, SmolLm2()).ok());
  spec.ratio = 0.2107;
  EXPECT_FALSE(ResolveDefaults(spec, SmolLm2()).ok());

  spec.ratio = 0.3;
  spec.search.min_layers = 30;
  spec.search.mlp_min_ratio = 0.5;
  spec.search.attention_min_ratio = 0.8;
  EXPECT_THAT(std::string(ResolveDefaults(spec, SmolLm2()).status().message()),
              HasSubstr("or lower search.min_layers"));
  spec.search.min_layers = 31;
  EXPECT_THAT(std::string(ResolveDefaults(spec, SmolLm2()).status().message()),
              HasSubstr("search.min_layers is 31, but the model has 30 layers"));
}

TEST(ResolveDefaultsTest, RefusesWhatTheModelCannotHave) {
  JobSpec spec = Minimal();
  spec.align_mlp = 2048;
  EXPECT_THAT(std::string(ResolveDefaults(spec, SmolLm2()).status().message()),
              HasSubstr("more than the model's 1536 intermediate channels"));
  spec = Minimal();
  spec.align_head_dim = 128;
  EXPECT_THAT(std::string(ResolveDefaults(spec, SmolLm2()).status().message()),
              HasSubstr("more than the model's 64 dims a head"));
  spec = Minimal();
  spec.model = "";
  EXPECT_FALSE(ResolveDefaults(spec, SmolLm2()).ok());
}

}  // namespace
}  // namespace espalier

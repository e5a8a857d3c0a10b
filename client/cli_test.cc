// The program as its users meet it: help, usage errors, results, Ctrl-C.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "client/exit_codes.h"
#include "client/testing/cli_fixture.h"
#include "client/testing/small_model.h"
#include "common/file.h"
#include "common/subnet.h"
#include "common/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(CliTest, EveryCommandExplainsItself) {
  for (const char* command :
       {"run", "submit", "list", "get", "watch", "cancel", "result", "workers", "eval"}) {
    const Finished help = Espalier({command, "--help"});
    EXPECT_EQ(help.status, kExitOk) << command;
    EXPECT_THAT(help.out, HasSubstr(std::string("espalier ") + command));
    EXPECT_THAT(help.out, HasSubstr("Example"));
    EXPECT_EQ(help.err, "");
  }
  EXPECT_THAT(Espalier({"--help"}).out, HasSubstr("Exit status"));
}

TEST_F(CliTest, Version) {
  EXPECT_EQ(Espalier({"version"}).out, "espalier " + std::string(kVersion) + "\n");
  EXPECT_EQ(Espalier({"version", "--json"}).out,
            "{\"version\":\"" + std::string(kVersion) + "\"}\n");
}

TEST_F(CliTest, UsageErrorsHaveTheirOwnStatus) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"prune"},
      {"run", "--modle", "x"},
      {"run", "--ratio", "much"},
      {"run", "--workers", "0"},
      {"run"},
      {"submit", "--text-format", "html"},
      {"get"},
      {"get", "one", "two"},
      {"run", "one.yaml", "two.yaml"},
      {"eval", "--model", "x"},
      {"eval", "--model", "x", "--text", "y", "--precision", "int4"},
      {"eval", "--model", "x", "--text", "y", "--sequence-length", "1"}};
  for (const auto& arguments : wrong) {
    const Finished finished = Espalier(arguments);
    const std::string shown = ::testing::PrintToString(arguments);
    EXPECT_EQ(finished.status, kExitUsage) << shown;
    EXPECT_THAT(finished.err, StartsWith("espalier: ")) << shown;
    EXPECT_EQ(finished.out, "") << shown;
  }
}

TEST_F(CliTest, UsageErrorsAreJsonForScripts) {
  const Finished finished = Espalier({"run", "--modle", "x", "--json"});
  EXPECT_EQ(finished.status, kExitUsage);
  EXPECT_THAT(nlohmann::json::parse(finished.out)["error"].get<std::string>(),
              HasSubstr("--modle"));
}

TEST_F(CliTest, RunEndsWithATable) {
  const Finished run = Espalier(SmallJob("run", {"--eval-text", text().string()}));
  ASSERT_EQ(run.status, kExitOk) << run.err;
  for (const char* row : {"dense", "initial", "searched", "reformed"}) {
    EXPECT_THAT(run.out, HasSubstr(row));
  }
  EXPECT_THAT(run.out, HasSubstr("held-out text " + text().string()));
  EXPECT_THAT(run.out, HasSubstr("Result: " + output().string()));
  EXPECT_THAT(run.err, HasSubstr("Search     done in"));
  EXPECT_THAT(run.err, Not(HasSubstr("\x1b")));
}

TEST_F(CliTest, ResultsAreScoredAsReported) {
  const Finished run = Espalier(
      SmallJob("run", {"--eval-text", text().string(), "--eval-sequences", "5", "--json"}));
  ASSERT_EQ(run.status, kExitOk) << run.err;
  const nlohmann::json table = nlohmann::json::parse(run.out);
  EXPECT_EQ(table["output"], output().string());
  EXPECT_EQ(table["dense"]["ratio"], 1.0);
  EXPECT_EQ(table["dense"]["parameters"].get<int64_t>(), DenseParameters(SmallConfig()));
  const double ratio = table["reformed"]["ratio"];
  EXPECT_LE(ratio, 0.7);
  EXPECT_GE(ratio, 0.695);
  EXPECT_EQ(table["searched"]["parameters"], table["reformed"]["parameters"]);

  // Compact, padded and the result folder hold the reformed subnet; the masks alone, the searched.
  const auto eval = [&](const std::vector<std::string>& model) {
    std::vector<std::string> arguments = {
        "eval", "--text", text().string(), "--sequence-length", "64", "--sequences",
        "5",    "--json", "--quiet"};
    arguments.insert(arguments.end(), model.begin(), model.end());
    const Finished finished = Espalier(arguments);
    EXPECT_EQ(finished.status, kExitOk) << finished.err;
    return nlohmann::json::parse(finished.out);
  };
  const double reformed = table["reformed"]["perplexity"];
  const double searched = table["searched"]["perplexity"];
  const double dense = table["dense"]["perplexity"];
  // The export is in bfloat16, with 8 bits of precision.
  constexpr double kExport = 2e-3;
  constexpr double kSame = 1e-6;
  for (const char* folder : {"", "compact"}) {
    const auto score = eval({"--model", (output() / folder).string()});
    EXPECT_NEAR(score["perplexity"].get<double>() / reformed, 1, kExport) << folder;
    EXPECT_EQ(score["parameters"], table["reformed"]["parameters"]) << folder;
    EXPECT_EQ(score["ratio"], table["reformed"]["ratio"]) << folder;
    EXPECT_EQ(score["nll_per_sequence"].size(), 5u) << folder;
  }
  const auto padded = eval({"--model", (output() / "padded").string()});
  EXPECT_NEAR(padded["perplexity"].get<double>() / reformed, 1, kExport);
  EXPECT_EQ(padded["parameters"], table["dense"]["parameters"]);
  const auto masked =
      eval({"--model", model().string(), "--masks", (output() / "subnet.json").string()});
  EXPECT_NEAR(masked["perplexity"].get<double>() / searched, 1, kSame);
  EXPECT_EQ(masked["parameters"], table["searched"]["parameters"]);
  EXPECT_NEAR(eval({"--model", model().string()})["perplexity"].get<double>() / dense, 1, kSame);
}

// The default method, at two sizes; each is what it is alone.
TEST_F(CliTest, SeveralSizesHaveAFolderEach) {
  const auto job = [&](const std::string& ratio, const std::string& folder) {
    return std::vector<std::string>{"run",
                                    "--model",
                                    model().string(),
                                    "--text",
                                    text().string(),
                                    "--ratio",
                                    ratio,
                                    "--output",
                                    (output() / folder).string(),
                                    "--generations",
                                    "2",
                                    "--sequence-length",
                                    "64",
                                    "--calibration-sequences",
                                    "6",
                                    "--search-sequences",
                                    "4"};
  };
  const Finished run = Espalier(job("0.8,0.6", "sizes"));
  ASSERT_EQ(run.status, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("size   parameters"));
  EXPECT_THAT(run.out, HasSubstr("Results: " + (output() / "sizes").string()));
  EXPECT_THAT(run.err, HasSubstr("size 2 of 2"));
  ASSERT_EQ(Espalier(job("0.6", "alone")).status, kExitOk);
  for (const char* file : {"subnet.json", "population.jsonl", "compact/model.safetensors",
                           "padded/model.safetensors", "job.yaml"}) {
    EXPECT_EQ(*ReadFile(output() / "sizes/0.6" / file), *ReadFile(output() / "alone" / file))
        << file;
  }
  const std::string csv = *ReadFile(output() / "sizes/sizes.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 4);
  EXPECT_THAT(*ReadFile(output() / "sizes/sizes.svg"), HasSubstr("</svg>"));
  const Finished eval = Espalier({"eval", "--model", (output() / "sizes").string(), "--text",
                                  text().string(), "--sequence-length", "64"});
  EXPECT_THAT(eval.err, HasSubstr("name one of its folders"));
}

TEST_F(CliTest, WithoutEvaluationTextTheTableSaysSo) {
  const Finished run = Espalier(SmallJob("run"));
  ASSERT_EQ(run.status, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("on the calibration text"));
}

TEST_F(CliTest, CtrlCCancelsTheJobAndLeavesNothing) {
  Process run(Command(SmallJob("run", {"--generations", "100000", "--json"})), environment_);
  ASSERT_TRUE(run.WaitForError("Search: ")) << run.err();
  run.Signal(SIGINT);
  EXPECT_EQ(run.Wait(), kExitInterrupted) << run.err();
  EXPECT_THAT(run.err(), HasSubstr("espalier: interrupted"));
  EXPECT_TRUE(nlohmann::json::parse(run.out()).contains("error"));
  ExpectNothingLeft();
}

TEST_F(CliTest, CtrlCEndsAnEvaluation) {
  WriteTestFile(text(), SomeText(4'000'000));
  Process eval(Command({"eval", "--model", model().string(), "--text", text().string()}),
               environment_);
  ASSERT_TRUE(eval.WaitForError("Evaluate: ")) << eval.err();
  eval.Signal(SIGINT);
  EXPECT_EQ(eval.Wait(), kExitInterrupted) << eval.err();
  EXPECT_EQ(eval.out(), "");
}

}  // namespace
}  // namespace espalier

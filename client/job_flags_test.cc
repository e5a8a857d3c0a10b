#include "client/job_flags.h"

#include <filesystem>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

// The flags that `arguments` give.
JobFlags Parse(std::vector<std::string> arguments) {
  JobFlags flags;
  CLI::App app;
  AddJobFlags(app, flags);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  app.parse(arguments);
  return flags;
}

std::string WriteJob(const std::string& yaml) {
  const std::string path = ::testing::TempDir() + "job_flags_test.yaml";
  EXPECT_TRUE(WriteFileAtomically(path, yaml).ok());
  return path;
}

TEST(JobFlagsTest, FlagsAloneMakeAJob) {
  const auto spec = MakeJobSpec(
      Parse({"--model", "/m", "--text", "/t.txt", "--eval-text", "/e.txt", "--text-format",
             "wikitext", "--ratio", "0.7", "--seed", "18446744073709551615", "--output", "/o"}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, "/m");
  EXPECT_EQ(spec->text.path, "/t.txt");
  EXPECT_EQ(spec->eval_text.path, "/e.txt");
  EXPECT_EQ(spec->text.format, TextFormat::kWikiText);
  EXPECT_EQ(spec->eval_text.format, TextFormat::kWikiText);
  EXPECT_EQ(spec->ratio, 0.7);
  EXPECT_EQ(spec->seed, 18446744073709551615u);
  EXPECT_EQ(spec->output, "/o");
  EXPECT_EQ(spec->search.population(), 100);
}

TEST(JobFlagsTest, EveryEffortFlagReachesItsField) {
  const auto spec = MakeJobSpec(Parse(
      {"--model=/m", "--text=/t", "--ratio=0.5", "--output=/o", "--name=n", "--precision=bfloat16",
       "--generations=3", "--population=10", "--sequence-length=64", "--calibration-sequences=7",
       "--search-sequences=2", "--eval-sequences=9", "--method=paper"}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "n");
  EXPECT_EQ(spec->precision, Precision::kBFloat16);
  EXPECT_EQ(spec->search.generations, 3);
  EXPECT_EQ(spec->search.population(), 10);
  EXPECT_EQ(spec->sequence_length, 64);
  EXPECT_EQ(spec->calibration_sequences, 7);
  EXPECT_EQ(spec->search.sequences, 2);
  EXPECT_EQ(spec->eval_sequences, 9);
}

TEST(JobFlagsTest, FlagsOverrideTheFileAndLeaveTheRest) {
  // Written from the specification itself, so that this test does not repeat the file's format.
  JobSpec in_file;
  in_file.model = "/file/model";
  in_file.text = {.path = "/file/text", .format = TextFormat::kWikiText};
  in_file.ratio = 0.9;
  in_file.seed = 5;
  in_file.output = "/file/out";
  const std::string file = WriteJob(JobSpecToYaml(in_file));
  const auto spec = MakeJobSpec(Parse({file, "--ratio", "0.6"}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ratio, 0.6);
  EXPECT_EQ(spec->seed, 5);
  EXPECT_EQ(spec->model, "/file/model");
  EXPECT_EQ(spec->text.format, TextFormat::kWikiText);
}

TEST(JobFlagsTest, SeveralRatiosAreSeveralSizes) {
  const auto spec =
      MakeJobSpec(Parse({"--model=/m", "--text=/t", "--output=/o", "--ratio", "0.9,0.8,0.5"}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ratios(), (std::vector<double>{0.9, 0.8, 0.5}));
  for (const char* ratio : {"much", "0.9,", "0.9,,0.8", "0.9 0.8"}) {
    EXPECT_THAT(
        std::string(MakeJobSpec(Parse({"--model=/m", "--text=/t", "--output=/o", "--ratio", ratio}))
                        .status()
                        .message()),
        HasSubstr(std::string("--ratio ") + ratio));
  }
}

TEST(JobFlagsTest, ErrorsNameTheFlagOrTheFile) {
  EXPECT_THAT(std::string(MakeJobSpec(Parse({"--text-format", "html"})).status().message()),
              HasSubstr("--text-format"));
  EXPECT_THAT(std::string(MakeJobSpec(Parse({"--precision", "int4"})).status().message()),
              HasSubstr("--precision"));
  EXPECT_THAT(std::string(MakeJobSpec(Parse({"/nowhere/job.yaml"})).status().message()),
              HasSubstr("/nowhere/job.yaml"));
  EXPECT_THAT(std::string(MakeJobSpec(Parse({"--model", "m"})).status().message()),
              HasSubstr("--text"));
}

TEST(JobFlagsTest, RelativePathsAreSeenFromTheFolder) {
  JobSpec spec;
  spec.model = "models/small";
  spec.text.path = "../text.txt";
  spec.output = "/absolute/out";
  MakePathsAbsolute("/home/user", spec);
  EXPECT_EQ(spec.model, "/home/user/models/small");
  EXPECT_EQ(spec.text.path, "/home/text.txt");
  EXPECT_EQ(spec.output, "/absolute/out");
  EXPECT_EQ(spec.eval_text.path, "");
}

TEST(JobFlagsTest, SearchEffortIsOfTheMethodThatTheJobHas) {
  JobSpec spec;
  JobFlags flags;
  EXPECT_EQ(spec.method, SearchMethod::kEspalier);
  flags.generations = 7;
  flags.search_sequences = 9;
  ASSERT_TRUE(ApplyJobFlags(flags, spec).ok());
  EXPECT_EQ(spec.allocation.generations, 7);
  EXPECT_EQ(spec.allocation.sequences, 9);
  EXPECT_EQ(spec.search.generations, SearchSpec().generations);
  flags.population = 10;
  EXPECT_THAT(std::string(ApplyJobFlags(flags, spec).message()),
              ::testing::HasSubstr("--population is of the method paper"));
  flags.method = "paper";
  ASSERT_TRUE(ApplyJobFlags(flags, spec).ok());
  EXPECT_EQ(spec.method, SearchMethod::kPaper);
  EXPECT_EQ(spec.search.generations, 7);
  EXPECT_EQ(spec.search.sequences, 9);
  EXPECT_EQ(spec.search.population(), 10);
  flags = {};
  flags.method = "best";
  EXPECT_THAT(std::string(ApplyJobFlags(flags, spec).message()),
              ::testing::HasSubstr("--method: unknown method \"best\""));
}

TEST(JobFlagsTest, BaselinesHaveNoSearch) {
  JobSpec spec;
  JobFlags flags;
  flags.method = "wanda-sp";
  flags.search_sequences = 9;
  ASSERT_TRUE(ApplyJobFlags(flags, spec).ok());
  EXPECT_EQ(spec.method, SearchMethod::kWandaSp);
  EXPECT_EQ(spec.search.sequences, 9);
  flags.generations = 7;
  EXPECT_THAT(std::string(ApplyJobFlags(flags, spec).message()),
              HasSubstr("--generations is of a search, and the method wanda-sp has none"));
}

TEST(SetPopulationTest, KeepsThePapersProportions) {
  SearchSpec search;
  SetPopulation(100, search);
  EXPECT_EQ(search.mutations, 50);
  EXPECT_EQ(search.crossovers, 30);
  EXPECT_EQ(search.initial_mutations, 20);
  for (int64_t population = 0; population <= 300; ++population) {
    SetPopulation(population, search);
    EXPECT_EQ(search.population(), population);
    EXPECT_NEAR(search.mutations, population * 0.5, 0.5);
    EXPECT_NEAR(search.crossovers, population * 0.3, 0.5);
    EXPECT_NEAR(search.initial_mutations, population * 0.2, 1);
  }
}

}  // namespace
}  // namespace espalier

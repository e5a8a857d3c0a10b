// Feeds every committed input to its target, so that what the fuzzers found stays found in builds
// that have no libFuzzer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "common/file.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path kCorpus = "fuzz/corpus";

std::vector<fs::path> Inputs(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

class CorpusTest : public ::testing::TestWithParam<Target> {};

TEST_P(CorpusTest, EveryInputKeepsThePromises) {
  const std::vector<fs::path> files = Inputs(kCorpus / GetParam().name);
  EXPECT_FALSE(files.empty());
  for (const fs::path& file : files) {
    const absl::StatusOr<std::string> input = ReadFile(file);
    ASSERT_TRUE(input.ok()) << input.status();
    // Before anything is known about it: this input may end the process.
    std::cout << file.string() << std::endl;
    const absl::Status status = GetParam().function(*input);
    EXPECT_TRUE(status.ok()) << file << ": " << status;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CorpusTest, ::testing::ValuesIn(kTargets),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(CorpusFoldersTest, BelongToTargets) {
  std::set<std::string> targets;
  for (const Target& target : kTargets) targets.emplace(target.name);
  std::set<std::string> folders;
  for (const fs::path& folder : Inputs(kCorpus)) folders.insert(folder.filename().string());
  EXPECT_EQ(folders, targets);
}

}  // namespace
}  // namespace espalier::fuzz

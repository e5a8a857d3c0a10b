#include "client/testing/results.h"

#include <filesystem>
#include <system_error>
#include <vector>

#include "common/file.h"
#include "gtest/gtest.h"

namespace espalier {

namespace fs = std::filesystem;

std::map<std::string, std::string> ReadResult(const fs::path& folder) {
  std::map<std::string, std::string> files;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    if (!entry.is_regular_file() || name == "report.json") continue;
    const absl::StatusOr<std::string> contents = ReadFile(entry.path());
    EXPECT_TRUE(contents.ok()) << contents.status();
    if (contents.ok()) files[name] = *contents;
  }
  EXPECT_FALSE(error) << folder << ": " << error.message();
  return files;
}

std::vector<std::string> FileNames(const std::map<std::string, std::string>& files) {
  std::vector<std::string> names;
  names.reserve(files.size());
  for (const auto& [name, contents] : files) names.push_back(name);
  return names;
}

void ExpectSameFiles(const std::map<std::string, std::string>& expected,
                     const std::map<std::string, std::string>& actual) {
  EXPECT_TRUE(expected.count("population.jsonl") == 1);
  EXPECT_EQ(FileNames(expected), FileNames(actual));
  for (const auto& [name, contents] : expected) {
    const auto found = actual.find(name);
    if (found == actual.end()) continue;
    EXPECT_TRUE(found->second == contents) << name << " differs";
  }
}

}  // namespace espalier

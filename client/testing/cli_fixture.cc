#include "client/testing/cli_fixture.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "client/testing/small_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {

CliTest::CliTest()
    : folder_(NewTestFolder(std::string("cli_") +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
  WriteSmallModel(model());
  WriteTestFile(text(), SomeText(6000));
  std::filesystem::create_directories(results());
  std::filesystem::create_directories(folder_ / "tmp");
  environment_ = {{"TMPDIR", (folder_ / "tmp").string()},
                  {"ESPALIER_COORDINATOR", ""},
                  {"ESPALIER_TLS_CA", ""},
                  {"ESPALIER_TLS_CERT", ""},
                  {"ESPALIER_TLS_KEY", ""},
                  {"ESPALIER_TOKEN_FILE", ""}};
}

std::vector<std::string> CliTest::Command(const std::vector<std::string>& arguments) const {
  std::vector<std::string> command = {ESPALIER_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

std::vector<std::string> CliTest::SmallJob(const std::string& command,
                                           const std::vector<std::string>& more) const {
  std::vector<std::string> arguments = {command,
                                        "--model",
                                        model().string(),
                                        "--text",
                                        text().string(),
                                        "--ratio",
                                        "0.7",
                                        "--method",
                                        "paper",
                                        "--output",
                                        output().string(),
                                        "--generations",
                                        "2",
                                        "--population",
                                        "6",
                                        "--sequence-length",
                                        "64",
                                        "--calibration-sequences",
                                        "6",
                                        "--search-sequences",
                                        "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Finished CliTest::Espalier(const std::vector<std::string>& arguments) const {
  return RunProcess(Command(arguments), environment_);
}

void CliTest::ExpectNothingLeft() const {
  // A coordinator removes what it began right after it said so.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (const std::filesystem::path& folder : {results(), folder_ / "tmp"}) {
    while (!std::filesystem::is_empty(folder) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      ADD_FAILURE() << entry.path() << " was left behind";
    }
  }
}

}  // namespace espalier

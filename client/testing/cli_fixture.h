// What tests of the whole program share: a small model, a text, and an empty folder for results.
#ifndef ESPALIER_CLIENT_TESTING_CLI_FIXTURE_H_
#define ESPALIER_CLIENT_TESTING_CLI_FIXTURE_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "client/testing/process.h"
#include "gtest/gtest.h"

namespace espalier {

class CliTest : public ::testing::Test {
 protected:
  CliTest();

  std::filesystem::path model() const { return folder_ / "model"; }
  std::filesystem::path text() const { return folder_ / "text.txt"; }
  std::filesystem::path results() const { return folder_ / "results"; }  // empty at first
  std::filesystem::path output() const { return results() / "out"; }

  // The program's path and `arguments`.
  std::vector<std::string> Command(const std::vector<std::string>& arguments) const;
  // A job of about a second, as flags, with `more` behind.
  std::vector<std::string> SmallJob(const std::string& command,
                                    const std::vector<std::string>& more = {}) const;
  Finished Espalier(const std::vector<std::string>& arguments) const;

  // The program's own temporary folder and the one for results hold nothing.
  void ExpectNothingLeft() const;

  const std::filesystem::path folder_;
  std::map<std::string, std::string> environment_;  // of the program
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_CLI_FIXTURE_H_

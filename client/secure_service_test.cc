// The three programs over mutual TLS with tokens, with what scripts/make-dev-certs makes; and what
// each of them says when it is refused.
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/exit_codes.h"
#include "client/testing/cli_fixture.h"
#include "client/testing/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Arguments = std::vector<std::string>;

Arguments Words(const std::string& text) {
  std::istringstream stream(text);
  Arguments words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// `flags` without the flag `name` and its value.
Arguments Without(const Arguments& flags, const std::string& name) {
  Arguments result;
  for (size_t i = 0; i < flags.size(); i += 2) {
    if (flags[i] != name) result.insert(result.end(), {flags[i], flags[i + 1]});
  }
  return result;
}

class SecureServiceTest : public CliTest {
 protected:
  void SetUp() override {
    const Finished made = RunProcess({"scripts/make-dev-certs", (folder_ / "certs").string()});
    ASSERT_EQ(made.status, 0) << made.err;
    // Each kind's flags are a line below its name.
    std::istringstream lines(made.out);
    for (std::string name, flags; std::getline(lines, name) && std::getline(lines, flags);) {
      flags_[name.substr(0, name.find_first_of(" :"))] = Words(flags);
    }
    ASSERT_EQ(flags_.size(), 3u) << made.out;
  }

  void StartCoordinator() {
    Arguments command = {ESPALIER_COORDINATOR_PROGRAM,
                         "--listen",
                         "0.0.0.0:0",
                         "--model-root",
                         folder_.string(),
                         "--output-root",
                         results().string(),
                         "--state",
                         (folder_ / "state").string(),
                         "--status-listen",
                         "none"};
    const Arguments& flags = flags_["Coordinator"];
    command.insert(command.end(), flags.begin(), flags.end());
    coordinator_ = std::make_unique<Process>(command);
    ASSERT_TRUE(coordinator_->WaitForError("listening on 0.0.0.0:")) << coordinator_->err();
    ASSERT_TRUE(coordinator_->WaitForError("\n"));
    const std::string log = coordinator_->err();
    const size_t colon = log.find("0.0.0.0:") + 7;
    environment_["ESPALIER_COORDINATOR"] =
        absl::StrCat("localhost", log.substr(colon, log.find('\n', colon) - colon));
  }

  Arguments WorkerCommand(const Arguments& flags) {
    Arguments command = {ESPALIER_WORKER_PROGRAM, "--coordinator",
                         environment_["ESPALIER_COORDINATOR"], "--threads", "1"};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }

  // A client and a worker without these flags must be refused for this reason.
  void ExpectRefused(const Arguments& without, const std::string& why, const std::string& advice) {
    Arguments client_flags = flags_["Client"];
    Arguments worker_flags = flags_["Worker"];
    for (const std::string& name : without) {
      client_flags = Without(client_flags, name);
      worker_flags = Without(worker_flags, name);
    }
    client_flags.insert(client_flags.begin(), "list");
    const Finished client = Espalier(client_flags);
    EXPECT_EQ(client.status, kExitFailure);
    EXPECT_THAT(client.err, AllOf(HasSubstr(why), HasSubstr(advice)));
    const Finished worker = RunProcess(WorkerCommand(worker_flags), environment_);
    EXPECT_EQ(worker.status, 1);
    EXPECT_THAT(worker.err, AllOf(HasSubstr(why), HasSubstr(advice)));
  }

  std::map<std::string, Arguments> flags_;  // by the program's kind, as make-dev-certs prints them
  std::unique_ptr<Process> coordinator_;
};

TEST_F(SecureServiceTest, AJobRunsOverMutualTlsWithTokens) {
  StartCoordinator();
  Arguments worker_flags = flags_["Worker"];
  worker_flags.insert(worker_flags.end(), {"--model-root", folder_.string()});
  Process worker(WorkerCommand(worker_flags), environment_);
  ASSERT_TRUE(worker.WaitForError("attached to")) << worker.err();

  Arguments more = flags_["Client"];
  more.emplace_back("--wait");
  const Finished submit = Espalier(SmallJob("submit", more));
  EXPECT_EQ(submit.status, kExitOk) << submit.err;
  EXPECT_THAT(submit.out, HasSubstr("reformed"));
  EXPECT_TRUE(std::filesystem::exists(output() / "compact/model.safetensors"));

  // Through the environment as well; and nothing outside the roots.
  const Arguments& flags = flags_["Client"];
  const std::map<std::string, std::string> variables = {{"--tls-ca", "ESPALIER_TLS_CA"},
                                                        {"--tls-cert", "ESPALIER_TLS_CERT"},
                                                        {"--tls-key", "ESPALIER_TLS_KEY"},
                                                        {"--token-file", "ESPALIER_TOKEN_FILE"}};
  for (size_t i = 0; i < flags.size(); i += 2) {
    environment_[variables.at(flags[i])] = flags[i + 1];
  }
  EXPECT_THAT(Espalier({"list"}).out, HasSubstr("succeeded"));
  const std::string elsewhere = (folder_ / "elsewhere").string();
  const Finished denied = Espalier(SmallJob("submit", {"--output", elsewhere}));
  EXPECT_EQ(denied.status, kExitFailure);
  EXPECT_THAT(denied.err, AllOf(HasSubstr(elsewhere), HasSubstr(results().string())));
}

TEST_F(SecureServiceTest, WhoeverIsRefusedLearnsWhyAtOnce) {
  StartCoordinator();
  const auto start = std::chrono::steady_clock::now();
  ExpectRefused({"--token-file"}, "a token is asked for", "--token-file");
  ExpectRefused({"--tls-cert", "--tls-key"}, "asks for a client certificate", "--tls-cert");
  ExpectRefused({"--tls-ca", "--tls-cert", "--tls-key", "--token-file"}, "speaks TLS", "--tls-ca");
  // Far from the worker's minute of trying.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(40));
}

TEST_F(SecureServiceTest, ATokenDoesNotLeaveTheMachineInTheClear) {
  const std::string token = (folder_ / "certs" / "client-token").string();
  const Finished client =
      Espalier({"list", "--coordinator", "192.0.2.1:7070", "--token-file", token});
  EXPECT_EQ(client.status, kExitUsage);
  EXPECT_THAT(client.err, AllOf(HasSubstr("192.0.2.1:7070"), HasSubstr("--tls-ca")));
  const Finished worker = RunProcess(
      {ESPALIER_WORKER_PROGRAM, "--coordinator", "192.0.2.1:7070", "--token-file", token});
  EXPECT_EQ(worker.status, 2);
  EXPECT_THAT(worker.err, AllOf(HasSubstr("192.0.2.1:7070"), HasSubstr("--tls-ca")));
}

TEST_F(SecureServiceTest, ACoordinatorSaysWhatItLacks) {
  Arguments command = {ESPALIER_COORDINATOR_PROGRAM, "--listen", "0.0.0.0:0"};
  const Arguments& flags = flags_["Coordinator"];
  command.insert(command.end(), flags.begin(), flags.end());
  const Finished without_roots = RunProcess(command);
  EXPECT_EQ(without_roots.status, 2);
  EXPECT_THAT(without_roots.err, AllOf(HasSubstr("--model-root"), HasSubstr("--output-root")));
}

TEST_F(SecureServiceTest, CertificatesAreMadeOnce) {
  const std::string folder = (folder_ / "certs").string();
  const auto time = [&] {
    return std::filesystem::last_write_time(folder_ / "certs" / "coordinator.pem");
  };
  const auto before = time();
  EXPECT_EQ(RunProcess({"scripts/make-dev-certs", folder}).status, 0);
  EXPECT_EQ(time(), before);
  const auto mode = std::filesystem::status(folder_ / "certs" / "ca-key.pem").permissions();
  EXPECT_EQ(static_cast<unsigned>(mode), 0600u);
  EXPECT_THAT(RunProcess({"scripts/make-dev-certs", "--help"}).out, HasSubstr("Usage"));
  EXPECT_EQ(RunProcess({"scripts/make-dev-certs"}).status, 2);
  EXPECT_EQ(RunProcess({"scripts/make-dev-certs", folder, "gpu-1"}).status, 0);
  EXPECT_NE(time(), before);
}

}  // namespace
}  // namespace espalier

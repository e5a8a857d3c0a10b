#include "client/testing/service_fixture.h"

#include <csignal>
#include <sstream>
#include <string_view>

#include "client/exit_codes.h"
#include "gtest/gtest.h"

namespace espalier {

std::vector<std::string> ServiceTest::CoordinatorCommand() {
  const std::string& address = environment_["ESPALIER_COORDINATOR"];
  std::vector<std::string> command = {ESPALIER_COORDINATOR_PROGRAM,
                                      "--listen",
                                      address.empty() ? "127.0.0.1:0" : address,
                                      "--status-listen",
                                      "none",
                                      "--state",
                                      state().string()};
  command.insert(command.end(), coordinator_flags_.begin(), coordinator_flags_.end());
  return command;
}

void ServiceTest::StartCoordinator() {
  coordinator_ = std::make_unique<Process>(CoordinatorCommand(), environment_);
  constexpr std::string_view kBefore = "listening on ";
  ASSERT_TRUE(coordinator_->WaitForError(kBefore)) << coordinator_->err();
  ASSERT_TRUE(coordinator_->WaitForError("\n"));
  const std::string log = coordinator_->err();
  const size_t begin = log.find(kBefore) + kBefore.size();
  environment_["ESPALIER_COORDINATOR"] = log.substr(begin, log.find('\n', begin) - begin);
}

void ServiceTest::KillCoordinator() {
  coordinator_->Signal(SIGKILL);
  EXPECT_EQ(coordinator_->Wait(), -SIGKILL);
}

std::unique_ptr<Process> ServiceTest::StartWorker(const std::string& name) {
  auto worker = std::make_unique<Process>(std::vector<std::string>{
      ESPALIER_WORKER_PROGRAM, "--coordinator", environment_["ESPALIER_COORDINATOR"], "--name",
      name, "--threads", "1"});
  EXPECT_TRUE(worker->WaitForError("attached to")) << worker->err();
  return worker;
}

int64_t ServiceTest::ExpectWholeLog(const std::string& lines) {
  int64_t number = 0;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) {
    EXPECT_EQ(nlohmann::json::parse(line)["number"], ++number);
  }
  return number;
}

nlohmann::json ServiceTest::Json(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const Finished finished = Espalier(arguments);
  EXPECT_EQ(finished.status, kExitOk) << finished.err;
  return nlohmann::json::parse(finished.out, nullptr, false);
}

}  // namespace espalier

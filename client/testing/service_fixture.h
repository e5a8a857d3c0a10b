// What tests of coordinator, workers and client as processes share.
#ifndef ESPALIER_CLIENT_TESTING_SERVICE_FIXTURE_H_
#define ESPALIER_CLIENT_TESTING_SERVICE_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "client/testing/cli_fixture.h"
#include "client/testing/process.h"
#include "nlohmann/json.hpp"

namespace espalier {

class ServiceTest : public CliTest {
 protected:
  std::filesystem::path state() const { return folder_ / "state"; }

  // On any free port at first, later on the same one; always with the same state folder. Sets
  // ESPALIER_COORDINATOR for the programs.
  void StartCoordinator();
  // What it is started with.
  std::vector<std::string> CoordinatorCommand();
  void KillCoordinator();
  // Returns when it is attached.
  std::unique_ptr<Process> StartWorker(const std::string& name);
  // `lines` is what `espalier watch --json` printed: every event once, in order. Their number.
  static int64_t ExpectWholeLog(const std::string& lines);
  // What the client prints with --json.
  nlohmann::json Json(std::vector<std::string> arguments);

  std::vector<std::string> coordinator_flags_;  // more of them
  std::unique_ptr<Process> coordinator_;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_SERVICE_FIXTURE_H_

#include "client/commands.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/statusor.h"
#include "client/exit_codes.h"
#include "client/job_client.h"
#include "client/output.h"
#include "common/version.h"

namespace espalier {

void AddJsonFlag(CLI::App& command, CommandLine& line, const std::string& what) {
  command.add_flag("--json", line.json, what);
}

void AddCoordinatorFlag(CLI::App& command, CommandLine& line) {
  command
      .add_option("--coordinator", line.coordinator,
                  "Coordinator (default: $ESPALIER_COORDINATOR, else 127.0.0.1:7070)")
      ->option_text("HOST:PORT");
}

std::string CoordinatorAddress(const CommandLine& line) {
  if (!line.coordinator.empty()) return line.coordinator;
  const char* environment = std::getenv("ESPALIER_COORDINATOR");
  if (environment != nullptr && *environment != '\0') return environment;
  return "127.0.0.1:7070";
}

absl::StatusOr<std::unique_ptr<JobClient>> ConnectToCoordinator(const CommandLine& line) {
  return JobClient::Connect({.address = CoordinatorAddress(line)});
}

void AddVersionCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("version", "Print this program's version");
  AddJsonFlag(*command, line, "Print {\"version\": ...}");
  command->callback([&line] {
    line.action = [&line] {
      const std::string version(kVersion);
      if (line.json) {
        PrintJson({{"version", version}});
      } else {
        PrintText("espalier " + version + "\n");
      }
      return kExitOk;
    };
  });
}

}  // namespace espalier

// The subcommands of `espalier`. Each function declares one: its flags, its help, what it does.
#ifndef ESPALIER_CLIENT_COMMANDS_H_
#define ESPALIER_CLIENT_COMMANDS_H_

#include <functional>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/job_client.h"
#include "common/connection_security.h"

namespace espalier {

// What the command line says to all commands, and which command it chose.
struct CommandLine {
  bool json = false;
  std::string coordinator;           // --coordinator; empty: not given
  ConnectionSecurityFlags security;  // --tls-ca and the like; empty: not given
  std::function<int()> action;       // set by the chosen command; returns the exit status
};

void AddRunCommand(CLI::App& app, CommandLine& line);
void AddSubmitCommand(CLI::App& app, CommandLine& line);
void AddListCommand(CLI::App& app, CommandLine& line);
void AddGetCommand(CLI::App& app, CommandLine& line);
void AddWatchCommand(CLI::App& app, CommandLine& line);
void AddCancelCommand(CLI::App& app, CommandLine& line);
void AddPauseCommand(CLI::App& app, CommandLine& line);
void AddResumeCommand(CLI::App& app, CommandLine& line);
void AddDeleteCommand(CLI::App& app, CommandLine& line);
void AddDrainCommand(CLI::App& app, CommandLine& line);
void AddResultCommand(CLI::App& app, CommandLine& line);
void AddWorkersCommand(CLI::App& app, CommandLine& line);
void AddEvalCommand(CLI::App& app, CommandLine& line);
void AddPlanCommand(CLI::App& app, CommandLine& line);
void AddVersionCommand(CLI::App& app, CommandLine& line);

// For the functions above: flags that several commands have.
void AddJsonFlag(CLI::App& command, CommandLine& line, const std::string& what);
void AddCoordinatorFlag(CLI::App& command, CommandLine& line);  // and those of security

// The coordinator to talk to: the flag, else $ESPALIER_COORDINATOR, else 127.0.0.1:7070.
std::string CoordinatorAddress(const CommandLine& line);
// INVALID_ARGUMENT for what is wrong with the flags or variables of security.
absl::StatusOr<std::unique_ptr<JobClient>> ConnectToCoordinator(const CommandLine& line);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_COMMANDS_H_

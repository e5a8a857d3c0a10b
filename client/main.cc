// The command line program `espalier`.
#include <algorithm>
#include <iostream>
#include <string>
#include <string_view>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Error.hpp"
#include "CLI/Formatter.hpp"
#include "CLI/Option.hpp"
#include "client/commands.h"
#include "client/exit_codes.h"
#include "client/output.h"

namespace espalier {
namespace {

constexpr char kDescription[] =
    "espalier: finds small subnets of LLaMA models by search, without training.";
constexpr char kFooter[] = R"(`espalier COMMAND --help` explains a command.

Exit status: 0 success, 1 failure, 2 wrong command line or job file, 130 interrupted.
Environment: ESPALIER_COORDINATOR, ESPALIER_TLS_CA, ESPALIER_TLS_CERT, ESPALIER_TLS_KEY,
ESPALIER_TOKEN_FILE, NO_COLOR (no colours), TMPDIR (for `run`'s socket).

Example:
  espalier run --model models/orchard --text models/orchard/valid.txt
      --eval-text models/orchard/test.txt --text-format wikitext --ratio 0.7 --output out)";

void Declare(CLI::App& app, CommandLine& line) {
  app.footer(kFooter);
  app.require_subcommand(1);
  // As shells have it: of a flag given twice the last one counts. Commands inherit this.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.get_formatter()->column_width(32);
  for (const auto add : {&AddRunCommand, &AddSubmitCommand, &AddListCommand, &AddGetCommand,
                         &AddWatchCommand, &AddCancelCommand, &AddPauseCommand, &AddResumeCommand,
                         &AddResultCommand, &AddDeleteCommand, &AddWorkersCommand, &AddDrainCommand,
                         &AddEvalCommand, &AddPlanCommand, &AddVersionCommand}) {
    add(app, line);
  }
  // Both flags may stand before the command as well.
  AddJsonFlag(app, line, "JSON for scripts (every command)");
  AddCoordinatorFlag(app, line);
}

// The chosen command's `--help`, or how to get at it.
std::string HelpHint(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands()) {
    return "`espalier " + command->get_name() + " --help` lists what it takes";
  }
  return "`espalier --help` lists the commands";
}

int Main(int argc, char** argv) {
  CommandLine line;
  CLI::App app(kDescription, "espalier");
  Declare(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help, std::cout, std::cerr);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    // The flag itself may stand behind what could not be read.
    const bool json = std::any_of(argv, argv + argc, [](const char* argument) {
      return std::string_view(argument) == "--json";
    });
    return Fail(std::string(error.what()) + "; " + HelpHint(app), kExitUsage, json);
  }
  return line.action();
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) { return espalier::Main(argc, argv); }

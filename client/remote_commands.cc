#include <openssl/rand.h>

#include <array>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/exit_codes.h"
#include "client/follow.h"
#include "client/interrupts.h"
#include "client/job_client.h"
#include "client/job_flags.h"
#include "client/listing.h"
#include "client/output.h"
#include "client/progress_reporter.h"
#include "client/report.h"
#include "common/job_spec.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// Connects, lets `call` do its work and tells what went wrong.
int WithCoordinator(const CommandLine& line, const std::function<absl::Status(JobClient&)>& call) {
  const auto client = ConnectToCoordinator(line);
  if (absl::IsInvalidArgument(client.status())) {
    return Fail(std::string(client.status().message()), kExitUsage, line.json);
  }
  if (!client.ok()) return Fail(client.status(), line.json);
  const absl::Status status = call(**client);
  return status.ok() ? kExitOk : Fail(status, line.json);
}

void PrintResult(const v1::Job& job, bool json) {
  if (json) return PrintJson(ResultToJson(job));
  // The coordinator's own copy names the texts; without it the table is still worth having.
  const auto spec = ParseJobSpec(job.spec_yaml(), absl::StrCat("job ", job.id()));
  PrintText(ClosingReport(job, spec.ok() ? *spec : JobSpec()));
}

// Follows the job until its end or the first Ctrl-C, which leaves it running.
absl::StatusOr<v1::Job> Follow(JobClient& client, const std::string& id,
                               const Interrupts& interrupts, bool quiet,
                               const FollowOptions& options) {
  const auto reporter = MakeStderrReporter(quiet);
  auto job = FollowJob(client, id, *reporter, options, interrupts.token());
  reporter->Finish();
  if (interrupts.interrupted()) {
    return absl::CancelledError(absl::StrCat("stopped watching; job ", id,
                                             " goes on. `espalier watch ", id,
                                             "` follows it, `espalier cancel ", id, "` ends it"));
  }
  return job;
}

std::string NewIdempotencyKey() {
  std::array<unsigned char, 16> bytes{};
  RAND_bytes(bytes.data(), bytes.size());
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

struct SubmitFlags {
  JobFlags job;
  std::string key;
  bool wait = false;
  bool quiet = false;
};

int Submit(const CommandLine& line, const SubmitFlags& flags) {
  const auto spec = MakeJobSpec(flags.job);
  if (!spec.ok()) return Fail(std::string(spec.status().message()), kExitUsage, line.json);
  const Interrupts interrupts;
  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
    const std::string key = flags.key.empty() ? NewIdempotencyKey() : flags.key;
    ESPALIER_ASSIGN_OR_RETURN(const v1::Job job, client.Submit(JobSpecToYaml(*spec), key));
    if (!flags.wait) {
      if (line.json) {
        PrintJson(JobToJson(job));
      } else {
        PrintText(job.id() + "\n");
      }
      return absl::OkStatus();
    }
    ESPALIER_ASSIGN_OR_RETURN(const v1::Job done,
                              Follow(client, job.id(), interrupts, flags.quiet, {}));
    ESPALIER_RETURN_IF_ERROR(JobOutcome(done));
    PrintResult(done, line.json);
    return absl::OkStatus();
  });
}

int Watch(const CommandLine& line, const std::string& id) {
  const Interrupts interrupts;
  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
    FollowOptions options;
    if (line.json)
      options.on_event = [](const v1::JobEvent& event) { PrintJson(EventToJson(event)); };
    ESPALIER_ASSIGN_OR_RETURN(const v1::Job job,
                              Follow(client, id, interrupts, line.json, options));
    ESPALIER_RETURN_IF_ERROR(JobOutcome(job));
    if (!line.json) PrintResult(job, false);
    return absl::OkStatus();
  });
}

int Result(const CommandLine& line, const std::string& id) {
  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(const v1::Job job, client.Get(id));
    ESPALIER_RETURN_IF_ERROR(JobOutcome(job));
    PrintResult(job, line.json);
    return absl::OkStatus();
  });
}

// A command that takes a job's id: `act` is called with it.
void AddJobCommand(CLI::App& app, CommandLine& line, const char* name, const char* what,
                   const char* json, const char* footer,
                   int (*act)(const CommandLine&, const std::string&)) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer(footer);
  auto id = std::make_shared<std::string>();
  command->add_option("job", *id, "The job's id, as `espalier list` shows it")
      ->option_text("ID")
      ->required();
  AddCoordinatorFlag(*command, line);
  AddJsonFlag(*command, line, json);
  command->callback(
      [&line, id, act] { line.action = [&line, id, act] { return act(line, *id); }; });
}

// Changes a job's state and shows what became of it.
int ChangeJob(const CommandLine& line, const std::string& id,
              absl::StatusOr<v1::Job> (JobClient::*call)(const std::string&), const char* done) {
  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(const v1::Job job, (client.*call)(id));
    if (line.json) {
      PrintJson(JobToJson(job));
    } else {
      PrintText(absl::StrCat(done, " ", job.id(), "\n"));
    }
    return absl::OkStatus();
  });
}

// Sends a job or a worker away: there is nothing left to show but its id.
int Remove(const CommandLine& line, const std::string& id,
           absl::Status (JobClient::*call)(const std::string&), const char* key, const char* done) {
  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
    ESPALIER_RETURN_IF_ERROR((client.*call)(id));
    if (line.json) {
      PrintJson({{key, id}});
    } else {
      PrintText(absl::StrCat(done, " ", id, "\n"));
    }
    return absl::OkStatus();
  });
}

// A command without arguments that makes one call and shows the answer.
template <typename Response>
void AddTableCommand(CLI::App& app, CommandLine& line, const char* name, const char* what,
                     const char* footer, absl::StatusOr<Response> (JobClient::*call)(),
                     std::string (*table)(const Response&),
                     nlohmann::ordered_json (*to_json)(const Response&)) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer(footer);
  AddCoordinatorFlag(*command, line);
  AddJsonFlag(*command, line, "Print one JSON object");
  command->callback([&line, call, table, to_json] {
    line.action = [&line, call, table, to_json] {
      return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
        ESPALIER_ASSIGN_OR_RETURN(const Response response, (client.*call)());
        if (line.json) {
          PrintJson(to_json(response));
        } else {
          PrintText(table(response));
        }
        return absl::OkStatus();
      });
    };
  });
}

}  // namespace

void AddSubmitCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("submit", "Hand a job to a coordinator");
  command->footer(
      R"(Prints the job's id. Relative paths, also those in the job file, start at the current folder
and are made absolute; the coordinator and its workers must see the same files there.

Examples:
  espalier submit examples/orchard.yaml --seed 3 --output /results/orchard-3
  espalier submit --model /models/llama-7b --text /texts/c4.txt --ratio 0.7 --output /results/a
      --coordinator gpu-1:7070 --wait)");
  auto flags = std::make_shared<SubmitFlags>();
  AddJobFlags(*command, flags->job);
  AddCoordinatorFlag(*command, line);
  command
      ->add_option("--idempotency-key", flags->key,
                   "Submitting again with the same key returns the first job (default: a new key)")
      ->option_text("KEY");
  command->add_flag("--wait", flags->wait, "Follow the job and print its result as `run` does");
  command->add_flag("-q,--quiet", flags->quiet, "With --wait: no progress");
  AddJsonFlag(*command, line, "Print the job, or with --wait its result, as one JSON object");
  command->callback(
      [&line, flags] { line.action = [&line, flags] { return Submit(line, *flags); }; });
}

void AddListCommand(CLI::App& app, CommandLine& line) {
  AddTableCommand<v1::ListJobsResponse>(app, line, "list", "List the coordinator's jobs",
                                        "Example:\n  espalier list --coordinator gpu-1:7070",
                                        &JobClient::List, &JobsTable, &JobsToJson);
}

void AddWorkersCommand(CLI::App& app, CommandLine& line) {
  AddTableCommand<v1::ListWorkersResponse>(
      app, line, "workers", "List the workers that are attached, and what each does",
      "Example:\n  espalier workers --json", &JobClient::Workers, &WorkersTable, &WorkersToJson);
}

void AddGetCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "get", "Show one job: state, progress, specification",
                "Print one JSON object", "Example:\n  espalier get JOB",
                [](const CommandLine& line, const std::string& id) {
                  return WithCoordinator(line, [&](JobClient& client) -> absl::Status {
                    ESPALIER_ASSIGN_OR_RETURN(const v1::Job job, client.Get(id));
                    if (line.json) {
                      PrintJson(JobToJson(job));
                    } else {
                      PrintText(JobDetails(job));
                    }
                    return absl::OkStatus();
                  });
                });
}

void AddWatchCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "watch", "Follow a job to its end, then print its result",
                "Print every event as one line of JSON instead",
                "A lost connection is taken up again for a minute. Ctrl-C leaves the job running.\n"
                "The exit status is 0 when the job succeeded.\n\nExample:\n  espalier watch JOB",
                &Watch);
}

void AddCancelCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "cancel", "Cancel a job; nothing of it stays", "Print the job as JSON",
                "Example:\n  espalier cancel JOB",
                [](const CommandLine& line, const std::string& id) {
                  return ChangeJob(line, id, &JobClient::Cancel, "Cancelled");
                });
}

void AddPauseCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "pause", "Give a job no more workers for now", "Print the job as JSON",
                "What its workers have in hand is finished; then they are free for other jobs. The "
                "job\nstays paused, also when the coordinator is started again, until `espalier "
                "resume`.\n\nExample:\n  espalier pause JOB",
                [](const CommandLine& line, const std::string& id) {
                  return ChangeJob(line, id, &JobClient::Pause, "Paused");
                });
}

void AddResumeCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "resume", "Let a paused job go on", "Print the job as JSON",
                "Example:\n  espalier resume JOB",
                [](const CommandLine& line, const std::string& id) {
                  return ChangeJob(line, id, &JobClient::Resume, "Resumed");
                });
}

void AddDeleteCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "delete", "Forget a job that has ended; its result folder stays",
                "Print {\"deleted\": ID}", "Example:\n  espalier delete JOB",
                [](const CommandLine& line, const std::string& id) {
                  return Remove(line, id, &JobClient::Delete, "deleted", "Deleted");
                });
}

void AddDrainCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("drain", "Let a worker finish what it has, then end");
  command->footer(
      "Before maintenance of its machine: it gets no new tasks, and its program ends with status 0 "
      "when\nit has none. To have it back, start it again.\n\nExample:\n  espalier drain worker-3");
  auto id = std::make_shared<std::string>();
  command->add_option("worker", *id, "The worker's id, as `espalier workers` shows it")
      ->option_text("ID")
      ->required();
  AddCoordinatorFlag(*command, line);
  AddJsonFlag(*command, line, "Print {\"draining\": ID}");
  command->callback([&line, id] {
    line.action = [&line, id] {
      return Remove(line, *id, &JobClient::Drain, "draining", "Draining");
    };
  });
}

void AddResultCommand(CLI::App& app, CommandLine& line) {
  AddJobCommand(app, line, "result", "Print a finished job's closing table",
                "Print it as one JSON object, as `run --json` does",
                "An error when the job is not finished or did not succeed.\n\n"
                "Example:\n  espalier result JOB --json",
                &Result);
}

}  // namespace espalier

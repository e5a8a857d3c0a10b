#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "CLI/Validators.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/exit_codes.h"
#include "client/follow.h"
#include "client/interrupts.h"
#include "client/job_client.h"
#include "client/job_flags.h"
#include "client/local_cluster.h"
#include "client/log_sink.h"
#include "client/output.h"
#include "client/progress_reporter.h"
#include "client/report.h"
#include "common/job_spec.h"
#include "common/status_macros.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr char kFooter[] =
    R"(Starts a coordinator and its workers inside this process, runs one job through them and ends
with a table: dense, initial, searched and reformed model. The result folder appears whole or
not at all. Ctrl-C cancels the job and leaves nothing behind; a second Ctrl-C ends at once.
Relative paths, also those in the job file, start at the current folder.
With --json, stdout has one object: dense, initial, searched, reformed (each with parameters,
ratio, perplexity), output, ...; or {"error": ...}. Progress goes to stderr.

Examples:
  espalier run --model models/orchard --text models/orchard/valid.txt
      --eval-text models/orchard/test.txt --text-format wikitext --ratio 0.7 --output out
  espalier run examples/orchard.yaml --workers 2 --seed 3 --output out-3)";

struct RunFlags {
  JobFlags job;
  LocalClusterOptions cluster;
  bool quiet = false;
  bool verbose = false;
};

void AddFlags(CLI::App& command, RunFlags& flags) {
  AddJobFlags(command, flags.job);
  command.add_option("--workers", flags.cluster.workers, "Workers in this process (default 1)")
      ->option_text("N")
      ->check(CLI::Range(1, 256));
  command
      .add_option("--threads", flags.cluster.threads,
                  "Threads of each worker (default: all cores divided by the workers)")
      ->option_text("N")
      ->check(CLI::Range(0, 4096));
  command.add_option("--device", flags.cluster.device, "cpu (default) or cuda:N")
      ->option_text("DEVICE");
  command.add_flag("-q,--quiet", flags.quiet, "No progress");
  command.add_flag("-v,--verbose", flags.verbose, "What coordinator and workers log, on stderr");
}

// Submits, follows and, on the first Ctrl-C, cancels the job and follows it to that end.
absl::StatusOr<v1::Job> RunJob(JobClient& client, const JobSpec& spec, ProgressReporter& reporter,
                               const Interrupts& interrupts) {
  ESPALIER_ASSIGN_OR_RETURN(const v1::Job job, client.Submit(JobSpecToYaml(spec), ""));
  std::stop_callback cancel(interrupts.token(), [&] {
    reporter.Note("Cancelling the job. Ctrl-C again ends at once.");
    const auto cancelled = client.Cancel(job.id());
    if (!cancelled.ok()) reporter.Note(std::string(cancelled.status().message()));
  });
  return FollowJob(client, job.id(), reporter,
                   {.reconnect_timeout = std::chrono::milliseconds::zero()}, {});
}

absl::StatusOr<v1::Job> RunOnLocalCluster(const RunFlags& flags, const JobSpec& spec,
                                          const PrivateDirectory& directory,
                                          ProgressReporter& reporter,
                                          const Interrupts& interrupts) {
  ESPALIER_ASSIGN_OR_RETURN(const auto cluster,
                            LocalCluster::Start(directory, flags.cluster, &Engine::Load));
  ESPALIER_ASSIGN_OR_RETURN(const auto client, JobClient::Connect({.address = cluster->address()}));
  ESPALIER_ASSIGN_OR_RETURN(v1::Job job, RunJob(*client, spec, reporter, interrupts));
  ESPALIER_RETURN_IF_ERROR(JobOutcome(job));
  return job;
}

int Run(const RunFlags& flags, bool json) {
  const auto spec = MakeJobSpec(flags.job);
  if (!spec.ok()) return Fail(std::string(spec.status().message()), kExitUsage, json);
  const auto directory = PrivateDirectory::Create();
  if (!directory.ok()) return Fail(directory.status(), json);
  // Before anything that starts a thread.
  Interrupts interrupts([&directory] { (*directory)->Remove(); });
  const auto reporter = MakeStderrReporter(flags.quiet);
  const LogsThrough logs(*reporter, flags.verbose);

  const auto job = RunOnLocalCluster(flags, *spec, **directory, *reporter, interrupts);
  reporter->Finish();
  if (!job.ok() && interrupts.token().stop_requested()) {
    const bool sizes = !spec->more_ratios.empty();
    return Fail(sizes ? absl::StrCat("interrupted; sizes that were finished are in ", spec->output)
                      : "interrupted; nothing was written",
                kExitInterrupted, json);
  }
  if (!job.ok()) return Fail(job.status(), json);
  if (json) {
    PrintJson(ResultToJson(*job));
  } else {
    PrintText(ClosingReport(*job, *spec));
  }
  return kExitOk;
}

}  // namespace

void AddRunCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("run", "Run one job here, from a model to a smaller one");
  command->footer(kFooter);
  auto flags = std::make_shared<RunFlags>();
  AddFlags(*command, *flags);
  AddJsonFlag(*command, line, "Print one JSON object at the end");
  command->callback(
      [&line, flags] { line.action = [&line, flags] { return Run(*flags, line.json); }; });
}

}  // namespace espalier

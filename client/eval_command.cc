#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "CLI/Validators.hpp"
#include "absl/status/status.h"
#include "client/commands.h"
#include "client/exit_codes.h"
#include "client/interrupts.h"
#include "client/output.h"
#include "client/progress_reporter.h"
#include "client/scoring.h"
#include "common/job_spec.h"
#include "common/text_format.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr char kFooter[] =
    R"(The perplexity is exp of the mean over sequences of their mean loss, on consecutive
sequences from the beginning of the text. --masks takes {"masks": [...]} or a result's
subnet.json, for the dense model's folder. With --json: one object with perplexity,
nll_per_sequence, parameters, ratio, sequences, sequence_length, tokens_per_second.

Examples:
  espalier eval --model models/orchard --text models/orchard/test.txt --text-format wikitext
  espalier eval --model out/compact --text wiki.test.raw --text-format wikitext --json
  espalier eval --model models/smollm2 --masks out/subnet.json --text wiki.test.raw
      --text-format wikitext --sequence-length 2048 --sequences 20 --precision bfloat16)";

struct EvalFlags {
  ScoringOptions options;
  std::string format = "plain";
  std::string precision = "float32";
  bool quiet = false;
};

void AddFlags(CLI::App& command, EvalFlags& flags) {
  ScoringOptions& options = flags.options;
  command
      .add_option("--model", options.model,
                  "Model folder, or a result folder (then its compact/ is scored)")
      ->option_text("DIR")
      ->required();
  command.add_option("--masks", options.masks, "Score this subnet of the model")
      ->option_text("FILE");
  command.add_option("--text", options.text, "Text to score on")->option_text("FILE")->required();
  command.add_option("--text-format", flags.format, "plain (default) or wikitext")
      ->option_text("FORMAT");
  command
      .add_option("--sequence-length", options.sequence_length,
                  "Tokens per sequence (default: the model's, at most 2048)")
      ->option_text("N")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
  command.add_option("--sequences", options.sequences, "How many (default 0: all whole ones)")
      ->option_text("K")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command.add_option("--precision", flags.precision, "float32 (default) or bfloat16")
      ->option_text("TYPE");
  command.add_option("--device", options.device, "cpu (default) or cuda:N")->option_text("DEVICE");
  command.add_option("--threads", options.threads, "Threads of the CPU (default 0: all cores)")
      ->option_text("N")
      ->check(CLI::Range(0, 4096));
  command.add_flag("-q,--quiet", flags.quiet, "No progress");
}

// The evaluation as a job's event, so that it looks like any other phase.
ScoringProgress ShowOn(ProgressReporter& reporter) {
  return [&reporter](int64_t done, int64_t total, double seconds) {
    v1::JobEvent event;
    event.set_state(done == total ? v1::JOB_STATE_SUCCEEDED : v1::JOB_STATE_RUNNING);
    event.set_unix_ms(static_cast<int64_t>(seconds * 1000));
    v1::Progress& progress = *event.mutable_progress();
    progress.set_phase(v1::JOB_PHASE_EVALUATE);
    progress.set_done(done);
    progress.set_total(total);
    progress.set_unit("sequences");
    if (done > 0 && seconds > 0) {
      progress.set_units_per_second(static_cast<double>(done) / seconds);
      progress.set_eta_seconds(static_cast<double>(total - done) / progress.units_per_second());
    }
    reporter.OnEvent(event);
  };
}

int Evaluate(EvalFlags flags, bool json) {
  const auto format = ParseTextFormat(flags.format);
  const auto precision = ParsePrecision(flags.precision);
  for (const absl::Status& status : {format.status(), precision.status()}) {
    if (!status.ok()) return Fail(std::string(status.message()), kExitUsage, json);
  }
  flags.options.format = *format;
  flags.options.precision = *precision;

  Interrupts interrupts;
  const auto reporter = MakeStderrReporter(flags.quiet);
  std::atomic<bool> cancelled = false;
  std::stop_callback stop(interrupts.token(), [&] {
    cancelled = true;
    reporter->Note("Stopping. Ctrl-C again ends at once.");
  });
  const auto score = ScoreModel(flags.options, &Engine::Load, ShowOn(*reporter), cancelled);
  reporter->Finish();
  if (!score.ok()) return Fail(score.status(), json);
  if (json) {
    PrintJson(ScoreToJson(*score));
  } else {
    PrintText(ScoreTable(*score));
  }
  return kExitOk;
}

}  // namespace

void AddEvalCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command =
      app.add_subcommand("eval", "Score a model or a subnet on a text, without any job");
  command->footer(kFooter);
  auto flags = std::make_shared<EvalFlags>();
  AddFlags(*command, *flags);
  AddJsonFlag(*command, line, "Print one JSON object");
  command->callback(
      [&line, flags] { line.action = [&line, flags] { return Evaluate(*flags, line.json); }; });
}

}  // namespace espalier

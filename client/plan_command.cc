#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "CLI/Validators.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/exit_codes.h"
#include "client/job_flags.h"
#include "client/output.h"
#include "client/plan_report.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/device_spec.h"
#include "common/plan/job_plan.h"
#include "common/status_macros.h"
#include "worker/engine/processor.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr char kFooter[] =
    R"(Says what a job will take, without running anything: memory of every stage, operations and time
of every phase, the size of the result, and what will not fit. Of the model only config.json is
read. Texts need not exist; a held-out text's length is estimated from its size (4 bytes a token).
Without a job file, --text and --output may be left out. Exit status: 0 it fits, 1 it does not.
Without device flags the device is this machine, divided over --devices workers as `run` does.
docs/plan.md has the formulas.

Examples:
  espalier plan examples/orchard.yaml
  espalier plan --model /models/llama-65b --ratio 0.7 --precision bfloat16
      --device-type a100-80g --devices 16 --json)";

struct PlanFlags {
  JobFlags job;
  std::optional<std::string> type;
  std::optional<std::string> memory;
  std::optional<double> teraflops;
  double utilisation = kDefaultUtilisation;
  int64_t devices = 1;
  int threads = 0;
};

void AddDeviceFlags(CLI::App& command, PlanFlags& flags) {
  constexpr char kGroup[] = "Devices";
  constexpr int kMostDevices = 65536;
  command.add_option("--devices", flags.devices, "How many there are, one worker each (default 1)")
      ->option_text("N")
      ->check(CLI::Range(1, kMostDevices))
      ->group(kGroup);
  command.add_option("--device-type", flags.type, "a100-40g, a100-80g or h100-80g")
      ->option_text("TYPE")
      ->group(kGroup);
  command
      .add_option("--utilisation", flags.utilisation,
                  "Of a type's published peak that is sustained (default 0.45)")
      ->option_text("U")
      ->check(CLI::Range(0.01, 1.0))
      ->group(kGroup);
  command.add_option("--device-memory", flags.memory, "Usable memory of one device, e.g. 80G")
      ->option_text("BYTES")
      ->group(kGroup);
  command
      .add_option("--device-tflops", flags.teraflops,
                  "Sustained TFLOP/s of one device in the job's precision")
      ->option_text("T")
      ->check(CLI::PositiveNumber)
      ->group(kGroup);
  command
      .add_option("--threads", flags.threads,
                  "Threads of each worker on a CPU (default: all cores divided by the workers)")
      ->option_text("N")
      ->check(CLI::Range(1, 4096))
      ->group(kGroup);
}

int64_t AvailableMemory() {
  std::ifstream table("/proc/meminfo");
  return ReadAvailableMemory(table);
}

absl::StatusOr<DeviceSpec> MakeDevice(const PlanFlags& flags, Precision precision) {
  DeviceSpec device;
  if (flags.type) {
    ESPALIER_ASSIGN_OR_RETURN(device, PresetDevice(*flags.type, flags.utilisation));
  } else {
    const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    device = CpuDevice(cores, AvailableMemory(), flags.devices, MultipliesBFloat16());
    if (flags.threads > 0) device.threads = flags.threads;
  }
  if (flags.memory) {
    ESPALIER_ASSIGN_OR_RETURN(device.memory, ParseBytes(*flags.memory));
  }
  if (device.memory <= 0) {
    return absl::InvalidArgumentError(
        "this machine does not say how much memory it has; give --device-memory");
  }
  if (flags.teraflops) SetRate(*flags.teraflops * 1e12, precision, &device);
  return device;
}

// What is given but not there counts as nothing, and the report says so.
int64_t EvalSequences(const JobSpec& spec) {
  if (spec.eval_text.path.empty()) return 0;
  if (spec.eval_sequences > 0) return spec.eval_sequences;
  constexpr int64_t kBytesPerToken = 4;
  std::error_code error;
  const auto bytes = fs::file_size(spec.eval_text.path, error);
  if (error) return 0;
  return static_cast<int64_t>(bytes) / kBytesPerToken / spec.sequence_length;
}

// Of the nearest folder above `output` that exists; 0: unknown.
int64_t FreeDisk(fs::path output) {
  std::error_code error;
  while (!fs::exists(output, error) && output != output.parent_path())
    output = output.parent_path();
  const fs::space_info space = fs::space(output, error);
  return error ? 0 : static_cast<int64_t>(space.available);
}

// Whether the result is for a disk of this machine, which can be looked at.
bool GoesHere(const PlanFlags& flags) {
  return !flags.type && (flags.job.output || !flags.job.file.empty());
}

// A plan needs neither a text nor a place for the result, so flags alone may leave them out.
JobFlags WithPlaceholders(JobFlags flags) {
  if (!flags.file.empty()) return flags;
  if (!flags.text) flags.text = "text.txt";
  if (!flags.output) flags.output = "espalier-plan";
  return flags;
}

int Plan(const PlanFlags& flags, bool json) {
  const auto usage = [json](const absl::Status& status) {
    return Fail(std::string(status.message()), kExitUsage, json);
  };
  const auto asked = MakeJobSpec(WithPlaceholders(flags.job));
  if (!asked.ok()) return usage(asked.status());
  PlannedJob job;
  const auto config = ReadModelConfig(asked->model);
  if (!config.ok()) return Fail(config.status(), json);
  job.config = *config;
  const auto spec = ResolveDefaults(*asked, job.config);
  if (!spec.ok()) return usage(spec.status());
  job.spec = *spec;
  const auto device = MakeDevice(flags, job.spec.precision);
  if (!device.ok()) return usage(device.status());
  job.options = {.device = *device,
                 .devices = flags.devices,
                 .stages = job.spec.stages,
                 .eval_sequences = EvalSequences(job.spec),
                 .free_disk = GoesHere(flags) ? FreeDisk(job.spec.output) : 0};
  const auto plan = PlanJob(job.config, job.spec, job.options);
  if (!plan.ok()) return usage(plan.status());
  job.plan = *plan;
  job.advice = PlanAdvice(job.config, job.spec, job.options, job.plan);
  if (json) {
    PrintJson(PlanToJson(job));
  } else {
    PrintText(PlanReport(job));
  }
  return job.plan.fits() ? kExitOk : kExitFailure;
}

}  // namespace

void AddPlanCommand(CLI::App& app, CommandLine& line) {
  CLI::App* command = app.add_subcommand("plan", "Say what a job will take, and what will not fit");
  command->footer(kFooter);
  auto flags = std::make_shared<PlanFlags>();
  AddJobFlags(*command, flags->job);
  AddDeviceFlags(*command, *flags);
  AddJsonFlag(*command, line, "Print the plan as one JSON object");
  command->callback(
      [&line, flags] { line.action = [&line, flags] { return Plan(*flags, line.json); }; });
}

}  // namespace espalier

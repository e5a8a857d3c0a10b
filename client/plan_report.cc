#include "client/plan_report.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/format.h"

namespace espalier {
namespace {

// "1.23 PFLOP".
std::string FormatFlops(double flops) {
  static constexpr std::array<const char*, 6> kUnits = {"", "k", "M", "G", "T", "P"};
  size_t unit = 0;
  while (flops >= 1000 && unit + 1 < kUnits.size()) {
    flops /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f %sFLOP", flops < 10 ? 2 : flops < 100 ? 1 : 0, flops, kUnits[unit]);
}

std::string Plural(int64_t count, const char* noun) {
  return absl::StrCat(FormatCount(count), " ", noun, count == 1 ? "" : "s");
}

std::string Subject(const PlannedJob& job) {
  const JobPlan& plan = job.plan;
  std::string text =
      absl::StrCat("Model    ", Printable(job.spec.model), ": ", FormatCount(plan.dense_parameters),
                   " parameters in ", Plural(job.config.num_layers, "layer"), ", ",
                   std::string(PrecisionName(job.spec.precision)), "\n", "Method   ",
                   std::string(SearchMethodName(job.spec.method)), "\n");
  for (const SizePlan& size : plan.sizes) {
    absl::StrAppend(&text, "Target   ", FormatPercent(size.ratio),
                    " of the parameters: ", FormatCount(std::llround(size.parameters)),
                    "; every layer keeps about ", FormatPercent(size.share), "\n");
  }
  return text;
}

std::string Device(const PlannedJob& job) {
  const DeviceSpec& device = job.options.device;
  const double rate = device.RateFor(job.spec.precision);
  std::string text = absl::StrCat("Devices  ", job.options.devices, " × ", device.name, " with ",
                                  FormatBytes(device.memory), " and ", FormatFlops(rate),
                                  "/s each\n", "         (", device.assumptions, ")\n");
  const auto stages = static_cast<int64_t>(job.plan.stages.size());
  absl::StrAppend(&text, "         ", Plural(job.plan.replicas, "replica"), " of ",
                  Plural(stages, "stage"), "\n");
  return text;
}

std::string StageTable(const PlannedJob& job) {
  const bool gpu = job.options.device.gpu;
  std::vector<TextTable::Column> columns = {{"stage"},
                                            {"layers"},
                                            {"weights", Align::kRight},
                                            {"statistics", Align::kRight},
                                            {"working", Align::kRight},
                                            {"in all", Align::kRight},
                                            {"of the device", Align::kRight}};
  if (gpu) columns.push_back({"host", Align::kRight});
  TextTable table(columns);
  const auto memory = static_cast<double>(job.options.device.memory);
  for (size_t i = 0; i < job.plan.stages.size(); ++i) {
    const StagePlan& stage = job.plan.stages[i];
    table.AddRow(
        {absl::StrCat(i + 1),
         absl::StrCat(stage.layers.first, "-", stage.layers.first + stage.layers.count - 1),
         FormatBytes(stage.weights), FormatBytes(stage.statistics), FormatBytes(stage.working),
         FormatBytes(stage.needed()), FormatPercent(static_cast<double>(stage.needed()) / memory),
         FormatBytes(stage.host)});
  }
  return table.ToString();
}

std::string PhaseTable(const JobPlan& plan) {
  TextTable table({{"phase"}, {"operations", Align::kRight}, {"time", Align::kRight}});
  double flops = 0;
  for (const PhasePlan& phase : plan.phases) {
    table.AddRow({phase.name, FormatFlops(phase.flops), FormatDuration(phase.seconds)});
    flops += phase.flops;
  }
  table.AddRow({"in all", FormatFlops(flops), FormatDuration(plan.seconds)});
  return table.ToString();
}

std::string Candidates(const PlannedJob& job) {
  const JobPlan& plan = job.plan;
  const bool several = plan.sizes.size() > 1;
  return absl::StrCat("A candidate takes ", FormatFlops(plan.candidate_flops),
                      " (dense: ", FormatFlops(plan.dense_candidate_flops), ") on ",
                      Plural(plan.candidate_sequences, "sequence"), " of ",
                      FormatCount(plan.candidate_length), " tokens; ", FormatCount(plan.candidates),
                      " candidates, ", FormatRate(plan.candidates_per_hour), " an hour; ",
                      FormatCount(plan.candidate_tokens), " candidate tokens.\n",
                      several ? "The results take " : "The result takes ",
                      FormatBytes(plan.compact_bytes), " (compact) and ",
                      FormatBytes(plan.padded_bytes), " (padded), at two bytes a weight.\n");
}

std::string Notes(const PlannedJob& job) {
  std::string notes;
  if (!job.spec.eval_text.path.empty() && job.options.eval_sequences == 0) {
    absl::StrAppend(&notes,
                    "Note: the held-out text could not be read and eval_text.sequences is 0: its "
                    "evaluation is left out.\n");
  }
  if (job.options.device.gpu) {
    absl::StrAppend(&notes, "Note: Espalier has not been measured on GPUs.\n");
  }
  return notes;
}

std::string WhyNot(const PlannedJob& job) {
  const JobPlan& plan = job.plan;
  if (!plan.fits_memory) {
    return absl::StrCat("a stage needs ", FormatBytes(plan.LargestStage()), ", a device has ",
                        FormatBytes(job.options.device.memory));
  }
  if (!plan.fits_devices) {
    return absl::StrCat(plan.stages.size(), " stages need as many devices, there are ",
                        job.options.devices);
  }
  return absl::StrCat("the result needs ", FormatBytes(plan.compact_bytes + plan.padded_bytes),
                      " of disk, and ", FormatBytes(job.options.free_disk), " are free");
}

std::string Verdict(const PlannedJob& job) {
  if (job.plan.fits()) return "FITS\n";
  std::string text = absl::StrCat("DOES NOT FIT: ", WhyNot(job), ".\n");
  for (const std::string& advice : job.advice) absl::StrAppend(&text, "  - ", advice, "\n");
  return text;
}

nlohmann::ordered_json StageJson(const StagePlan& stage) {
  return {{"first_layer", stage.layers.first}, {"layers", stage.layers.count},
          {"weight_bytes", stage.weights},     {"statistics_bytes", stage.statistics},
          {"working_bytes", stage.working},    {"bytes", stage.needed()},
          {"host_bytes", stage.host},          {"candidate_flops", stage.candidate_flops}};
}

nlohmann::ordered_json SizesJson(const JobPlan& plan) {
  auto sizes = nlohmann::ordered_json::array();
  for (const SizePlan& size : plan.sizes) {
    sizes.push_back({{"ratio", size.ratio},
                     {"target_parameters", std::llround(size.parameters)},
                     {"share", size.share}});
  }
  return sizes;
}

nlohmann::ordered_json DeviceJson(const PlannedJob& job) {
  const DeviceSpec& device = job.options.device;
  return {{"name", device.name},
          {"count", job.options.devices},
          {"memory_bytes", device.memory},
          {"flops_per_second", device.RateFor(job.spec.precision)},
          {"float32_flops_per_second", device.float32_flops},
          {"float64_flops_per_second", device.float64_flops},
          {"threads", device.threads},
          {"assumptions", device.assumptions}};
}

}  // namespace

std::string PlanReport(const PlannedJob& job) {
  return absl::StrCat(Subject(job), Device(job), "\n", StageTable(job), "\n", PhaseTable(job.plan),
                      "\n", Candidates(job), Notes(job), "\n", Verdict(job));
}

nlohmann::ordered_json PlanToJson(const PlannedJob& job) {
  const JobPlan& plan = job.plan;
  nlohmann::ordered_json json = {{"model", job.spec.model},
                                 {"precision", std::string(PrecisionName(job.spec.precision))},
                                 {"method", std::string(SearchMethodName(job.spec.method))},
                                 {"ratio", plan.sizes.front().ratio},
                                 {"dense_parameters", plan.dense_parameters},
                                 {"target_parameters", std::llround(plan.sizes.front().parameters)},
                                 {"sizes", SizesJson(plan)},
                                 {"device", DeviceJson(job)},
                                 {"replicas", plan.replicas},
                                 {"smallest_stages", plan.smallest_stages},
                                 {"stages", nlohmann::ordered_json::array()},
                                 {"dense_candidate_flops", plan.dense_candidate_flops},
                                 {"candidate_flops", plan.candidate_flops},
                                 {"candidate_seconds", plan.candidate_seconds},
                                 {"candidates", plan.candidates},
                                 {"candidate_tokens", plan.candidate_tokens},
                                 {"candidates_per_hour", plan.candidates_per_hour},
                                 {"phases", nlohmann::ordered_json::array()},
                                 {"seconds", plan.seconds},
                                 {"compact_bytes", plan.compact_bytes},
                                 {"padded_bytes", plan.padded_bytes},
                                 {"fits", plan.fits()},
                                 // GPUs have not been measured.
                                 {"runs_today", plan.fits() && !job.options.device.gpu},
                                 {"advice", job.advice}};
  for (const StagePlan& stage : plan.stages) json["stages"].push_back(StageJson(stage));
  for (const PhasePlan& phase : plan.phases) {
    json["phases"].push_back(
        {{"name", phase.name}, {"flops", phase.flops}, {"seconds", phase.seconds}});
  }
  return json;
}

}  // namespace espalier

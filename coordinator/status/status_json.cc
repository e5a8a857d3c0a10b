#include "coordinator/status/status_json.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/job_spec.h"
#include "common/version.h"
#include "coordinator/jobs/result_files.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

// The views write "not known yet" as 0.
Json Known(double value) { return std::isfinite(value) && value > 0 ? Json(value) : Json(nullptr); }

Json ProgressJson(const ProgressView& view) {
  return {{"phase", PhaseName(view.phase)},
          {"done", view.done},
          {"total", view.total},
          {"unit", view.unit},
          {"units_per_second", Known(view.units_per_second)},
          {"eta_seconds", Known(view.eta_seconds)},
          {"best_perplexity", Known(view.best_perplexity)},
          {"ratio", Known(view.ratio)},
          {"generation", view.generation},
          {"size", view.size},
          {"sizes", view.sizes},
          {"waiting_for", view.waiting_for}};
}

Json MeasurementJson(const MeasurementView& view) {
  return {{"parameters", view.parameters},
          {"ratio", Known(view.ratio)},
          {"perplexity", Known(view.perplexity)},
          {"search_perplexity", Known(view.search_perplexity)},
          {"tokens_per_second", Known(view.tokens_per_second)}};
}

Json ResultJson(const ResultView& view) {
  return {{"dense", MeasurementJson(view.dense)},
          {"initial", MeasurementJson(view.initial)},
          {"searched", MeasurementJson(view.searched)},
          {"reformed", MeasurementJson(view.reformed)},
          {"output", view.output},
          {"held_out", view.held_out},
          {"candidates", view.candidates},
          {"seconds", view.seconds}};
}

Json JobRow(const JobView& view, int64_t start_unix_ms) {
  Json finished = nullptr;
  if (IsFinal(view.state)) finished = start_unix_ms + view.finished;
  return {{"id", absl::StrCat("job-", view.id)},
          {"name", view.spec->name},
          {"model", view.spec->model},
          {"output", view.spec->output},
          {"target_ratios", view.spec->ratios()},
          {"state", JobStateName(view.state)},
          {"progress", ProgressJson(view.progress)},
          {"error", view.error},
          {"created_unix_ms", start_unix_ms + view.created},
          {"finished_unix_ms", std::move(finished)}};
}

Json WorkerJson(const WorkerView& view) {
  return {{"id", absl::StrCat("worker-", view.number)},
          {"name", view.info.name},
          {"device", view.info.device},
          {"device_name", view.info.device_name},
          {"memory_bytes", view.info.memory_bytes},
          {"threads", view.info.threads},
          {"activity", view.activity},
          {"progress", view.progress},
          {"tasks_done", view.tasks_done},
          {"draining", view.draining},
          {"stage", view.stage},
          {"stages", view.stages}};
}

Json HistoryJson(const std::vector<HistoryPoint>& points) {
  Json history;
  for (const char* name : {"unix_ms", "generation", "candidates", "best_perplexity", "ratio"}) {
    history[name] = Json::array();
  }
  for (const HistoryPoint& point : points) {
    history["unix_ms"].push_back(point.unix_ms);
    history["generation"].push_back(point.generation);
    history["candidates"].push_back(point.candidates);
    history["best_perplexity"].push_back(point.best_perplexity);
    history["ratio"].push_back(point.ratio);
  }
  return history;
}

Json MessagesJson(const std::vector<JobLine>& messages) {
  Json json = Json::array();
  for (const JobLine& message : messages) {
    json.push_back({{"unix_ms", message.unix_ms}, {"text", message.text}});
  }
  return json;
}

}  // namespace

Json StatusJson(const StatusSnapshot& snapshot) {
  Json workers = Json::array();
  for (const WorkerView& worker : snapshot.workers) workers.push_back(WorkerJson(worker));
  Json jobs = Json::array();
  for (const JobView& job : snapshot.jobs) jobs.push_back(JobRow(job, snapshot.start_unix_ms));
  int64_t total = 0;
  for (const auto& [state, count] : snapshot.job_counts) total += count;
  return {{"version", kVersion},
          {"ready", snapshot.ready},
          {"trouble", snapshot.trouble},
          {"started_unix_ms", snapshot.start_unix_ms},
          {"uptime_seconds", static_cast<double>(snapshot.now) / 1e3},
          {"jobs_total", total},
          {"jobs", std::move(jobs)},
          {"workers", std::move(workers)}};
}

Json JobJson(const JobDetail& detail) {
  const JobView& view = detail.job;
  Json json = JobRow(view, detail.start_unix_ms);
  json["results"] = Json::array();
  for (const auto& result : view.results) json["results"].push_back(ResultJson(*result));
  json["spec_yaml"] = JobSpecToYaml(*view.spec);
  json["history"] = HistoryJson(detail.history);
  json["messages"] = MessagesJson(detail.messages);
  return json;
}

Json ErrorJson(std::string_view message) { return {{"error", message}}; }

std::string JsonText(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string_view JobStateName(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "queued";
    case JobState::kRunning:
      return "running";
    case JobState::kPaused:
      return "paused";
    case JobState::kSucceeded:
      return "succeeded";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

}  // namespace espalier

#include "client/listing.h"

#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/format.h"
#include "client/progress_view.h"
#include "client/report.h"

namespace espalier {
namespace {

using Json = nlohmann::ordered_json;

std::string Phase(const v1::Job& job) {
  if (IsFinal(job.state())) return "";
  return std::string(PhaseTitle(job.progress().phase()));
}

std::string Percentage(const v1::Job& job) {
  if (IsFinal(job.state()) || job.progress().total() <= 0) return "";
  return FormatPercent(Fraction(job.progress()));
}

std::string Note(const v1::Job& job) {
  if (!job.error().empty()) return Truncate(Printable(job.error()), 60);
  if (IsFinal(job.state()) || job.progress().waiting_for().empty()) return "";
  return absl::StrCat("waiting for ", Truncate(Printable(job.progress().waiting_for()), 48));
}

Json TextOrNull(std::string_view text) { return text.empty() ? Json() : Json(text); }
Json NumberOrNull(double value) { return value == 0 ? Json() : Json(value); }
Json MillisOrNull(int64_t millis) { return millis == 0 ? Json() : Json(millis); }

Json PhaseToJson(v1::JobPhase phase) {
  return TextOrNull(absl::AsciiStrToLower(std::string(PhaseTitle(phase))));
}

Json ProgressToJson(const v1::Progress& progress) {
  return {{"phase", PhaseToJson(progress.phase())},
          {"done", progress.done()},
          {"total", progress.total()},
          {"unit", progress.unit()},
          {"units_per_second", NumberOrNull(progress.units_per_second())},
          {"eta_seconds", NumberOrNull(progress.eta_seconds())},
          {"best_perplexity", NumberOrNull(progress.best_perplexity())},
          {"ratio", NumberOrNull(progress.ratio())},
          {"generation", progress.generation()},
          {"size", progress.size()},
          {"sizes", progress.sizes()},
          {"waiting_for", TextOrNull(progress.waiting_for())}};
}

Json ResultsToJson(const google::protobuf::RepeatedPtrField<v1::Result>& results) {
  Json list = Json::array();
  for (const v1::Result& result : results) list.push_back(ResultToJson(result));
  return list;
}

}  // namespace

std::string JobsTable(const v1::ListJobsResponse& jobs) {
  if (jobs.jobs().empty()) return "No jobs. `espalier submit` makes one.\n";
  TextTable table({{"id"},
                   {"name"},
                   {"state"},
                   {"phase"},
                   {"done", Align::kRight},
                   {"best ppl", Align::kRight},
                   {"created"},
                   {"note"}});
  for (const v1::Job& job : jobs.jobs()) {
    table.AddRow({job.id(), Truncate(Printable(job.name()), 30),
                  std::string(StateName(job.state())), Phase(job), Percentage(job),
                  FormatPerplexity(job.progress().best_perplexity()),
                  FormatUnixMillis(job.created_unix_ms()), Note(job)});
  }
  return table.ToString();
}

std::string WorkersTable(const v1::ListWorkersResponse& workers) {
  if (workers.workers().empty()) {
    return "No workers are attached. `espalier-worker --coordinator ADDRESS` attaches one.\n";
  }
  TextTable table({{"id"},
                   {"name"},
                   {"device"},
                   {"memory", Align::kRight},
                   {"tasks done", Align::kRight},
                   {"doing"}});
  for (const v1::Worker& worker : workers.workers()) {
    std::string device = worker.device();
    if (!worker.device_name().empty()) {
      absl::StrAppend(&device, " (", Truncate(Printable(worker.device_name()), 40), ")");
    }
    std::string doing = worker.activity().empty() ? "idle" : Printable(worker.activity());
    if (worker.draining()) doing = absl::StrCat("draining: ", doing);
    if (worker.progress() > 0) {
      absl::StrAppend(&doing, " ", FormatPercent(worker.progress()));
    }
    table.AddRow({worker.id(), Printable(worker.name()), device, FormatBytes(worker.memory_bytes()),
                  FormatCount(worker.tasks_done()), doing});
  }
  return table.ToString();
}

std::string JobDetails(const v1::Job& job) {
  std::string text = absl::StrCat("id        ", job.id(), "\n", "name      ", Printable(job.name()),
                                  "\n", "state     ", std::string(StateName(job.state())), "\n");
  if (!IsFinal(job.state())) {
    absl::StrAppend(&text, "progress  ", RenderPlainLine(job.progress()), "\n");
  }
  if (!job.error().empty()) absl::StrAppend(&text, "error     ", Printable(job.error()), "\n");
  absl::StrAppend(&text, "created   ", FormatUnixMillis(job.created_unix_ms()), "\n");
  if (job.finished_unix_ms() != 0) {
    absl::StrAppend(&text, "finished  ", FormatUnixMillis(job.finished_unix_ms()), "\n");
  }
  absl::StrAppend(&text, "output    ", Printable(job.output()), "\n\n", job.spec_yaml());
  if (!text.ends_with("\n")) text += '\n';
  return text;
}

Json JobToJson(const v1::Job& job) {
  return {{"id", job.id()},
          {"name", job.name()},
          {"state", StateName(job.state())},
          {"phase", PhaseToJson(job.progress().phase())},
          {"progress", ProgressToJson(job.progress())},
          {"error", TextOrNull(job.error())},
          {"output", TextOrNull(job.output())},
          {"created_unix_ms", MillisOrNull(job.created_unix_ms())},
          {"finished_unix_ms", MillisOrNull(job.finished_unix_ms())},
          {"spec", job.spec_yaml()},
          {"results", ResultsToJson(job.results())}};
}

Json WorkerToJson(const v1::Worker& worker) {
  return {{"id", worker.id()},
          {"name", worker.name()},
          {"device", worker.device()},
          {"device_name", TextOrNull(worker.device_name())},
          {"memory_bytes", worker.memory_bytes()},
          {"activity", TextOrNull(worker.activity())},
          {"progress", worker.progress()},
          {"tasks_done", worker.tasks_done()},
          {"draining", worker.draining()}};
}

Json EventToJson(const v1::JobEvent& event) {
  return {{"number", event.number()},
          {"unix_ms", event.unix_ms()},
          {"state", StateName(event.state())},
          {"progress", event.has_progress() ? ProgressToJson(event.progress()) : Json()},
          {"message", TextOrNull(event.message())},
          {"error", TextOrNull(event.error())},
          {"results", ResultsToJson(event.results())}};
}

Json JobsToJson(const v1::ListJobsResponse& jobs) {
  Json list = Json::array();
  for (const v1::Job& job : jobs.jobs()) list.push_back(JobToJson(job));
  return {{"jobs", list}};
}

Json WorkersToJson(const v1::ListWorkersResponse& workers) {
  Json list = Json::array();
  for (const v1::Worker& worker : workers.workers()) list.push_back(WorkerToJson(worker));
  return {{"workers", list}};
}

}  // namespace espalier

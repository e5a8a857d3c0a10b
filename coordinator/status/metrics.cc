#include "coordinator/status/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <utility>
#include <vector>

#include "common/version.h"
#include "coordinator/status/status_json.h"

namespace espalier {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

class Families {
 public:
  void Gauge(const std::string& name, const std::string& help, double value) {
    Add(name, help, MetricType::Gauge).metric.emplace_back().gauge.value = value;
  }
  void Counter(const std::string& name, const std::string& help, int64_t value) {
    Add(name, help, MetricType::Counter).metric.emplace_back().counter.value =
        static_cast<double>(value);
  }
  // A gauge whose values differ in one label.
  void Gauges(const std::string& name, const std::string& help, const std::string& label,
              const std::vector<std::pair<std::string, double>>& values) {
    MetricFamily& family = Add(name, help, MetricType::Gauge);
    for (const auto& [key, value] : values) {
      ClientMetric& metric = family.metric.emplace_back();
      metric.label.push_back({.name = label, .value = key});
      metric.gauge.value = value;
    }
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  MetricFamily& Add(const std::string& name, const std::string& help, MetricType type) {
    MetricFamily& family = families_.emplace_back();
    family.name = name;
    family.help = help;
    family.type = type;
    return family;
  }

  std::vector<MetricFamily> families_;
};

std::vector<std::pair<std::string, double>> JobsByState(const JobCounts& jobs) {
  std::vector<std::pair<std::string, double>> counts;
  for (const JobState state : {JobState::kQueued, JobState::kRunning, JobState::kPaused,
                               JobState::kSucceeded, JobState::kFailed, JobState::kCancelled}) {
    const auto count = jobs.find(state);
    counts.emplace_back(JobStateName(state),
                        count == jobs.end() ? 0 : static_cast<double>(count->second));
  }
  return counts;
}

void AddTotals(const ActivityTotals& totals, Families& families) {
  families.Counter("espalier_tasks_assigned_total", "Tasks given to workers.",
                   totals.tasks_assigned);
  families.Counter("espalier_tasks_finished_total", "Tasks that workers answered.",
                   totals.tasks_finished);
  families.Counter("espalier_tasks_failed_total", "Tasks that workers answered with an error.",
                   totals.tasks_failed);
  families.Counter("espalier_tasks_returned_total",
                   "Tasks that were cancelled, handed back or lost with their worker.",
                   totals.tasks_returned);
  families.Counter("espalier_candidates_evaluated_total", "Subnets scored for searches.",
                   totals.candidates_evaluated);
  families.Counter("espalier_worker_leases_expired_total",
                   "Workers given up because nothing was heard of them.", totals.leases_expired);
}

}  // namespace

std::string MetricsText(const StatusSnapshot& snapshot, const ProcessFigures& process) {
  Families families;
  families.Gauges("espalier_build_info", "Always 1; the label says which version runs.", "version",
                  {{std::string(kVersion), 1}});
  families.Gauges("espalier_jobs", "Jobs by state.", "state", JobsByState(snapshot.job_counts));
  families.Gauge("espalier_workers", "Workers attached.",
                 static_cast<double>(snapshot.workers.size()));
  AddTotals(snapshot.totals, families);
  families.Gauge("espalier_ready", "1 while jobs and workers are taken.", snapshot.ready ? 1 : 0);
  families.Gauge("espalier_uptime_seconds", "Time since the coordinator started.",
                 static_cast<double>(snapshot.now) / 1e3);
  families.Gauge("espalier_status_event_streams", "Open streams of /api/v1/events.",
                 static_cast<double>(process.event_streams));
  families.Gauge("process_resident_memory_bytes", "Resident memory of the process.",
                 static_cast<double>(process.resident_bytes));
  return families.Text();
}

}  // namespace espalier

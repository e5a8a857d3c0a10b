#include "coordinator/status/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "coordinator/status/testing_views.h"

namespace espalier {
namespace {

// "name{labels}" to value; every line must be a comment or a sample.
std::map<std::string, double> Samples(const std::string& text) {
  const auto is_sample = ::testing::MatchesRegex(R"re([a-z_]+(\{[a-z]+="[^"]*"\})? [^ ]+)re");
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    EXPECT_THAT(line, is_sample);
    const size_t space = line.rfind(' ');
    if (space == std::string::npos) continue;
    EXPECT_TRUE(samples.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second)
        << line;
  }
  return samples;
}

TEST(MetricsTest, SaysWhatTheSnapshotHolds) {
  StatusSnapshot snapshot;
  snapshot.ready = true;
  snapshot.now = 12'500;
  snapshot.jobs = {MakeJob(900, JobState::kRunning)};
  snapshot.job_counts = {
      {JobState::kSucceeded, 897}, {JobState::kRunning, 1}, {JobState::kQueued, 2}};
  snapshot.workers.resize(3);
  snapshot.totals = {.tasks_assigned = 10,
                     .tasks_finished = 6,
                     .tasks_failed = 1,
                     .tasks_returned = 2,
                     .candidates_evaluated = 5,
                     .leases_expired = 4};
  const auto samples = Samples(MetricsText(snapshot, {.resident_bytes = 4096, .event_streams = 2}));
  const std::map<std::string, double> expected = {{"espalier_build_info{version=\"0.1.0\"}", 1},
                                                  {"espalier_jobs{state=\"paused\"}", 0},
                                                  {"espalier_jobs{state=\"queued\"}", 2},
                                                  {"espalier_jobs{state=\"running\"}", 1},
                                                  {"espalier_jobs{state=\"succeeded\"}", 897},
                                                  {"espalier_jobs{state=\"failed\"}", 0},
                                                  {"espalier_jobs{state=\"cancelled\"}", 0},
                                                  {"espalier_workers", 3},
                                                  {"espalier_tasks_assigned_total", 10},
                                                  {"espalier_tasks_finished_total", 6},
                                                  {"espalier_tasks_failed_total", 1},
                                                  {"espalier_tasks_returned_total", 2},
                                                  {"espalier_candidates_evaluated_total", 5},
                                                  {"espalier_worker_leases_expired_total", 4},
                                                  {"espalier_ready", 1},
                                                  {"espalier_uptime_seconds", 12.5},
                                                  {"espalier_status_event_streams", 2},
                                                  {"process_resident_memory_bytes", 4096}};
  EXPECT_EQ(samples, expected);
}

TEST(MetricsTest, EveryFamilyHasHelpAndTheTypeOfItsName) {
  std::istringstream lines(MetricsText({}, {}));
  std::string line;
  std::string last;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string hash;
    std::string kind;
    std::string name;
    std::string type;
    words >> hash >> kind >> name >> type;
    if (kind == "TYPE") {
      EXPECT_EQ(type, name.ends_with("_total") ? "counter" : "gauge") << name;
      EXPECT_EQ(last, name) << "no HELP before it";
    }
    if (kind == "HELP") last = name;
  }
}

}  // namespace
}  // namespace espalier

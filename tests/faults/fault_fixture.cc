#include "tests/faults/fault_fixture.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/exit_codes.h"
#include "client/testing/results.h"
#include "client/testing/small_model.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

uint64_t Seed() {
  const char* given = std::getenv("ESPALIER_FAULT_SEED");
  const uint64_t seed = given == nullptr ? std::random_device()() : std::stoull(given);
  std::printf("ESPALIER_FAULT_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace

FaultTest::FaultTest() : random_(Seed()) {}

FaultProxy::Deadline FaultTest::Soon() {
  return std::chrono::steady_clock::now() + std::chrono::minutes(2);
}

void FaultTest::TearDown() {
  for (Member& member : members_) {
    if (member.process != nullptr) member.process->Signal(SIGTERM);
  }
  for (Member& member : members_) {
    if (member.process == nullptr) continue;
    EXPECT_EQ(member.process->Wait(), 0) << member.process->err();
  }
  if (coordinator_ != nullptr) {
    coordinator_->Signal(SIGTERM);
    EXPECT_EQ(coordinator_->Wait(), 0) << coordinator_->err();
  }
  ExpectNoProcessLeft();
  if (HasFailure()) PrintLogs();
}

void FaultTest::PrintLogs() const {
  if (coordinator_ != nullptr) std::printf("---- coordinator\n%s", coordinator_->err().c_str());
  for (const Member& member : members_) {
    if (member.process == nullptr) continue;
    std::printf("---- %s\n%s", member.name.c_str(), member.process->err().c_str());
  }
}

// Ours have this test's folder in their environment.
void FaultTest::ExpectNoProcessLeft() const {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "environ");
    std::stringstream environment;
    environment << file.rdbuf();
    if (environment.str().find("TMPDIR=" + (folder_ / "tmp").string()) == std::string::npos)
      continue;
    ADD_FAILURE() << entry.path() << " is left";
  }
}

void FaultTest::StartCluster(int workers) {
  StartCoordinator();
  for (int i = 0; i < workers; ++i) {
    Member& member = members_.emplace_back();
    member.name = absl::StrCat("member-", i + 1);
    absl::StatusOr<std::unique_ptr<FaultProxy>> proxy = FaultProxy::Start(coordinator_address());
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    member.proxy = *std::move(proxy);
    if (links_between_stages_) {
      // An address of the test's own, since a proxy has to know the port before the worker does.
      member.stage_listen =
          absl::StrCat("127.", getpid() >> 8 & 255, ".", getpid() & 255, ".", i + 1, ":7072");
      absl::StatusOr<std::unique_ptr<FaultProxy>> inbound = FaultProxy::Start(member.stage_listen);
      ASSERT_TRUE(inbound.ok()) << inbound.status();
      member.inbound = *std::move(inbound);
    }
    StartProcess(member);
  }
}

void FaultTest::StartProcess(Member& member) {
  std::vector<std::string> command = {ESPALIER_WORKER_PROGRAM,
                                      "--coordinator",
                                      member.proxy->address(),
                                      "--name",
                                      member.name,
                                      "--threads",
                                      "1",
                                      "--keepalive-ms",
                                      absl::StrCat(keepalive_.count())};
  if (member.inbound != nullptr) {
    command.insert(command.end(), {"--stage-listen", member.stage_listen, "--stage-advertise",
                                   member.inbound->address()});
  }
  member.process = std::make_unique<Process>(command, environment_);
  member.log_read = 0;
  AwaitAttached(member);
}

void FaultTest::AwaitAttached(Member& member) {
  constexpr char kAttached[] = "attached to ";
  ASSERT_TRUE(member.process->WaitForError(kAttached, member.log_read)) << member.process->err();
  member.log_read = member.process->err().find(kAttached, member.log_read) + sizeof(kAttached);
}

void FaultTest::AwaitLeaseOver(size_t log_read) {
  ASSERT_TRUE(coordinator_->WaitForError("closed: nothing was heard", log_read))
      << coordinator_->err();
}

std::unique_ptr<JobClient> FaultTest::Client(const std::string& address) const {
  absl::StatusOr<std::unique_ptr<JobClient>> client =
      JobClient::Connect({.address = address, .keepalive = keepalive_});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

JobSpec FaultTest::Spec(const std::string& name) const {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.name = "disturbed";
  spec.model = model().string();
  spec.text.path = text().string();
  spec.output = (results() / name).string();
  spec.ratio = 0.7;
  spec.tolerance = 0.02;
  spec.seed = 5;
  spec.sequence_length = 128;
  spec.calibration_sequences = 8;
  spec.search.generations = 50;
  spec.search.mutations = 4;
  spec.search.crossovers = 2;
  spec.search.initial_mutations = 2;
  spec.search.survivors = 3;
  spec.search.sequences = 5;
  spec.stages = stages_;
  return spec;
}

std::unique_ptr<FollowedJob> FaultTest::Submit(const JobSpec& spec) {
  absl::StatusOr<v1::Job> job = Client(coordinator_address())->Submit(JobSpecToYaml(spec), "");
  EXPECT_TRUE(job.ok()) << job.status();
  return std::make_unique<FollowedJob>(
      Client(coordinator_for_clients_.empty() ? coordinator_address() : coordinator_for_clients_),
      job->id());
}

std::map<std::string, std::string> FaultTest::Undisturbed(JobSpec spec) {
  spec.stages = 0;
  spec.output = (results() / absl::StrCat("undisturbed-", spec.seed)).string();
  const fs::path file = folder_ / "undisturbed.yaml";
  WriteTestFile(file, JobSpecToYaml(spec));
  const Finished run = Espalier({"run", file.string(), "--threads", "1"});
  EXPECT_EQ(run.status, kExitOk) << run.err;
  return ReadResult(spec.output);
}

void FaultTest::ExpectResult(FollowedJob& job, const std::map<std::string, std::string>& expected,
                             const std::string& name) {
  const v1::Job ended = job.Wait();
  EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
  if (ended.state() == v1::JOB_STATE_SUCCEEDED) {
    ExpectSameFiles(expected, ReadResult(results() / name));
  }
}

bool FaultTest::AwaitInstant(const FollowedJob& job, FaultProxy& way,
                             FaultProxy::Direction direction, uint64_t bound) {
  const auto count = [direction](const FaultProxy::Counts& counts) {
    return direction == FaultProxy::Direction::kToTarget ? counts.to_target : counts.to_client;
  };
  const int64_t enough = count(way.counts()) + static_cast<int64_t>(1 + Random(bound));
  const auto deadline = Soon();
  while (!job.ended()) {
    // In short steps, since the proxy does not know when the job ends.
    const auto now = std::chrono::steady_clock::now();
    if (way.WaitFor([&](const auto& counts) { return count(counts) >= enough; },
                    now + std::chrono::milliseconds(20))) {
      return true;
    }
    if (now < deadline) continue;
    ADD_FAILURE() << "nothing passes any more";
    return false;
  }
  return false;
}

void FaultTest::DisturbJobs(const std::function<bool(FollowedJob&)>& disturb) {
  int faults = 0;
  for (int jobs = 1; faults < kFaults && !HasFailure(); ++jobs) {
    const std::string name = absl::StrCat("disturbed-", jobs);
    // The coordinator would know the answers to a search that it has seen before.
    JobSpec spec = Spec(name);
    spec.seed += jobs;
    const std::map<std::string, std::string> expected = Undisturbed(spec);
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    while (faults < kFaults && !HasFailure() && disturb(*job)) ++faults;
    ExpectResult(*job, expected, name);
  }
  EXPECT_EQ(faults, kFaults);
}

void FaultTest::Disturb(const std::function<void(Member&)>& inject) {
  DisturbJobs([&](FollowedJob& job) {
    Member& member = RandomMember();
    if (!AwaitInstant(job, *member.proxy, FaultProxy::Direction::kToTarget, 1500)) return false;
    inject(member);
    job.WaitForWhatIsOpen();
    return true;
  });
}

}  // namespace espalier

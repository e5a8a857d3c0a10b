#include "coordinator/service/core.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/sha256.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "coordinator/service/journal_messages.h"
#include "coordinator/service/messages.h"

namespace espalier {
namespace {

constexpr char kStopping[] = "the coordinator is shutting down";
constexpr std::chrono::milliseconds kTick{50};
// A brain that has more to do goes on for so long, unless somebody wants the lock. Then it waits
// for a breath in which nobody took it, but not for more than some: what came in meanwhile,
// heartbeats above all, goes first.
constexpr std::chrono::milliseconds kTurn{10};
constexpr std::chrono::milliseconds kBreath{1};
constexpr int kMostBreaths = 20;

int64_t UnixMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string RandomKey() {
  std::string key(32, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), static_cast<int>(key.size()));
  return key;
}

}  // namespace

CoordinatorCore::CoordinatorCore(const Options& options, const SearchFactory* searches,
                                 std::unique_ptr<JobStore> store)
    : options_(options),
      store_(std::move(store)),
      start_(std::chrono::steady_clock::now()),
      start_unix_ms_(UnixMs()),
      replica_key_(RandomKey()),
      brain_({.lease = options.lease.count(),
              .version = std::string(kVersion),
              .life = store_ == nullptr ? 0 : store_->life()},
             searches) {
  if (store_ != nullptr) {
    committer_ = std::make_unique<Committer>(store_.get(), [this](const Actions& actions) {
      WantedMutexLock lock(&mutex_);
      CarryOut(actions);
    });
  }
  ticker_ = std::thread([this] { Tick(); });
}

CoordinatorCore::~CoordinatorCore() { Shutdown(); }

TimeMs CoordinatorCore::Now() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               start_)
      .count();
}

void CoordinatorCore::Tick() {
  WantedMutexLock lock(&mutex_);
  auto next = std::chrono::steady_clock::now() + kTick;
  while (!stopping_) {
    if (std::chrono::steady_clock::now() >= next) {
      FeedLocked(espalier::Tick{});
      next = std::chrono::steady_clock::now() + kTick;
    }
    GoOn();
    if (brain_.HasMore()) {
      Breathe();
    } else {
      changed_.WaitUntil(&mutex_, next);
    }
  }
}

void CoordinatorCore::Breathe() {
  for (int i = 0; i < kMostBreaths && !stopping_; ++i) {
    const uint64_t taken = mutex_.taken();
    changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kBreath);
    if (mutex_.taken() == taken) return;
  }
}

void CoordinatorCore::GoOn() {
  const auto end = std::chrono::steady_clock::now() + kTurn;
  while (brain_.HasMore() && !mutex_.wanted() && std::chrono::steady_clock::now() < end) {
    Actions actions;
    brain_.GoOn(Now(), &actions);
    if (!actions.empty()) Settle(std::move(actions));
  }
}

void CoordinatorCore::Shutdown() {
  {
    WantedMutexLock lock(&mutex_);
    if (!stopping_ && store_ == nullptr) {
      Actions actions;
      brain_.CancelAll(kStopping, Now(), &actions);
      CarryOut(actions);
    }
    stopping_ = true;
    changed_.NotifyAll();
    activity_changed_.NotifyAll();
  }
  if (ticker_.joinable()) ticker_.join();
  if (committer_ != nullptr) committer_->Finish();
  {
    WantedMutexLock lock(&mutex_);
    logs_.EndAll(absl::UnavailableError(kStopping));
    while (!streams_.empty()) {
      CloseStream(streams_.begin()->first, absl::UnavailableError(kStopping));
    }
  }
  preparer_.Finish();
  writer_.Finish();
}

// ---- The store ----

absl::Status CoordinatorCore::Restore() {
  if (store_ == nullptr) return absl::OkStatus();
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<StoredJobRow> rows, store_->Jobs());
  ESPALIER_ASSIGN_OR_RETURN(const JobId last_job, store_->LastJob());
  WantedMutexLock lock(&mutex_);
  brain_.RestoreLastJob(last_job);
  for (const StoredJobRow& row : rows) ESPALIER_RETURN_IF_ERROR(RestoreJob(row));
  return absl::OkStatus();
}

absl::Status CoordinatorCore::RestoreJob(const StoredJobRow& row) {
  const JobId id = row.job.id;
  if (row.final) {
    ESPALIER_ASSIGN_OR_RETURN(const JobView view, FinishedJobFromRow(row, start_unix_ms_));
    brain_.RestoreFinished(view, row.job.idempotency_key);
    archived_.insert(id);
    return absl::OkStatus();
  }
  ESPALIER_ASSIGN_OR_RETURN(StoredJob job, StoredJobFromRow(row, start_unix_ms_));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<std::string> events, store_->Events(id));
  ESPALIER_RETURN_IF_ERROR(logs_.Restore(id, events, /*final=*/false));
  spdlog::info("job-{} goes on: {} stored results", id, job.journal.size());
  auto folder = ResultFolder::CreateAgain(job.spec.output, row.job.staging, options_.roots.outputs);
  absl::Status ready = folder.status();
  if (folder.ok()) {
    jobs_[id].folder = *std::move(folder);
    ready = store_->SetStaging(id, jobs_[id].folder->staging());
  }
  Actions actions;
  brain_.Restore(std::move(job), Now(), &actions);
  if (!ready.ok()) brain_.Handle(OutputDone{.job = id, .status = ready}, Now(), &actions);
  Settle(std::move(actions));
  return absl::OkStatus();
}

// The events of a job that ended in an earlier life are read when somebody asks for them.
absl::Status CoordinatorCore::LoadEvents(JobId job) const {
  {
    WantedMutexLock lock(&mutex_);
    ESPALIER_RETURN_IF_ERROR(brain_.Job(job).status());
    if (archived_.count(job) == 0) return absl::OkStatus();
  }
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<std::string> events, store_->Events(job));
  WantedMutexLock lock(&mutex_);
  if (archived_.erase(job) == 0) return absl::OkStatus();  // somebody else was faster
  return logs_.Restore(job, events, /*final=*/true);
}

StoreBatch CoordinatorCore::BatchOf(const Actions& actions) const {
  StoreBatch batch;
  for (const Action& action : actions) {
    if (const auto* job = std::get_if<RecordJob>(&action)) {
      batch.jobs.push_back({.id = job->job,
                            .spec = JobSpecToYaml(*job->spec),
                            .idempotency_key = job->idempotency_key,
                            .created_unix_ms = start_unix_ms_ + job->created,
                            .staging = jobs_.at(job->job).folder->staging()});
    } else if (const auto* fact = std::get_if<RecordFact>(&action)) {
      batch.facts.push_back({.job = fact->job, .bytes = JournalBytes(fact->entry, start_unix_ms_)});
    } else if (const auto* event = std::get_if<PublishEvent>(&action)) {
      batch.events.push_back({.job = event->job,
                              .number = event->number,
                              .bytes = EventMessage(*event, start_unix_ms_).SerializeAsString(),
                              .final = IsFinal(event->state)});
    } else if (const auto* answer = std::get_if<RecordAnswer>(&action)) {
      batch.answers.push_back({.context = answer->context,
                               .subnet = answer->subnet,
                               .bytes = AnswerBytes(answer->answer)});
    } else if (const auto* forgotten = std::get_if<ForgetJob>(&action)) {
      batch.deleted.push_back(forgotten->job);
    }
  }
  return batch;
}

uint64_t CoordinatorCore::Settle(Actions actions) {
  if (committer_ == nullptr) {
    CarryOut(actions);
    return 0;
  }
  StoreBatch batch = BatchOf(actions);
  return committer_->Add(std::move(actions), std::move(batch));
}

absl::Status CoordinatorCore::AwaitStored(uint64_t ticket) {
  return committer_ == nullptr ? absl::OkStatus() : committer_->Wait(ticket);
}

absl::Status CoordinatorCore::RefuseWhenStopping() const {
  return stopping_ ? absl::UnavailableError(kStopping) : absl::OkStatus();
}

// ---- Workers ----

WorkerKey CoordinatorCore::Attach(const v1::Hello& hello, std::shared_ptr<WorkerStream> stream) {
  WantedMutexLock lock(&mutex_);
  const WorkerKey key = ++last_key_;
  if (stopping_) {
    stream->Close(absl::UnavailableError(kStopping));
    return key;
  }
  spdlog::info("worker {} on {} ({}) attaches", hello.name(), hello.device(), hello.device_name());
  streams_[key] = std::move(stream);
  FeedLocked(WorkerAttached{.worker = key, .info = InfoFromMessage(hello)});
  return key;
}

void CoordinatorCore::Receive(WorkerKey worker, const v1::WorkerMessage& message) {
  WantedMutexLock lock(&mutex_);
  switch (message.message_case()) {
    case v1::WorkerMessage::kHeartbeat:
      return FeedLocked(HeartbeatFromMessage(worker, message.heartbeat()));
    case v1::WorkerMessage::kResult:
      return FeedLocked(ResultFromMessage(worker, message.result()));
    case v1::WorkerMessage::kGoodbye:
      spdlog::info("a worker says goodbye: {}", message.goodbye().reason());
      FeedLocked(WorkerLeft{.worker = worker, .reason = message.goodbye().reason()});
      return CloseStream(worker, absl::OkStatus());
    case v1::WorkerMessage::kHello:
    case v1::WorkerMessage::MESSAGE_NOT_SET:
      break;
  }
  const absl::Status refusal = absl::InvalidArgumentError(
      "after the hello, expected a heartbeat, a result or a goodbye; attach again");
  FeedLocked(WorkerLost{.worker = worker, .reason = "it sent a message that makes no sense"});
  CloseStream(worker, refusal);
}

void CoordinatorCore::Detach(WorkerKey worker, const std::string& reason) {
  WantedMutexLock lock(&mutex_);
  streams_.erase(worker);
  FeedLocked(WorkerLost{.worker = worker, .reason = reason});
}

absl::Status CoordinatorCore::UploadCame(const UploadKey& key) {
  WantedMutexLock lock(&mutex_);
  return brain_.UploadCame(key.job, key.task, key.epoch, key.first_layer, Now());
}

absl::StatusOr<std::unique_ptr<ArtifactFile>> CoordinatorCore::CreateArtifact(
    const UploadKey& key, const std::string& name) {
  std::shared_ptr<ResultFolder> folder;
  {
    WantedMutexLock lock(&mutex_);
    ESPALIER_RETURN_IF_ERROR(brain_.CheckUpload(key.job, key.task, key.epoch));
    folder = jobs_[key.job].folder;
  }
  return folder->CreateArtifact(key.task, name);
}

// ---- The brain and its actions ----

void CoordinatorCore::Feed(const Event& event) {
  WantedMutexLock lock(&mutex_);
  FeedLocked(event);
}

void CoordinatorCore::FeedLocked(const Event& event) {
  if (stopping_) return;
  Actions actions;
  const bool had_more = brain_.HasMore();
  brain_.Handle(event, Now(), &actions);
  activity_.Saw(event, actions);
  if (!actions.empty()) Settle(std::move(actions));
  if (!had_more && brain_.HasMore()) changed_.NotifyAll();
}

void CoordinatorCore::CarryOut(const Actions& actions) {
  activity_.Saw(actions);
  activity_changed_.NotifyAll();
  for (const Action& action : actions) {
    std::visit([this](const auto& a) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { Do(a); }, action);
  }
}

void CoordinatorCore::SendTo(WorkerKey worker, v1::CoordinatorMessage message) {
  const auto it = streams_.find(worker);
  if (it != streams_.end()) it->second->Send(std::move(message));
}

void CoordinatorCore::CloseStream(WorkerKey worker, const absl::Status& status) {
  const auto it = streams_.find(worker);
  if (it == streams_.end()) return;
  const std::shared_ptr<WorkerStream> stream = std::move(it->second);
  streams_.erase(it);
  stream->Close(status);
}

void CoordinatorCore::Do(const SendWelcome& action) {
  v1::CoordinatorMessage message;
  v1::Welcome* welcome = message.mutable_welcome();
  welcome->set_worker_id(absl::StrCat("worker-", action.number));
  welcome->set_epoch(action.epoch);
  welcome->set_heartbeat_milliseconds(static_cast<int32_t>(options_.heartbeat.count()));
  welcome->set_lease_milliseconds(static_cast<int32_t>(options_.lease.count()));
  SendTo(action.worker, std::move(message));
}

void CoordinatorCore::Do(const SendJoin& action) {
  // Only workers that the coordinator put into a replica know its secret.
  const std::string secret = Sha256Hex(absl::StrCat(replica_key_, action.epoch));
  SendTo(action.worker, JoinMessage(action, secret));
}

void CoordinatorCore::Do(const CloseWorker& action) {
  spdlog::warn("a worker's stream is closed: {}", std::string(action.status.message()));
  CloseStream(action.worker, action.status);
}

void CoordinatorCore::Do(const DismissWorker& action) {
  spdlog::info("a worker is dismissed: {}", action.reason);
  v1::CoordinatorMessage message;
  message.mutable_dismissal()->set_reason(action.reason);
  SendTo(action.worker, std::move(message));
  CloseStream(action.worker, absl::OkStatus());
}

void CoordinatorCore::Do(const ForgetJob& action) {
  logs_.Remove(action.job);
  archived_.erase(action.job);
}

void CoordinatorCore::Do(const RecallAnswers& action) {
  if (store_ == nullptr) return;
  preparer_.Post([this, context = action.context] {
    const auto rows = store_->Answers(context);
    if (!rows.ok()) {
      // They are only worth time.
      spdlog::warn("stored answers cannot be read: {}", std::string(rows.status().message()));
      return;
    }
    AnswersRecalled recalled{.context = context, .answers = {}};
    recalled.answers.reserve(rows->size());
    for (const auto& [subnet, bytes] : *rows) {
      absl::StatusOr<EvaluateResult> answer = AnswerFromBytes(bytes);
      if (answer.ok()) recalled.answers.emplace_back(subnet, *std::move(answer));
    }
    Feed(recalled);
  });
}

void CoordinatorCore::Do(const SendDataSet& action) {
  SendTo(action.worker, DataSetMessage(*jobs_[action.job].data_sets[action.hash]));
}

void CoordinatorCore::Do(const SendTask& action) { SendTo(action.worker, TaskMessage(action)); }

void CoordinatorCore::Do(const SendCancel& action) {
  v1::CoordinatorMessage message;
  message.mutable_cancel()->set_task_id(action.task);
  SendTo(action.worker, std::move(message));
}

void CoordinatorCore::Do(const SendAck& action) {
  v1::CoordinatorMessage message;
  message.mutable_ack()->set_task_id(action.task);
  SendTo(action.worker, std::move(message));
}

void CoordinatorCore::Do(const PrepareJob& action) {
  preparer_.Post([this, job = action.job, spec = action.spec] { Prepare(job, *spec); });
}

void CoordinatorCore::Prepare(JobId job, const JobSpec& spec) {
  {
    WantedMutexLock lock(&mutex_);
    if (jobs_.count(job) == 0) return;  // cancelled while it waited
  }
  absl::StatusOr<Preparation> preparation = PrepareTexts(spec, options_.roots);
  WantedMutexLock lock(&mutex_);
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return;
  if (!preparation.ok()) {
    return FeedLocked(JobPrepared{.job = job, .prepared = preparation.status()});
  }
  it->second.data_sets = std::move(preparation->data_sets);
  FeedLocked(JobPrepared{.job = job, .prepared = std::move(preparation->job)});
}

void CoordinatorCore::Do(const AppendPopulation& action) {
  writer_.Post([this, folder = jobs_[action.job].folder, action] {
    const absl::Status status = folder->AppendPopulation(action.part, action.lines);
    if (!status.ok()) Feed(OutputDone{.job = action.job, .status = status});
  });
}

void CoordinatorCore::Do(const FinishOutput& action) {
  writer_.Post([this, folder = jobs_[action.job].folder, action] {
    Feed(OutputDone{.job = action.job, .status = folder->Finish(action)});
  });
}

void CoordinatorCore::Do(const ReleaseJob& action) {
  const auto it = jobs_.find(action.job);
  if (it == jobs_.end()) return;
  if (it->second.folder != nullptr) it->second.folder->Abandon();
  // An uncommitted folder is removed with its last reference, on the thread that may wait for
  // disks.
  writer_.Post([folder = std::move(it->second.folder)] {});
  jobs_.erase(it);
}

void CoordinatorCore::Do(const PublishEvent& action) {
  if (!action.message.empty()) spdlog::info("job-{}: {}", action.job, action.message);
  if (!action.error.empty()) spdlog::error("job-{}: {}", action.job, action.error);
  logs_.Append(action.job,
               std::make_shared<const v1::JobEvent>(EventMessage(action, start_unix_ms_)),
               IsFinal(action.state));
}

}  // namespace espalier
